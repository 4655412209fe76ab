"""Rows of Dask arrays and frames, computed block by block.

On the cluster where there is one, else on two threads. Nothing here imports Dask before
a collection comes.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from skae.rows.blocks import (
    ChangedSourceError,
    check_frame,
    dense,
    text_names,
    two_axes,
)
from skae.rows.sources import RowSource
from skae.rows.streams import StreamedRows

__all__ = ["dask_rows"]

# Threads on which blocks are computed where there is no cluster.
_THREADS = 2


def dask_rows(collection: Any, name: str) -> RowSource:
    names = None
    if hasattr(collection, "columns"):
        names = text_names(collection.columns)
        check_frame(collection, name)
        lengths = _computed(collection.map_partitions(len))
        starts = np.cumsum([0, *map(int, lengths)])
        width = len(collection.columns)
        dtype = np.result_type(
            *(getattr(d, "numpy_dtype", d) for d in collection.dtypes)
        )
        if any(hasattr(d, "numpy_dtype") for d in collection.dtypes):
            dtype = np.dtype(np.float64)
        parts = collection.partitions
        return _DaskRows((int(starts[-1]), width), dtype, starts, parts, names, name)
    shape = getattr(collection, "shape", ())
    two_axes(shape, name)
    if not all(n == n for axis in collection.chunks for n in axis):
        raise ValueError(
            f"{name} is a Dask array of unknown chunk sizes, {collection.chunks}. Call "
            f"{name}.compute_chunk_sizes() first."
        )
    if len(collection.chunks[1]) > 1:
        collection = collection.rechunk({1: -1})
    starts = np.cumsum((0, *collection.chunks[0]))
    parts = collection.blocks
    return _DaskRows(shape, collection.dtype, starts, parts, None, name)


def _computed(collection: Any) -> Any:
    """Computed by the cluster where there is one, else on a few threads."""
    import dask

    is_open = getattr(sys.modules.get("distributed"), "default_client", None)
    if is_open is not None:
        try:
            is_open()
            return collection.compute()
        except ValueError:
            pass
    if dask.config.get("scheduler", None) is not None:
        return collection.compute()
    return collection.compute(scheduler="threads", num_workers=_THREADS)


class _DaskRows(StreamedRows):
    """Rows of a Dask array or frame, computed block by block."""

    def __init__(self, shape, dtype, starts, parts, names, name):
        super().__init__(shape, dtype, starts, names, name)
        self._starts, self._parts = starts[:-1], parts

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        for each in range(number, len(self._starts)):
            block = dense(_computed(self._parts[each]))
            expected = int(np.append(self._starts, self.shape[0])[each + 1])
            if len(block) != expected - self._starts[each]:
                raise ChangedSourceError(
                    f"Block {each} of {self.name} should have "
                    f"{expected - self._starts[each]} rows; it has {len(block)}. "
                    f"{self._way_out}"
                )
            yield block
