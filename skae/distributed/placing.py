"""Rows on the workers of a Dask cluster: which blocks there are, and who has them.

`skae.distributed.cluster` asks before a fit begins. Nothing here fits.
"""

import time
from contextlib import suppress
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

import distributed
import numpy as np

from skae.checks.collections import is_collection, is_frame
from skae.distributed.process_group import LostProcessError
from skae.rows.blocks import listed
from skae.rows.dask_rows import check_known_columns

__all__ = [
    "PlacedRows",
    "check_same_blocks",
    "check_workers",
    "has_rows_like",
    "in_memory",
    "with_known_rows",
    "workers_of",
]

# Seconds between two looks at the futures.
_LOOK = 0.5


class PlacedRows(NamedTuple):
    """The blocks of a collection and where they are.

    Attributes
    ----------
    futures : list of Future
        Of the blocks that have rows, in their order.
    starts : ndarray of int of shape (n_blocks + 1,)
        Numbers of their first rows, and the number of all rows.
    owners : list of str
        Addresses of the workers.
    """

    futures: list
    starts: np.ndarray
    owners: list[str]

    @classmethod
    def of(cls, X: Any, client: distributed.Client, deadline: float) -> "PlacedRows":
        """Blocks that are computed and stay where they are as long as this lives.

        Raises
        ------
        LostProcessError
            Without workers, where their threads are busy with other tasks for all of
            the deadline, and where blocks are gone that cannot be computed again.
        """
        parts = np.ravel(X.to_delayed()).tolist()
        futures = client.compute(parts)
        try:
            _wait(futures, client, deadline)
            # Workers need not import skae for it.
            shapes = client.map(attrgetter("shape"), futures, pure=False)
            _wait(shapes, client, deadline)
            shapes = client.gather(shapes)
        except distributed.CancelledError as error:
            raise LostProcessError(
                "Blocks of the rows are gone, with a worker or by client.cancel, and "
                "cannot be computed again: they were scattered or persisted. Make the "
                f"collection anew. {error}"
            ) from error
        _check_widths(X, shapes)
        kept = [(f, n) for f, (n, *_) in zip(futures, shapes, strict=True) if n]
        if not kept:
            raise ValueError("X has no rows: all of its blocks are empty.")
        futures = [future for future, _ in kept]
        held = client.who_has(futures)
        load: dict[str, int] = {}
        owners = []
        for future, n_rows in kept:
            owner = min(held[future.key], key=lambda a: (load.get(a, 0), a))
            load[owner] = load.get(owner, 0) + n_rows
            owners.append(owner)
        return cls(futures, np.cumsum([0, *(n for _, n in kept)]), owners)


def _check_widths(X: Any, shapes: list) -> None:
    width = len(X.columns) if is_frame(X) else X.shape[1]
    for number, shape in enumerate(shapes):
        if shape[1:] != (width,):
            raise ValueError(
                f"X has {width} columns by its meta, but block {number} has the shape "
                f"{shape}. Check the meta, or the shapes, with which X was made."
            )


def with_known_rows(X: Any, name: str = "X") -> Any:
    """The collection, of two axes and with rows that can be counted."""
    if is_frame(X):
        return X
    check_known_columns(X, name)
    if X.ndim != 2:
        raise ValueError(
            f"{name} must have two axes to be fitted on a cluster; got the shape "
            f"{X.shape}. Lay samples out flat and pass sample_shape."
        )
    return X


def has_rows_like(y: Any, X: Any) -> bool:
    """Whether y has rows like those of X."""
    width = len(X.columns) if is_frame(X) else X.shape[1]
    if is_frame(y):
        return len(y.columns) == width
    return getattr(y, "ndim", 1) == 2 and y.shape[1] == width


def check_same_blocks(rows: PlacedRows, clean: PlacedRows) -> None:
    if rows.starts[-1] != clean.starts[-1]:
        raise ValueError(
            f"y, the clean rows, has {clean.starts[-1]} rows and X {rows.starts[-1]}; "
            "each row of X needs its clean one."
        )
    if not np.array_equal(rows.starts, clean.starts):
        raise ValueError(
            "y, the clean rows, must have blocks of the same rows as X; X has blocks "
            f"that begin at {rows.starts[:5]} and y at {clean.starts[:5]} and so on. "
            "Use y.rechunk(X.chunks)."
        )


def in_memory(values: Any, client: distributed.Client, deadline: float) -> Any:
    """One value or a few for each row, as an array."""
    if not is_collection(values):
        return values
    future = client.compute(values)
    _wait([future], client, deadline)
    return future.result()


def workers_of(client: distributed.Client) -> dict[str, Any]:
    """The scheduler's record of each worker, by address; empty if it is unreachable.

    `Client.scheduler_info` at times has no workers: the client's own periodic request,
    for a summary without workers, may overwrite the answer.
    """
    try:
        return client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    except OSError:
        return {}


def check_workers(client: distributed.Client) -> None:
    if not workers_of(client):
        raise LostProcessError(
            f"The cluster of {client} has no workers. Add some, with cluster.scale(2) "
            "for example, and wait for them: client.wait_for_workers(1)."
        )


def _wait(futures: list, client: distributed.Client, deadline: float) -> None:
    """Wait for data as long as something is done for it; raise what went wrong."""
    last_sign, n_pending = time.monotonic(), len(futures)
    while True:
        with suppress(TimeoutError, distributed.TimeoutError):
            distributed.wait(futures, timeout=min(_LOOK, deadline / 4))
            break
        pending = [future for future in futures if future.status == "pending"]
        silent = time.monotonic() - last_sign
        if len(pending) < n_pending:
            last_sign, n_pending = time.monotonic(), len(pending)
        elif silent > deadline / 2 and _is_worked_on(pending, client, deadline):
            last_sign = time.monotonic()
        elif silent > deadline:
            check_workers(client)
            _raise_busy(client, deadline)
    for future in futures:
        if future.status != "finished":
            future.result()


def _is_worked_on(futures: list, client: distributed.Client, deadline: float) -> bool:
    """Whether a worker computes these, or what they need, or gets data."""
    try:
        if _running(client, deadline, [future.key for future in futures]):
            return True
    except (KeyError, TimeoutError, distributed.TimeoutError):
        # The scheduler still reads the graph, or a task keeps its worker from
        # answering; Dask itself gives such a worker up after worker-ttl.
        return True
    return any(
        worker["metrics"].get("transfer", {}).get("incoming_count")
        for worker in workers_of(client).values()
    )


def _running(client: distributed.Client, deadline: float, keys: list | None) -> dict:
    """The tasks that run now, by worker: all, or those that these keys need."""
    return client.sync(
        client.scheduler.call_stack, keys=keys, callback_timeout=deadline
    )


def _raise_busy(client: distributed.Client, deadline: float) -> NoReturn:
    workers = workers_of(client)
    running: dict = {}
    with suppress(TimeoutError, distributed.TimeoutError):
        running = _running(client, deadline, None)
    busy = [
        address
        for address, worker in sorted(workers.items())
        if len(running.get(address, ())) >= worker["nthreads"]
    ]
    verb = "has" if len(busy) == 1 else "have"
    who = f": worker {listed(busy)} {verb} no free thread" if busy else ""
    raise LostProcessError(
        f"For {deadline:g} s nothing has been done to compute or read the rows{who}. "
        "Fit when other tasks, or another fit, are done, or pass a longer deadline to "
        "skae.distributed.fit."
    )
