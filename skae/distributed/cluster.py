"""Fits on the workers of a Dask cluster: one long task on each that holds rows.

The client's side is `fit_on_cluster`: it places the rows, keeps other fits off the
workers, and makes one error of all that go wrong. The tasks form a group of their own
and do what `skae.distributed.ranks` says.
"""

import copy
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlparse

import distributed
import numpy as np

from skae.checks.collections import is_collection, is_frame, row_collection
from skae.distributed.process_group import (
    LostProcessError,
    ProcessGroup,
    served_store,
)
from skae.distributed.ranks import check_spreads, fit_rank, seed_of, take_fitted
from skae.rows.sharded import JoinedRows

__all__ = ["fit_on_cluster"]

# Deadlines until all tasks have begun, as workers import torch first.
_STARTS = 4
# Seconds between two looks at the futures.
_LOOK = 0.5
# On workers, by the token of a fit: the store that is served, and the group.
_SERVED: dict[str, Any] = {}
_GROUPS: dict[str, ProcessGroup] = {}


def fit_on_cluster(
    estimator: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    client: distributed.Client,
    deadline: float,
) -> Any:
    """Fit on the workers that hold a Dask collection.

    Parameters
    ----------
    estimator : BaseAutoencoder
    X : Dask array or DataFrame
    y, sample_weight : array-like or Dask collection, optional
    client : distributed.Client
    deadline : float
        Seconds without a sign of life after which a worker counts as lost.

    Returns
    -------
    estimator : object
        The one that came, fitted.
    """
    check_spreads(estimator)
    if client.asynchronous:
        raise ValueError(
            "fit waits for the cluster, which an asynchronous client does not allow; "
            "pass a client without asynchronous=True."
        )
    _check_workers(client)
    X = _with_known_rows(row_collection(X))
    rows = _Placed.of(X, client, deadline)
    clean = None
    if y is not None and is_collection(y) and _is_like(y, X):
        clean = _Placed.of(
            _with_known_rows(row_collection(y, "y"), "y"), client, deadline
        )
        _check_lengths(rows, clean)
    others = {
        "y": None if clean is not None else _in_memory(y, client),
        "sample_weight": _in_memory(sample_weight, client),
    }
    with _locked(sorted(set(rows.owners)), client, deadline):
        job = _Job(_seeded(estimator), rows, clean, others, client, deadline)
        fitted, warned = job.run()
    for message, category in warned:
        warnings.warn(message, category, stacklevel=4)
    return take_fitted(estimator, fitted)


def _seeded(estimator: Any) -> Any:
    seed = seed_of(estimator.random_state)
    return copy.deepcopy(estimator).set_params(random_state=seed)


# Rows on their workers


class _Placed(NamedTuple):
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
    def of(cls, X: Any, client: distributed.Client, deadline: float) -> "_Placed":
        """Blocks that are computed and stay where they are as long as this lives."""
        parts = np.ravel(X.to_delayed()).tolist()
        futures = client.compute(parts)
        _wait(futures, client, deadline)
        lengths = client.gather(client.map(_length, futures, pure=False))
        kept = [(f, n) for f, n in zip(futures, lengths, strict=True) if n]
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


def _length(block: Any) -> int:
    return block.shape[0]


def _with_known_rows(X: Any, name: str = "X") -> Any:
    """The collection, of two axes and with rows that can be counted."""
    if is_frame(X):
        return X
    if np.isnan(X.shape[0]):
        raise ValueError(
            f"{name} is a Dask array of unknown chunk sizes, {X.chunks}. Call "
            f"{name}.compute_chunk_sizes() first."
        )
    if X.ndim != 2:
        raise ValueError(
            f"{name} must have two axes to be fitted on a cluster; got the shape "
            f"{X.shape}. Lay samples out flat and pass sample_shape."
        )
    return X


def _is_like(y: Any, X: Any) -> bool:
    """Whether y has rows like those of X."""
    width = len(X.columns) if is_frame(X) else X.shape[1]
    if is_frame(y):
        return len(y.columns) == width
    return getattr(y, "ndim", 1) == 2 and y.shape[1] == width


def _check_lengths(rows: _Placed, clean: _Placed) -> None:
    if not np.array_equal(rows.starts, clean.starts):
        raise ValueError(
            "y, the clean rows, must have blocks of the same rows as X; X has blocks "
            f"that begin at {rows.starts[:5]} and y at {clean.starts[:5]} and so on. "
            "Use y.rechunk(X.chunks)."
        )


def _in_memory(values: Any, client: distributed.Client) -> Any:
    """One value or a few for each row, as an array."""
    if not is_collection(values):
        return values
    return client.compute(values).result()


# Workers


def _check_workers(client: distributed.Client) -> None:
    if not client.scheduler_info(n_workers=-1)["workers"]:
        raise LostProcessError(
            f"The cluster of {client} has no workers. Add some, with cluster.scale(2) "
            "for example, and wait for them: client.wait_for_workers(1)."
        )


def _wait(futures: list, client: distributed.Client, deadline: float) -> None:
    """Wait for data; raise what went wrong, and where no worker is left."""
    alone_since = None
    while True:
        with suppress(TimeoutError, distributed.TimeoutError):
            distributed.wait(futures, timeout=_LOOK)
            break
        if client.scheduler_info(n_workers=-1)["workers"]:
            alone_since = None
            continue
        alone_since = alone_since or time.monotonic()
        if time.monotonic() - alone_since > deadline:
            _check_workers(client)
    for future in futures:
        if future.status != "finished":
            future.result()


@contextmanager
def _locked(addresses: list[str], client, deadline: float) -> Iterator[None]:
    """Workers of which no other fit makes use, for a with block."""
    with client.as_current():
        locks = [distributed.Lock(f"skae-fit-{address}") for address in addresses]
    ends, held = time.monotonic() + deadline, []
    try:
        # In one order for all fits, so that no two of them wait for each other.
        for address, lock in zip(addresses, locks, strict=True):
            if not lock.acquire(timeout=max(0.1, ends - time.monotonic())):
                raise LostProcessError(
                    f"Another fit has been running on worker {address} for the "
                    f"{deadline:g} s of the deadline. Fit after it, or pass a longer "
                    "deadline to skae.distributed.fit."
                )
            held.append(lock)
        yield
    finally:
        for lock in held:
            with suppress(Exception):
                lock.release()


class _Job:
    """The tasks of one fit, as the client sees them."""

    def __init__(self, estimator, rows: _Placed, clean, others, client, deadline):
        self.estimator = estimator
        self.rows, self.clean, self.others = rows, clean, others
        self.client, self.deadline = client, deadline
        self.addresses = sorted(set(rows.owners))
        self.token = uuid.uuid4().hex

    def run(self) -> tuple[Any, list]:
        """The fitted estimator and the warnings of its fit."""
        futures = self._begun()
        try:
            while any(future.status == "pending" for future in futures):
                with suppress(TimeoutError, distributed.TimeoutError):
                    distributed.wait(
                        futures, timeout=_LOOK, return_when="FIRST_COMPLETED"
                    )
                    time.sleep(_LOOK / 10)
                if any(f.status not in ("pending", "finished") for f in futures):
                    self._end_others(futures)
                    break
            failures = self._failures(futures)
            if failures:
                self._raise(failures)
            return futures[0].result()
        except BaseException:
            self._interrupt("The fit was ended by its client.")
            self.client.cancel(futures)
            raise

    def _begun(self) -> list:
        first = self.addresses[0]
        place = self.client.submit(
            _serve, self.token, first, workers=[first], pure=False, retries=0
        )
        try:
            host, port = place.result(timeout=_STARTS * self.deadline)
        except (TimeoutError, distributed.TimeoutError):
            place.cancel()
            raise LostProcessError(
                f"Worker {first} has had no free thread for "
                f"{_STARTS * self.deadline:g} s. Fit when its tasks are done."
            ) from None
        shared = self.client.scatter(
            [self.estimator, self.others], hash=False, workers=[first]
        )
        return [
            self.client.submit(
                _fit_here,
                _Task(
                    self.token,
                    host,
                    port,
                    rank,
                    self.addresses,
                    int(self.rows.starts[-1]),
                    self._stretches(address),
                    self.deadline,
                ),
                *shared,
                self._parts(self.rows, address),
                self._parts(self.clean, address),
                workers=[address],
                # A task that is moved raises; one that could not be would wait.
                allow_other_workers=True,
                pure=False,
                retries=0,
            )
            for rank, address in enumerate(self.addresses)
        ]

    def _stretches(self, address: str) -> list[tuple[int, int]]:
        starts = self.rows.starts
        return [
            (int(starts[number]), int(starts[number + 1]))
            for number, owner in enumerate(self.rows.owners)
            if owner == address
        ]

    def _parts(self, placed: _Placed | None, address: str) -> list | None:
        if placed is None:
            return None
        owned = zip(placed.futures, self.rows.owners, strict=True)
        return [future for future, owner in owned if owner == address]

    # Ends

    def _end_others(self, futures: list) -> None:
        """Wait until all tasks have noticed that one has failed."""
        ends = time.monotonic() + self.deadline
        while time.monotonic() < ends and any(f.status == "pending" for f in futures):
            with suppress(TimeoutError, distributed.TimeoutError):
                distributed.wait(futures, timeout=_LOOK)

    def _interrupt(self, message: str) -> None:
        with suppress(Exception):
            alive = self.client.scheduler_info(n_workers=-1)["workers"]
            workers = [a for a in self.addresses if a in alive]
            self.client.run(_interrupt, self.token, message, workers=workers)

    def _failures(self, futures: list) -> dict[str, BaseException | None]:
        failures: dict[str, BaseException | None] = {}
        for address, future in zip(self.addresses, futures, strict=True):
            if future.status != "finished":
                failures[address] = None
                if future.status == "error":
                    failures[address] = future.exception()
        return failures

    def _raise(self, failures: dict[str, BaseException | None]) -> None:
        lost = LostProcessError, distributed.KilledWorker, type(None)
        for error in failures.values():
            if not isinstance(error, lost):
                raise error  # type: ignore[misc]
        alive = self.client.scheduler_info(n_workers=-1)["workers"]
        gone = [a for a in self.addresses if a not in alive]
        if gone:
            raise LostProcessError(
                f"Worker {', '.join(gone)} was lost while the model was fitted on "
                f"{len(self.addresses)} workers; the others are free again. Call fit "
                "again to fit on those that are left: with skae.callbacks.Checkpoint "
                "on a path that all workers reach it goes on from there."
            )
        messages = [str(e) for e in failures.values() if e is not None]
        raise LostProcessError(
            messages[0] if messages else "The tasks of the fit were cancelled."
        )


# On the workers


class _Task(NamedTuple):
    token: str
    host: str
    port: int
    rank: int
    addresses: list[str]
    n_rows: int
    stretches: list[tuple[int, int]]
    deadline: float


def _host_of(address: str) -> str:
    parsed = urlparse(address)
    is_inside = parsed.scheme == "inproc" or not parsed.hostname
    return "127.0.0.1" if is_inside else str(parsed.hostname)


def _serve(token: str, address: str) -> tuple[str, int]:
    """Serve the store of a fit from this worker."""
    host = _host_of(address)
    _SERVED.clear()
    _SERVED[token] = served_store(host)
    return host, _SERVED[token].port


def _interrupt(token: str, message: str) -> None:
    for key, group in [*_GROUPS.items()]:
        if key.startswith(token):
            group.interrupt(message)


def _fit_here(task: _Task, estimator, others, parts: list, clean: list | None):
    """One task: the part of a fit that the rows of this worker have."""
    address, here = task.addresses[task.rank], distributed.get_worker().address
    if here != address:
        raise LostProcessError(
            f"The rows of worker {address} were moved to {here}: the worker is gone."
        )
    group = ProcessGroup(
        task.host,
        task.port,
        task.rank,
        len(task.addresses),
        name=f"worker {address}",
        own_host=_host_of(address),
        deadline=task.deadline,
        start=_STARTS * task.deadline,
    )
    key = f"{task.token} {address}"
    _GROUPS[key] = group
    own = np.concatenate([np.arange(*stretch) for stretch in task.stretches])
    try:
        with group, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            local_y = None if clean is None else JoinedRows(clean, "y")
            fitted = fit_rank(
                estimator,
                JoinedRows(parts),
                own,
                task.n_rows,
                group,
                **others,
                local_y=local_y,
            )
        if task.rank:
            return None
        return fitted, [(str(each.message), each.category) for each in caught]
    finally:
        del _GROUPS[key]
        _SERVED.pop(task.token, None)
