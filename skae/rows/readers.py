"""Readers of single formats, and `row_source`, which picks one for what came as X.

h5py, zarr, Parquet, Dask collections, iterators of blocks and whatever else is cut by
slices. No format's library is imported unless its objects or files come.
"""

import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from skae.rows.blocks import ChangedSourceError, check_open, two_axes
from skae.rows.dask_rows import dask_rows, laid_flat
from skae.rows.derived import is_mapped
from skae.rows.parquet import SUFFIXES, ParquetRows, dataset_at
from skae.rows.sources import RowSource
from skae.rows.streams import IteratedRows

__all__ = ["as_rows", "flat_rows", "row_source"]

# Rows of memory maps of other dtypes are converted by block beyond so many bytes.
_CONVERTED_BYTES = 16 * 2**20


def row_source(X: Any, name: str = "X") -> RowSource | None:
    """A source of rows that are not in memory; None for all that is.

    Parameters
    ----------
    X : object
        Whatever a public method was called with.
    name : str, default="X"
        What it is called in messages.

    Raises
    ------
    ValueError
        For a source that cannot be read as rows of numbers.
    """
    if isinstance(X, RowSource):
        return X
    # Of the class: frames have their columns as attributes.
    if hasattr(type(X), "row_source"):
        return X.row_source(name)
    source = _opened(X, name)
    if source is not None:
        source.watch()
    return source


def _opened(X: Any, name: str) -> RowSource | None:
    check_open(X, name)
    _check_no_fields(X, name)
    if isinstance(X, np.ndarray):
        return _SlicedRows(X, name) if _is_converted_by_block(X) else None
    if X is None or isinstance(X, list | tuple | dict | type):
        _check_no_paths(X, name)
        return None
    if isinstance(X, str | os.PathLike):
        return ParquetRows(dataset_at(X, name), name, takes_all=True)
    if _is_from(X, "pyarrow.dataset", "Dataset"):
        return ParquetRows(X, name)
    if _is_dask(X):
        return dask_rows(X, name)
    if isinstance(X, Iterator):
        raise TypeError(
            f"{name} is read more than once, and an iterator only gives its rows once; "
            f"got {type(X).__name__}. Pass a callable that returns a new iterator of "
            "blocks each time; a generator function is one."
        )
    if callable(X) and not hasattr(X, "shape"):
        return IteratedRows(X, name)
    _check_open_array(X, name)
    if _is_stored_array(X):
        return _SlicedRows(X, name)
    return None


def as_rows(X: Any) -> Any:
    """The source of rows that are not in memory, and whatever else as it is."""
    source = row_source(X)
    return X if source is None else source


def flat_rows(X: Any, name: str = "X") -> RowSource | None:
    """A source of samples of several axes, each as one row; None for those in memory.

    Parameters
    ----------
    X : object of shape (n_samples, *sample_shape)
    name : str, default="X"
        What it is called in messages.
    """
    if isinstance(X, np.ndarray):
        return None
    if _is_dask(X):
        return row_source(laid_flat(X), name)
    if not _is_stored_array(X):
        return None
    source = _SlicedRows(X, name, (X.shape[0], math.prod(X.shape[1:])))
    source.watch()
    return source


def _is_from(X: Any, module: str, name: str) -> bool:
    """Whether X is an instance of a class of a module that is imported."""
    found = getattr(sys.modules.get(module), name, None)
    return found is not None and isinstance(X, found)


def _is_dask(X: Any) -> bool:
    return type(X).__module__.split(".")[0] in ("dask", "dask_expr") and hasattr(
        X, "__dask_graph__"
    )


def _is_stored_array(X: Any) -> bool:
    """Whether X is cut by slices, as arrays of h5py, zarr or TileDB are."""
    if hasattr(X, "__array_interface__") or hasattr(X, "__dataframe__"):
        return False
    in_chunks = hasattr(X, "chunks") and not callable(X.chunks)
    is_stored = in_chunks or type(X).__module__.split(".")[0] == "tiledb"
    needed = "shape", "dtype", "__getitem__"
    return is_stored and all(hasattr(X, name) for name in needed)


def _check_no_fields(X: Any, name: str) -> None:
    fields = getattr(getattr(X, "dtype", None), "names", None)
    if isinstance(fields, tuple):
        raise ValueError(
            f"{name} has the fields {list(fields)[:5]} in place of columns. Store them "
            "as columns: numpy.lib.recfunctions.structured_to_unstructured gives them "
            "of some of the rows."
        )


def _check_open_array(X: Any, name: str) -> None:
    """Raise for files and groups of arrays."""
    if _is_from(X, "h5py", "Group") or _is_from(X, "zarr", "Group"):
        names = list(X) if X else []
        raise ValueError(
            f"{name} is a file or a group of arrays; pass one of its arrays, such as "
            f"those named {names[:5]}."
        )


def _check_no_paths(X: Any, name: str) -> None:
    first = X[0] if isinstance(X, list | tuple) and X else None
    if isinstance(first, os.PathLike) or (
        isinstance(first, str) and first.lower().endswith(SUFFIXES)
    ):
        raise ValueError(
            f"{name} is a list of paths, the first of them {os.fspath(first)!r}. Pass "
            "the path of their folder, or pyarrow.dataset.dataset(paths)."
        )


def _is_converted_by_block(X: np.ndarray) -> bool:
    """Whether X is a large memory map of another dtype than float32 and float64."""
    if X.ndim != 2 or X.nbytes <= _CONVERTED_BYTES:
        return False
    is_float = X.dtype in (np.float32, np.float64) and X.dtype.isnative
    return not is_float and is_mapped(X)


class _SlicedRows(RowSource):
    """Rows of an array with shape, dtype and slices, such as ``h5py.Dataset``.

    Those of an array of more axes are flat where they get a shape.
    """

    def __init__(self, array: Any, name: str, shape: tuple[int, int] | None = None):
        shape = two_axes(array.shape, name) if shape is None else shape
        chunks = getattr(array, "chunks", None)
        stored = chunks[0] if isinstance(chunks, tuple) and chunks else None
        # Arrays of irregular chunks have a tuple of lengths for each axis.
        if isinstance(stored, tuple):
            stored = np.cumsum((0, *stored))
        stored = int(stored) if isinstance(stored, np.integer) else stored
        super().__init__(shape, array.dtype, stored, name=name)
        self._array, self._array_shape = array, tuple(array.shape)
        self._descriptor = _file_of(array)
        self._stamp = self._stamped()

    def _read(self, rows: slice) -> Any:
        self._check_unchanged()
        array, shape = self._array, (rows.stop - rows.start, *self._array_shape[1:])
        if _is_from(array, "h5py", "Dataset") and array.dtype == self.dtype:
            # Half the time of a slice.
            block = np.empty(shape, self.dtype)
            array.read_direct(block, np.s_[rows.start : rows.stop])
        else:
            block = array[rows.start : rows.stop]
        is_flat = len(shape) == 2 or np.shape(block) != shape
        return block if is_flat else block.reshape(shape[0], -1)

    def is_read_from(self, array: Any) -> bool:
        is_same = array is self._array
        return is_same or (_is_from(array, "h5py", "Dataset") and array == self._array)

    def _check_unchanged(self) -> None:
        if tuple(self._array.shape) != self._array_shape:
            raise ChangedSourceError(
                f"{self.name} changed while it was read: its shape was "
                f"{self._array_shape} "
                f"and is {tuple(self._array.shape)}."
            )
        if self._stamped() != self._stamp:
            raise ChangedSourceError(
                f"{self.name} changed while it was read: its file "
                f"{self._array.file.filename!r} was written to. {self._way_out}"
            )

    def _stamped(self) -> tuple[int, int] | None:
        """What changes with the file, where it can be seen."""
        if self._descriptor is None:
            return None
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


def _file_of(array: Any) -> int | None:
    """The open file of an array that nothing should write to meanwhile."""
    if not _is_from(array, "h5py", "Dataset"):
        return None
    file = array.file
    is_still = file.mode == "r" and not file.swmr_mode and file.driver == "sec2"
    return file.id.get_vfd_handle() if is_still else None
