"""Rows on the workers of a Dask cluster: which blocks there are, and who has them.

`skae.distributed.cluster` asks before a fit begins. Nothing here fits.
"""

import time
from contextlib import suppress
from typing import Any, NamedTuple

import distributed
import numpy as np

from skae.checks.collections import is_collection, is_frame
from skae.distributed.process_group import LostProcessError
from skae.rows.dask_rows import check_known_columns

__all__ = [
    "PlacedRows",
    "check_same_blocks",
    "check_workers",
    "has_rows_like",
    "in_memory",
    "with_known_rows",
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
            Without workers, and where blocks are gone that cannot be computed again.
        """
        parts = np.ravel(X.to_delayed()).tolist()
        futures = client.compute(parts)
        try:
            _wait(futures, client, deadline)
            shapes = client.gather(client.map(_shape, futures, pure=False))
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


def _shape(block: Any) -> tuple[int, ...]:
    return tuple(block.shape)


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
    if not np.array_equal(rows.starts, clean.starts):
        raise ValueError(
            "y, the clean rows, must have blocks of the same rows as X; X has blocks "
            f"that begin at {rows.starts[:5]} and y at {clean.starts[:5]} and so on. "
            "Use y.rechunk(X.chunks)."
        )


def in_memory(values: Any, client: distributed.Client) -> Any:
    """One value or a few for each row, as an array."""
    if not is_collection(values):
        return values
    return client.compute(values).result()


def check_workers(client: distributed.Client) -> None:
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
            check_workers(client)
    for future in futures:
        if future.status != "finished":
            future.result()
