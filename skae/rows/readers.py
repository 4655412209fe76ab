"""Readers of single formats, and `row_source`, which picks one for what came as X.

h5py, zarr, Parquet files, Dask collections, iterators of blocks and anything else that
is cut by slices. No format's library is imported unless its objects or files come.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skae.rows.sources import ChangedSourceError, RowSource

__all__ = ["row_source"]

# Rows of a Parquet file that are decoded at a time.
_PARQUET_ROWS = 8192


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
    if isinstance(X, np.ndarray | list | tuple) or X is None:
        return None
    if isinstance(X, str | os.PathLike):
        return _ParquetRows(_dataset_at(X, name), name)
    if _is_from(X, "pyarrow", "dataset.Dataset"):
        return _ParquetRows(X, name)
    if _is_dask(X):
        return _DaskRows(X, name)
    if callable(X) and not hasattr(X, "shape"):
        return _IteratedRows(X, name)
    if _is_sliced(X):
        return _SlicedRows(X, name)
    return None


def _is_from(X: Any, package: str, path: str) -> bool:
    """Whether X is an instance of a class of a package that is imported."""
    found: Any = sys.modules.get(package)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(X, found)


def _is_dask(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] in ("dask", "dask_expr") and hasattr(
        X, "dask"
    )


def _is_sliced(X: Any) -> bool:
    """Whether X is an array that is stored in chunks, as of h5py, zarr or TileDB."""
    if hasattr(X, "__array_interface__") or hasattr(X, "__array_struct__"):
        return False
    stored = hasattr(X, "chunks") or hasattr(X, "chunk_shape") or hasattr(X, "tile")
    return stored and hasattr(X, "shape") and hasattr(X, "dtype")


def _two_axes(shape: Any, name: str) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(shape)}D array instead: {name} has the shape "
            f"{tuple(shape)}."
        )
    return shape


class _SlicedRows(RowSource):
    """Rows of an array with shape, dtype and slices, such as ``h5py.Dataset``."""

    def __init__(self, array: Any, name: str):
        shape = _two_axes(array.shape, name)
        chunks = getattr(array, "chunks", None)
        stored = chunks[0] if isinstance(chunks, tuple) and chunks else None
        super().__init__(
            shape, array.dtype, stored if isinstance(stored, int) else None, name=name
        )
        self._array = array

    def _read(self, rows: slice) -> Any:
        self._check_unchanged()
        return self._array[rows.start : rows.stop]

    def _check_unchanged(self) -> None:
        if tuple(self._array.shape) != self.shape:
            raise ChangedSourceError(
                f"{self.name} changed while it was read: its shape was {self.shape} "
                f"and is {tuple(self._array.shape)}."
            )


class _DaskRows(RowSource):
    """Rows of a Dask array or frame, computed block by block."""

    def __init__(self, collection: Any, name: str):
        names = None
        if hasattr(collection, "columns"):
            names = _text_names(collection.columns)
            kinds = zip(collection.columns, collection.dtypes, strict=True)
            _check_numeric(((c, _is_number(d)) for c, d in kinds), name)
            lengths = collection.map_partitions(len).compute()
            collection = collection.to_dask_array(lengths=tuple(map(int, lengths)))
        _two_axes(collection.shape, name)
        if not all(n == n for axis in collection.chunks for n in axis):
            raise ValueError(
                f"{name} is a Dask array of unknown chunk sizes, {collection.chunks}. "
                f"Call {name}.compute_chunk_sizes() first."
            )
        lengths = collection.chunks[0]
        super().__init__(
            collection.shape, collection.dtype, max(lengths, default=1), names, name
        )
        self._collection = collection

    def _read(self, rows: slice) -> Any:
        block = self._collection[rows.start : rows.stop].compute()
        return block.toarray() if hasattr(block, "toarray") else block


class _IteratedRows(RowSource):
    """Rows from a callable that starts a new iterator of blocks at each call."""

    is_random = False

    def __init__(self, start: Callable[[], Iterable], name: str):
        self._start = start
        self.name = name
        n_rows, width, dtypes, names = 0, None, set(), None
        for block in self._iterator():
            if width is None:
                width = block.shape[1]
                names = getattr(block, "columns", None)
            elif block.shape[1] != width:
                raise ValueError(
                    f"The blocks of {name} must have equally many columns; got "
                    f"{width} and {block.shape[1]}."
                )
            n_rows += len(block)
            dtypes.add(np.asarray(block[:0]).dtype)
        if width is None:
            raise ValueError(f"{name} gave no blocks of rows.")
        super().__init__(
            (n_rows, width), np.result_type(*dtypes), None, _text_names(names), name
        )
        self._reading: Iterator | None = None

    def _iterator(self) -> Iterator:
        blocks = self._start()
        if not isinstance(blocks, Iterable):
            raise ValueError(
                f"{self.name} is called to start an iterator of blocks; it returned "
                f"{type(blocks).__name__}."
            )
        for block in blocks:
            block = block if hasattr(block, "shape") else np.asarray(block)
            _two_axes(block.shape, f"A block of {self.name}")
            yield block

    def _read(self, rows: slice) -> np.ndarray:
        if self._reading is None or rows.start < self._at:
            self._reading, self._at = self._iterator(), 0
            self._left = np.empty((0, self.shape[1]), self.dtype)
        parts, n_read = [], 0
        while n_read < rows.stop - rows.start:
            if not len(self._left):
                self._left = self._next()
            skipped = min(rows.start - self._at, len(self._left)) if not n_read else 0
            self._at += skipped
            self._left = self._left[skipped:]
            if self._at < rows.start:
                continue
            part = self._left[: rows.stop - rows.start - n_read]
            self._left = self._left[len(part) :]
            parts.append(part)
            n_read += len(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _next(self) -> np.ndarray:
        block = next(self._reading, None) if self._reading is not None else None
        if block is None:
            raise ChangedSourceError(
                f"{self.name} gave {self.shape[0]} rows at first, and fewer when it "
                "was called again. Each call must start a new iterator of the same "
                "blocks."
            )
        if block.shape[1] != self.shape[1]:
            raise ChangedSourceError(
                f"{self.name} gave {self.shape[1]} columns at first, and then "
                f"{block.shape[1]}."
            )
        return np.asarray(block)


class _ParquetRows(RowSource):
    """Rows of Parquet files, read by their row groups.

    Row groups that are longer than a block are read in parts, from their beginning.
    """

    def __init__(self, dataset: Any, name: str):
        schema = dataset.schema
        _check_numeric(((f.name, _is_arrow_number(f.type)) for f in schema), name)
        # Numbers of the first row of each row group, and where it is found.
        self._starts, self._groups = [0], []
        self._times: dict[str, int | None] = {}
        for fragment in dataset.get_fragments():
            self._times[fragment.path] = _time_of(fragment.path)
            for part in fragment.split_by_row_group():
                n_rows = sum(group.num_rows for group in part.row_groups)
                if n_rows:
                    self._groups.append(part)
                    self._starts.append(self._starts[-1] + n_rows)
        dtypes = [field.type.to_pandas_dtype() for field in schema]
        dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float32)
        longest = int(max(np.diff(self._starts), default=1))
        shape = self._starts[-1], len(schema)
        super().__init__(shape, dtype, longest, schema.names, name)
        self._names = schema.names
        self._open: _Group | None = None

    def _read(self, rows: slice) -> np.ndarray:
        out = np.empty((rows.stop - rows.start, self.shape[1]), self.dtype)
        start = rows.start
        while start < rows.stop:
            number = int(np.searchsorted(self._starts, start, side="right")) - 1
            stop = min(rows.stop, self._starts[number + 1])
            first = self._starts[number]
            if self._open is None or not self._open.is_before(number, start - first):
                self._open = _Group(number, self._groups[number], self._names)
            part = out[start - rows.start : stop - rows.start]
            try:
                self._open.fill(part, start - first)
            except (OSError, StopIteration) as error:
                raise self._changed() from error
            start = stop
        return out

    def _check_unchanged(self) -> None:
        for path, time in self._times.items():
            if _time_of(path) != time:
                raise self._changed()

    def _changed(self) -> ChangedSourceError:
        return ChangedSourceError(
            f"The Parquet files of {self.name} changed while they were read, or are "
            "damaged."
        )


class _Group:
    """A row group of a Parquet file, read forwards."""

    def __init__(self, number: int, fragment: Any, names: list[str]):
        self.number = number
        self._batches = fragment.to_batches(
            columns=names, batch_size=_PARQUET_ROWS, batch_readahead=1, use_threads=True
        )
        self._at = 0
        self._batch: Any = None
        self._used = 0

    def is_before(self, number: int, row: int) -> bool:
        """Whether a row of a group can be reached by reading on."""
        return self.number == number and self._at <= row

    def fill(self, out: np.ndarray, first: int) -> None:
        """Rows of the group from this number on."""
        filled = 0
        while filled < len(out):
            if self._batch is None or self._used == self._batch.num_rows:
                self._batch, self._used = next(self._batches), 0
            left = self._batch.num_rows - self._used
            if self._at < first:
                skipped = min(left, first - self._at)
                self._at += skipped
                self._used += skipped
                continue
            n_rows = min(left, len(out) - filled)
            part = self._batch.slice(self._used, n_rows)
            columns = np.empty((part.num_columns, n_rows), out.dtype)
            for column, values in zip(columns, part.columns, strict=True):
                column[:] = values.to_numpy(zero_copy_only=False)
            out[filled : filled + n_rows] = columns.T
            filled += n_rows
            self._used += n_rows
            self._at += n_rows


def _dataset_at(path: Any, name: str) -> Any:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{name}={str(path)!r}: there is no such file.")
    try:
        from pyarrow import dataset
    except ImportError as error:
        raise ImportError(
            f"{name}={str(path)!r} is read with pyarrow, which is not installed: pip "
            "install 'skae[large]'."
        ) from error
    try:
        return dataset.dataset(path, format="parquet")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name}={str(path)!r} must be a Parquet file or a folder of such files: "
            f"{error}"
        ) from error


def _time_of(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _is_arrow_number(kind: Any) -> bool:
    import pyarrow as pa

    return (
        pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ) or pa.types.is_boolean(kind)


def _is_number(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "buif"


def _check_numeric(columns: Iterable[tuple[Any, bool]], name: str) -> None:
    others = [str(column) for column, is_number in columns if not is_number]
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        raise ValueError(
            f"{name} must have columns of numbers; these are not: {shown}. Leave them "
            "out or encode them."
        )


def _text_names(columns: Any) -> list[str] | None:
    """Names of columns where all are text, as scikit-learn has them."""
    if columns is None or not all(isinstance(column, str) for column in columns):
        return None
    return [*columns]
