"""Rows of Parquet files, folders of them and datasets of pyarrow.

Row groups are the blocks where they are small; large ones are streamed. Columns are
those of a frame that pandas or Dask reads: without the index that they stored, with the
keys of folders such as ``year=2024``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skae.rows.blocks import ChangedSourceError, check_numeric, check_unique
from skae.rows.extras import importing
from skae.rows.streams import StreamedRows

__all__ = ["SUFFIXES", "ParquetRows", "dataset_at"]

SUFFIXES, _MAGIC = (".parquet", ".pq", ".parq"), b"PAR1"
# Bytes of a row group that is read as a whole, and of a part of a larger one.
_WHOLE_BYTES, _BATCH_BYTES = 16 * 2**20, 8 * 2**20


class ParquetRows(StreamedRows):
    """Rows of Parquet files; row groups are blocks where they are small.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
    name : str
    takes_all : bool, default=False
        Whether files may not have columns that the dataset leaves out.
    """

    def __init__(self, dataset: Any, name: str, *, takes_all: bool = False):
        names = _columns_of(dataset.schema)
        check_unique(names, name)
        self._groups: list[Any] = []
        edges, dtypes = [0], {np.dtype(np.bool_)}
        for fragment in dataset.get_fragments():
            with _opening(fragment, name):
                dtypes |= _dtypes_of(fragment, names, takes_all, name)
                parts = fragment.split_by_row_group()
                lengths = [sum(g.num_rows for g in part.row_groups) for part in parts]
            for part, n_rows in zip(parts, lengths, strict=True):
                if n_rows:
                    self._groups.append(part)
                    edges.append(edges[-1] + n_rows)
        starts, dtype = np.array(edges), np.result_type(*dtypes)
        super().__init__((edges[-1], len(names)), dtype, starts, names, name)
        self._columns = names
        self._scratch = np.empty(0, self.dtype)
        self._starts = starts[:-1]
        paths = {fragment.path for fragment in self._groups}
        self._stamps = {path: _stamp(path) for path in sorted(paths)}

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        for group in self._groups[number:]:
            self._check_file(group.path)
            # Not held any longer than its rows take to be laid out.
            yield from self._rows_of(group)

    def _rows_of(self, group: Any) -> Iterator[np.ndarray]:
        """The rows of a row group, of large ones some at a time."""
        import pyarrow as pa

        row_bytes = self.dtype.itemsize * max(1, self.shape[1])
        n_rows = sum(part.num_rows for part in group.row_groups)
        keys = _keys_of(group)
        stored = [column for column in self._columns if column not in keys]
        options = {"columns": stored, "use_threads": True}
        try:
            if n_rows * row_bytes <= _WHOLE_BYTES:
                yield self._by_rows(group.to_table(**options), keys)
                return
            size = max(1, _BATCH_BYTES // row_bytes)
            ahead = {"batch_readahead": 1, "fragment_readahead": 0}
            for batch in group.to_batches(batch_size=size, **ahead, **options):
                if batch.num_rows:
                    yield self._by_rows(batch, keys)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise ChangedSourceError(
                f"{self.name} cannot be read on, at {group.path}: {error}"
            ) from error

    def _by_rows(self, table: Any, keys: dict[str, Any]) -> np.ndarray:
        """Columns as rows one after the other."""
        shape = len(self._columns), table.num_rows
        # Used again: fresh memory takes longer than the columns.
        if self._scratch.size < shape[0] * shape[1]:
            self._scratch = np.empty(shape[0] * shape[1], self.dtype)
        by_columns = self._scratch[: shape[0] * shape[1]].reshape(shape)
        for values, column in zip(by_columns, self._columns, strict=True):
            if column in keys:
                values[:] = np.nan if keys[column] is None else keys[column]
            else:
                values[:] = table.column(column).to_numpy(zero_copy_only=False)
        return by_columns.T.copy(order="C")

    def _check_unchanged(self) -> None:
        for path in self._stamps:
            self._check_file(path)

    def _check_file(self, path: str) -> None:
        if _stamp(path) != self._stamps[path]:
            raise ChangedSourceError(
                f"{self.name} changed while it was read: {path} is another file than "
                "before, or was written to."
            )


def _dtypes_of(
    fragment: Any, names: list[str], takes_all: bool, name: str
) -> set[np.dtype]:
    """The dtypes of the columns of a file, which must be those of all files."""
    if not hasattr(fragment, "split_by_row_group"):
        raise ValueError(
            f"{name} must be a dataset of Parquet files; got a "
            f"{type(fragment).__name__}. Write it to Parquet, or pass it by a callable "
            "that returns a new iterator of blocks."
        )
    schema, what = fragment.physical_schema, f"{name} in {fragment.path}"
    keys, stored = _keys_of(fragment), _columns_of(schema)
    others = set(names) - set(stored) - set(keys)
    if takes_all:
        others |= set(stored) - set(names)
    if others:
        raise ValueError(
            f"All files of {name} must have the same columns; {fragment.path} differs "
            f"from the first in {sorted(others)[:5]}."
        )
    _check_keys(keys, names, what)
    kinds = {column: schema.field(column).type for column in names if column in stored}
    check_numeric(((c, kind, _is_number(kind)) for c, kind in kinds.items()), what)
    dtypes = [_dtype_of(kind) for kind in kinds.values()]
    return {*dtypes, *(_dtype_of_key(keys[c]) for c in names if c in keys)}


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    kinds = types.is_integer, types.is_floating, types.is_boolean, types.is_null
    return any(is_kind(kind) for is_kind in kinds)


def _dtype_of(kind: Any) -> np.dtype:
    """The dtype of a column; a column of nulls alone is NaN."""
    import pyarrow as pa

    is_missing = pa.types.is_null(kind)
    return np.dtype(np.float16 if is_missing else kind.to_pandas_dtype())


def _dtype_of_key(value: Any) -> np.dtype:
    return np.dtype(np.float16) if value is None else np.min_scalar_type(value)


def _columns_of(schema: Any) -> list[str]:
    """Names of columns, without those of the index that pandas or Dask stored."""
    index = (schema.pandas_metadata or {}).get("index_columns", ())
    # A range of row numbers is no column but a dict.
    index = {column for column in index if isinstance(column, str)}
    return [column for column in schema.names if column not in index]


def _keys_of(fragment: Any) -> dict[str, Any]:
    """Values of columns by the folders of a file, such as 2024 of ``year=2024``."""
    from pyarrow import dataset

    keys = dataset.get_partition_keys(fragment.partition_expression)
    stored = set(fragment.physical_schema.names)
    return {column: value for column, value in keys.items() if column not in stored}


def _check_keys(keys: dict[str, Any], names: list[str], what: str) -> None:
    for column, value in keys.items():
        if column in names and not isinstance(value, int | float | None):
            raise ValueError(
                f"The columns of {what} must be numeric; the folder is that of "
                f"{column}={value!r}. pyarrow.dataset.dataset(path, partitioning=None) "
                f"leaves {column!r} out; or encode it."
            )


@contextmanager
def _opening(fragment: Any, name: str) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            f"All files of {name} must be Parquet files; {fragment.path} cannot be "
            f"read as one. Move other files to another folder. {error}"
        ) from error


def _stamp(path: str) -> tuple | None:
    """What changes with a file; None where it is not on a disk."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _may_be_parquet(place: Path) -> bool:
    """Whether it is named like one, or begins like one."""
    if place.suffix.lower() in SUFFIXES:
        return True
    with place.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def dataset_at(path: Any, name: str) -> Any:
    """The Parquet dataset of a file or a folder."""
    place = Path(path)
    if isinstance(path, str) and "://" in path:
        raise ValueError(
            f"{name}={path!r} is no path of this machine's files. Pass "
            f"pyarrow.dataset.dataset({path!r}) for Parquet files of a remote store."
        )
    if not place.exists():
        raise FileNotFoundError(
            f"{name}={os.fspath(path)!r} names no file or folder. As a path, {name} is "
            "a Parquet file or a folder of them."
        )
    if place.is_file() and not _may_be_parquet(place):
        raise ValueError(
            f"{name}={os.fspath(path)!r} must be a Parquet file or a folder of them, "
            "and this is neither. Open other files first: with numpy.load(..., "
            "mmap_mode='r'), h5py or zarr."
        )
    with importing("large", "Reading Parquet files"):
        import pyarrow as pa
        from pyarrow import dataset
    try:
        by_folder = "hive" if place.is_dir() else None
        found = dataset.dataset(
            os.fspath(place), format="parquet", partitioning=by_folder
        )
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            f"{name}={os.fspath(path)!r} cannot be read as Parquet, as which paths are "
            f"read; open stores of other formats first. {error}"
        ) from error
    if not found.files:
        raise ValueError(f"{name}={os.fspath(path)!r} is a folder without files.")
    return found
