"""Where results go that memory should not hold: arrays, memory maps, chunked files.

Public methods with ``out`` check it by `check_out` before any work and fill it by
`fill`, block by block. Nothing here knows what the results are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from skae.rows.blocks import check_open
from skae.rows.sources import RowSource

__all__ = ["check_out", "fill"]

# Bytes of the rows that are read, or of those that are written, at a time.
_BLOCK_BYTES = 32 * 2**20
_FLOATS = np.dtype(np.float32), np.dtype(np.float64)


def check_out(out: Any, shape: tuple[int, ...], X: Any = None) -> None:
    """Raise where results of this shape cannot be written to ``out``.

    Parameters
    ----------
    out : object
    shape : tuple of int
    X : array, CSR matrix or RowSource, optional
        The rows that are read meanwhile.

    Raises
    ------
    ValueError
    """
    kind = type(out).__name__
    check_open(out, "out")
    is_array = all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__"))
    others = hasattr(out, "dask"), hasattr(out, "iloc"), isinstance(out, Tensor)
    if not is_array or any(others):
        raise ValueError(
            "out must be an array that rows can be assigned to: an ndarray, a memory "
            f"map, or a dataset of h5py or zarr; got {kind}."
        )
    if tuple(out.shape) != tuple(shape):
        raise ValueError(
            f"out must have the shape {tuple(shape)} of the result; got "
            f"{tuple(out.shape)}."
        )
    if _native(out.dtype) not in _FLOATS:
        raise ValueError(
            "out must have the dtype float32 or float64, which hold the result; got "
            f"{out.dtype}."
        )
    if _is_read_only(out):
        raise ValueError(
            f"out, of type {kind}, is read-only. Open it for writing: mode='r+' or 'a'."
        )
    if isinstance(out, np.ndarray) and isinstance(X, np.ndarray):
        # By their bounds: exact answers may take for ever.
        overlaps = np.may_share_memory(out, X)
    else:
        overlaps = isinstance(X, RowSource) and X.is_read_from(out)
    if overlaps:
        raise ValueError("out must be other memory than X, which is still read.")


def fill(out: Any, X: Any, function: Callable[[slice], np.ndarray]) -> Any:
    """``function(rows)`` for slices of all rows of X in ``out``, which is returned."""
    for rows in _places(out, X):
        out[rows.start : rows.stop] = function(rows)
    return out


def _places(out: Any, X: Any) -> Iterator[slice]:
    """Slices that cover the rows, in whole chunks of ``out`` where those are small."""
    n_rows = X.shape[0]
    widest = max(int(np.prod(array.shape[1:])) for array in (out, X))
    size = max(1, _BLOCK_BYTES // (8 * max(1, widest)))
    chunks = getattr(out, "chunks", None)
    stored = chunks[0] if isinstance(chunks, tuple) and chunks else 1
    if isinstance(stored, int) and 1 < stored <= size:
        size -= size % stored
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def _native(dtype: Any) -> Any:
    try:
        return np.dtype(dtype).newbyteorder("=")
    except TypeError:
        return np.dtype(object)


def _is_read_only(out: Any) -> bool:
    if isinstance(out, np.ndarray):
        return not out.flags.writeable
    # h5py's files, and zarr's arrays.
    mode = getattr(getattr(out, "file", None), "mode", None)
    return mode == "r" or bool(getattr(out, "read_only", False))
