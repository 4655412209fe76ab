"""Readers of single formats, and `row_source`, which picks one for what came as X.

h5py, zarr, Parquet, Dask collections, iterators of blocks and whatever else is cut by
slices. No format's library is imported unless its objects or files come.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skae.rows.sources import ChangedSourceError, RowSource

__all__ = ["as_rows", "row_source"]

_SUFFIXES = (".parquet", ".pq", ".parq")
# Rows of memory maps of other dtypes are converted by block beyond so many bytes.
_CONVERTED_BYTES = 16 * 2**20
# Of a table that is laid out row by row at a time.
_TILE_BYTES = 2**19
# Threads on which Dask computes blocks where there is no cluster.
_DASK_THREADS = 2


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
    if isinstance(X, np.memmap):
        return _source_of_memmap(X, name)
    if X is None or isinstance(X, np.ndarray | list | tuple | dict | type):
        return None
    if isinstance(X, str | os.PathLike):
        return _ParquetRows(_dataset_at(X, name), name)
    if _is_from(X, "pyarrow.dataset", "Dataset"):
        return _ParquetRows(X, name)
    if _is_dask(X):
        return _dask_rows(X, name)
    if callable(X) and not hasattr(X, "shape"):
        return _IteratedRows(X, name)
    if _is_stored_array(X):
        return _SlicedRows(X, name)
    return None


def as_rows(X: Any, name: str = "X") -> Any:
    """The source of rows that are not in memory, and whatever else as it is."""
    source = row_source(X, name)
    return X if source is None else source


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
    is_stored = any(hasattr(X, name) for name in ("chunks", "chunk_shape", "tile"))
    has_all = all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__"))
    # Dense in memory: sparse matrices, torch's tensors and frames are no sources.
    return has_all and (is_stored or type(X).__module__.split(".")[0] == "tiledb")


def _source_of_memmap(X: np.memmap, name: str) -> RowSource | None:
    """Memory maps of floats stay arrays: the others would be converted as a whole."""
    is_float = X.dtype in (np.float32, np.float64) and X.dtype.isnative
    if is_float or X.ndim != 2 or X.nbytes <= _CONVERTED_BYTES:
        return None
    return _SlicedRows(X, name)


def two_axes(shape: Any, name: str) -> tuple[int, int]:
    """The shape, where it has two axes."""
    if len(shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(shape)}D array instead: {name} has the shape "
            f"{tuple(shape)}. Rows are samples, and columns are features."
        )
    return shape[0], shape[1]


def _check_numeric(are_numeric: Iterable[tuple[str, Any, bool]], name: str) -> None:
    """Raise for columns that are not numeric."""
    others = [f"{c!r} ({d})" for c, d, is_numeric in are_numeric if not is_numeric]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        raise ValueError(
            f"The columns of {name} must be numeric; these are not: "
            f"{', '.join(others[:5])}{more}. Leave them out or encode them."
        )


def _text_names(columns) -> list[str] | None:
    """Names of columns that are all text, as scikit-learn takes them."""
    names = [] if columns is None else list(columns)
    return names if names and all(isinstance(c, str) for c in names) else None


class _SlicedRows(RowSource):
    """Rows of an array with shape, dtype and slices, such as ``h5py.Dataset``."""

    def __init__(self, array: Any, name: str):
        shape = two_axes(array.shape, name)
        chunks = getattr(array, "chunks", None)
        stored = chunks[0] if isinstance(chunks, tuple) and chunks else None
        # Arrays of irregular chunks have a tuple of lengths for each axis.
        if isinstance(stored, tuple):
            stored = np.cumsum((0, *stored))
        stored = int(stored) if isinstance(stored, np.integer) else stored
        super().__init__(shape, array.dtype, stored, name=name)
        self._array = array

    def _read(self, rows: slice) -> Any:
        self._check_unchanged()
        array = self._array
        if _is_from(array, "h5py", "Dataset") and array.dtype == self.dtype:
            # Half the time of a slice.
            block = np.empty((rows.stop - rows.start, self.shape[1]), self.dtype)
            array.read_direct(block, np.s_[rows.start : rows.stop])
            return block
        return array[rows.start : rows.stop]

    def _check_unchanged(self) -> None:
        if tuple(self._array.shape) != self.shape:
            raise ChangedSourceError(
                f"{self.name} changed while it was read: its shape was {self.shape} "
                f"and is {tuple(self._array.shape)}."
            )


class _StreamedRows(RowSource):
    """Rows of streams of blocks that begin at certain rows, read on where they are."""

    # The rows where streams can begin.
    _starts: np.ndarray
    _stream: Iterator[np.ndarray] | None = None
    _at = 0
    _left: np.ndarray

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        """Blocks of rows from one of the starts to the end of all rows."""
        raise NotImplementedError

    def _read(self, rows: slice) -> np.ndarray:
        if self._stream is None or rows.start != self._at:
            number = int(np.searchsorted(self._starts, rows.start, side="right")) - 1
            self._stream = self._stream_from(number)
            self._at, self._left = int(self._starts[number]), self._none()
            while self._at < rows.start:
                self._take(rows.start - self._at)
        parts = []
        while self._at < rows.stop:
            parts.append(self._take(rows.stop - self._at))
        if self._at == self.shape[0]:
            self._check_end()
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else self._none()

    def _take(self, n_rows: int) -> np.ndarray:
        """The next rows, so many at most."""
        while not len(self._left):
            self._left = self._next()
        part, self._left = self._left[:n_rows], self._left[n_rows:]
        self._at += len(part)
        return part

    def _next(self) -> np.ndarray:
        block = next(self._stream, None) if self._stream is not None else None
        if block is None:
            raise ChangedSourceError(
                f"{self.name} had {self.shape[0]} rows when it was first read, and has "
                f"{self._at} now. {self._way_out}"
            )
        if block.shape[1:] != self.shape[1:]:
            raise ChangedSourceError(
                f"{self.name} had {self.shape[1]} columns when it was first read, and "
                f"now a block of shape {block.shape}. {self._way_out}"
            )
        return block

    def _check_end(self) -> None:
        further = len(self._left)
        while not further:
            block = next(self._stream, None) if self._stream is not None else None
            if block is None:
                break
            further = len(block)
        self._stream = None
        if further:
            raise ChangedSourceError(
                f"{self.name} had {self.shape[0]} rows when it was first read, and has "
                f"more now. {self._way_out}"
            )

    _way_out = "Do not change it during the call."


class _IteratedRows(_StreamedRows):
    """Rows from a callable that starts a new iterator of blocks at each call."""

    _way_out = "Each call must start a new iterator of the same blocks."

    def __init__(self, start: Callable[[], Iterable], name: str):
        self._start = start
        self.name = name
        self._starts = np.zeros(1, dtype=np.int64)
        n_rows, width, dtypes, names = 0, None, set(), None
        for block in self._blocks():
            if width is None:
                width, names = block.shape[1], getattr(block, "columns", None)
            elif block.shape[1] != width:
                raise ValueError(
                    f"The blocks of {name} must have equally many columns; got "
                    f"{width} and {block.shape[1]}."
                )
            n_rows += block.shape[0]
            dtypes.add(_dense(block[:0]).dtype)
        if width is None:
            raise ValueError(
                f"{name} gave no blocks of rows. It must be a callable that returns a "
                "new iterator of blocks each time; a generator function is one."
            )
        whole = np.array([0, n_rows])
        dtype = np.result_type(*dtypes)
        super().__init__((n_rows, width), dtype, whole, _text_names(names), name)
        # In its order only, however little there is.
        self.is_random = False

    def _blocks(self) -> Iterator[Any]:
        blocks = self._start()
        if not isinstance(blocks, Iterable) or hasattr(blocks, "shape"):
            raise ValueError(
                f"{self.name} is called to start an iterator of blocks of rows; it "
                f"returned {type(blocks).__name__}."
            )
        for block in blocks:
            block = block if hasattr(block, "shape") else np.asarray(block)
            two_axes(block.shape, f"a block of {self.name}")
            if hasattr(block, "dtypes"):
                _check_frame(block, self.name)
            yield block

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        return map(_dense, self._blocks())


def _dense(block: Any) -> np.ndarray:
    block = block.toarray() if hasattr(block, "toarray") else block
    if hasattr(block, "to_numpy") and hasattr(block, "dtypes"):
        # Nullable columns would come as objects.
        if any(np.dtype(getattr(d, "numpy_dtype", d)) != d for d in block.dtypes):
            return block.to_numpy(dtype=np.float64, na_value=np.nan)
        return block.to_numpy()
    return block if isinstance(block, np.ma.MaskedArray) else np.asarray(block)


def _check_frame(frame: Any, name: str) -> None:
    dtypes = list(frame.dtypes)
    kinds = [getattr(getattr(d, "numpy_dtype", d), "kind", "O") for d in dtypes]
    _check_numeric(
        (
            (column, dtype, kind in "buif")
            for column, dtype, kind in zip(frame.columns, dtypes, kinds, strict=True)
        ),
        name,
    )


def _dask_rows(collection: Any, name: str) -> RowSource:
    names = None
    if hasattr(collection, "columns"):
        names = _text_names(collection.columns)
        _check_frame(collection, name)
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
    return collection.compute(scheduler="threads", num_workers=_DASK_THREADS)


class _DaskRows(_StreamedRows):
    """Rows of a Dask array or frame, computed block by block."""

    def __init__(self, shape, dtype, starts, parts, names, name):
        super().__init__(shape, dtype, starts, names, name)
        self._starts, self._parts = starts[:-1], parts

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        for each in range(number, len(self._starts)):
            block = _dense(_computed(self._parts[each]))
            expected = int(np.append(self._starts, self.shape[0])[each + 1])
            if len(block) != expected - self._starts[each]:
                raise ChangedSourceError(
                    f"Block {each} of {self.name} should have "
                    f"{expected - self._starts[each]} rows; it has {len(block)}. "
                    f"{self._way_out}"
                )
            yield block


class _ParquetRows(_StreamedRows):
    """Rows of Parquet files; row groups are blocks where they are small."""

    def __init__(self, dataset: Any, name: str):
        schema = dataset.schema
        _check_numeric(((f.name, f.type, _is_number(f.type)) for f in schema), name)
        self._groups: list[Any] = []
        edges = [0]
        for fragment in dataset.get_fragments():
            for part in fragment.split_by_row_group():
                n_rows = sum(group.num_rows for group in part.row_groups)
                if n_rows:
                    self._groups.append(part)
                    edges.append(edges[-1] + n_rows)
        dtypes = [field.type.to_pandas_dtype() for field in schema]
        dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float32)
        # Integers with gaps come as floats.
        names = schema.names
        starts = np.array(edges)
        super().__init__((edges[-1], len(names)), dtype, starts, names, name)
        self._starts = starts[:-1]
        self._stamps = {fragment.path: None for fragment in self._groups}
        self._stamps = {path: _stamp(path) for path in self._stamps}

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        size = max(1, 2 * 2**20 // (self.dtype.itemsize * max(1, self.shape[1])))
        options = {"columns": list(self.feature_names), "use_threads": True}
        for group in self._groups[number:]:
            self._check_unchanged()
            try:
                batches = group.to_batches(
                    batch_size=size, batch_readahead=1, fragment_readahead=0, **options
                )
                for batch in batches:
                    if batch.num_rows:
                        yield self._by_rows(batch)
            except (OSError, KeyError) as error:
                raise ChangedSourceError(
                    f"{self.name} cannot be read on: {error}"
                ) from error

    def _by_rows(self, batch: Any) -> np.ndarray:
        """A record batch as rows one after the other."""
        columns = [
            column.to_numpy(zero_copy_only=False).astype(self.dtype, copy=False)
            for column in batch.columns
        ]
        out = np.empty((batch.num_rows, len(columns)), self.dtype)
        # In tiles that the processor's cache takes.
        step = max(1, _TILE_BYTES // max(1, out.strides[0]))
        for start in range(0, len(out), step):
            tile = out[start : start + step]
            for number, column in enumerate(columns):
                tile[:, number] = column[start : start + step]
        return out

    def _check_unchanged(self) -> None:
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                raise ChangedSourceError(
                    f"{self.name} changed while it was read: {path} is another file "
                    "than before, or was written to."
                )


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    kinds = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
    return any(is_kind(kind) for is_kind in kinds)


def _stamp(path: str) -> tuple | None:
    """What changes with a file; None where it is not on a disk."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _dataset_at(path: Any, name: str) -> Any:
    """The Parquet dataset of a file or a folder."""
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(
            f"{name}={os.fspath(path)!r} names no file or folder. As a path, {name} is "
            "a Parquet file or a folder of them."
        )
    if place.is_file() and place.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"{name}={os.fspath(path)!r} must be a Parquet file (*.parquet) or a "
            "folder of them. Open other files first: with numpy.load(..., "
            "mmap_mode='r'), h5py or zarr."
        )
    try:
        import pyarrow as pa
        from pyarrow import dataset
    except ImportError as error:
        raise ImportError(
            f"Reading Parquet files needs pyarrow: {error}. Run pip install "
            "'skae[large]'."
        ) from error
    try:
        return dataset.dataset(os.fspath(place), format="parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"{name}={os.fspath(path)!r} cannot be read as Parquet: {error}"
        ) from error
