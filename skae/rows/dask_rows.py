"""Rows of Dask arrays and frames, computed block by block.

On the cluster where there is one, else on two threads. Nothing here imports Dask before
a collection comes.
"""

import functools
import math
import os
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import suppress
from typing import Any

import numpy as np

from skae.rows.blocks import (
    ChangedSourceError,
    check_frame,
    dense,
    frame_dtype,
    text_names,
    two_axes,
)
from skae.rows.sources import RowSource
from skae.rows.streams import StreamedRows

__all__ = ["check_known_columns", "check_table", "dask_rows", "laid_flat", "leave_pool"]

# Threads on which blocks are computed where there is no cluster.
_THREADS = 2
_BY_PROCESSES = "processes", "multiprocessing"
# The task of a worker that has left the pool of threads, by thread.
_LEFT = threading.local()


def dask_rows(collection: Any, name: str) -> RowSource:
    """The rows of a Dask array or DataFrame.

    Raises
    ------
    TypeError
        For collections that are no table.
    ValueError
        For those of another number of axes, of unknown columns or no numbers.
    """
    check_table(collection, name)
    computed = _Computed()
    if hasattr(collection, "columns"):
        check_frame(collection, name)
        names = text_names(collection.columns)
        lengths = computed(collection.map_partitions(len))
        starts = np.cumsum([0, *map(int, lengths)])
        width = len(collection.columns)
        dtype = frame_dtype(collection.dtypes)
        parts = collection.partitions
        shape = int(starts[-1]), width
        return _DaskRows(shape, dtype, starts, parts, names, name, computed)
    two_axes(collection.shape, name)
    check_known_columns(collection, name)
    if len(collection.chunks[1]) > 1:
        collection = collection.rechunk({1: -1})
    lengths, width = collection.chunks[0], collection.shape[1]
    if any(map(math.isnan, lengths)):
        # As after a method of a DataFrame.
        counted = collection.map_blocks(_length, dtype=int, meta=np.empty((0, 0), int))
        lengths = computed(counted)[:, 0]
    starts = np.cumsum([0, *map(int, lengths)])
    shape, parts = (int(starts[-1]), width), collection.blocks
    return _DaskRows(shape, collection.dtype, starts, parts, None, name, computed)


def laid_flat(array: Any) -> Any:
    """A Dask array of several axes with one row for each sample."""
    check_known_columns(array, "X")
    array = array.rechunk(dict.fromkeys(range(1, array.ndim), -1))
    return array.map_blocks(
        _rows_of,
        chunks=(array.chunks[0], (math.prod(array.shape[1:]),)),
        drop_axis=list(range(2, array.ndim)),
        meta=np.empty((0, 0), array.dtype),
    )


def _rows_of(block: Any) -> np.ndarray:
    return np.asarray(block).reshape(block.shape[0], -1)


def _length(block: Any) -> np.ndarray:
    return np.array([[block.shape[0]]])


def check_table(collection: Any, name: str) -> None:
    """Raise for Dask collections that are neither array nor DataFrame.

    Raises
    ------
    TypeError
        For bags, delayed values and single numbers.
    ValueError
        For series and indexes, which have one axis.
    """
    frames, arrays = map(sys.modules.get, ("dask.dataframe", "dask.array"))
    if frames is not None and isinstance(collection, frames.DataFrame):
        return
    if arrays is not None and isinstance(collection, arrays.Array):
        return
    kind = type(collection).__name__
    if frames is not None and isinstance(collection, frames.Series | frames.Index):
        raise ValueError(
            f"Expected 2D array, got 1D array instead: {name} is a Dask {kind}. Rows "
            f"are samples, and columns are features; {name}.to_frame() has one column."
        )
    raise TypeError(
        f"{name} must be a Dask array or a Dask DataFrame of rows; got a Dask {kind}. "
        "Lists of delayed blocks have dask.array.from_delayed."
    )


def check_known_columns(array: Any, name: str) -> None:
    """Raise for a Dask array of which the number of columns is unknown."""
    if any(math.isnan(length) for axis in array.chunks[1:] for length in axis):
        raise ValueError(
            f"{name} is a Dask array of an unknown number of columns, with the chunks "
            f"{array.chunks}. Call {name}.compute_chunk_sizes() first."
        )


def leave_pool() -> bool:
    """Whether this is a task of a worker, whose thread then is free for other tasks.

    A task that waits for others would wait for ever where all threads of the cluster
    have such tasks, as in searches on Dask collections.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        task = distributed.get_worker().get_current_task()
    except (ValueError, LookupError):
        return False
    if getattr(_LEFT, "task", None) != task:
        # It is outside already in a task that has done so itself.
        with suppress(KeyError):
            distributed.secede()
        _LEFT.task = task
    return True


class _Computed:
    """Computes by the cluster where there is one, else on a few threads.

    Where Dask's scheduler is set to processes, the same ones compute all blocks.
    """

    def __call__(self, collection: Any) -> Any:
        import dask

        if leave_pool():
            return sys.modules["distributed"].get_client().compute(collection).result()
        is_open = getattr(sys.modules.get("distributed"), "default_client", None)
        if is_open is not None:
            try:
                is_open()
                return collection.compute()
            except ValueError:
                pass
        scheduler = dask.config.get("scheduler", None)
        if scheduler is None:
            return collection.compute(scheduler="threads", num_workers=_THREADS)
        if str(scheduler).lower() in _BY_PROCESSES and not dask.config.get("pool", 0):
            return collection.compute(pool=self._processes)
        return collection.compute()

    @functools.cached_property
    def _processes(self) -> futures.Executor:
        """They end with this object."""
        import dask
        from dask.multiprocessing import get_context

        # As Dask does, so that all of them hash texts to the same numbers.
        os.environ.setdefault("PYTHONHASHSEED", "6640")
        return futures.ProcessPoolExecutor(
            dask.config.get("num_workers", None) or _THREADS,
            mp_context=get_context(),
            initializer=dask.config.get("multiprocessing.initializer", None),
        )


class _DaskRows(StreamedRows):
    """Rows of a Dask array or frame, computed block by block."""

    def __init__(self, shape, dtype, starts, parts, names, name, computed):
        super().__init__(shape, dtype, starts, names, name)
        self._starts, self._parts, self._computed = starts[:-1], parts, computed

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        for each in range(number, len(self._starts)):
            block = dense(self._computed(self._parts[each]))
            expected = int(np.append(self._starts, self.shape[0])[each + 1])
            if len(block) != expected - self._starts[each]:
                raise ChangedSourceError(
                    f"Block {each} of {self.name} should have "
                    f"{expected - self._starts[each]} rows; it has {len(block)}. "
                    f"{self._way_out}"
                )
            yield block
