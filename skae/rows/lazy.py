"""Rows on disk that scikit-learn's splitters select without reading them.

`LazyRows` is public: users wrap what they pass to `cross_val_score`, `GridSearchCV` and
the like. Estimators get its rows by `skae.rows.readers.row_source`.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from skae.rows.blocks import check_open
from skae.rows.derived import StoredRows, is_mapped
from skae.rows.readers import row_source
from skae.rows.sources import RowSource

__all__ = ["LazyRows"]


class LazyRows:
    """Rows of a file that are selected without being read.

    Functions of scikit-learn that split X select rows of it: of an array of h5py or
    zarr, or of a memory map, that reads them all into memory, and paths and datasets
    of closed files cannot be split at all. Of `LazyRows` they get other `LazyRows`,
    which the estimators of skae read block by block. They travel to other processes,
    as with ``n_jobs=2``, by the name of their file.

    Parameters
    ----------
    X : h5py.Dataset, zarr.Array, memory map, path of Parquet files, ...
        Whatever `fit` takes that is not in memory, of shape (n_samples, n_features).

    Attributes
    ----------
    shape : (n_samples, n_features)
    dtype : dtype
        float32 or float64, what rows are read as.

    Raises
    ------
    ValueError
        For an X that is in memory or cannot be read as rows of numbers; when pickled,
        for a dataset of a file that other processes cannot open.

    Notes
    -----
    Rows may be selected in any order where they fit into 128 MiB. Beyond, estimators
    need them in the order of the file, as which `KFold` and its relatives select them,
    also with ``shuffle=True``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from skae import AutoencoderTransformer, LazyRows
    >>> path = Path(tempfile.mkdtemp()) / "iris.npy"
    >>> np.save(path, load_iris().data)
    >>> X = LazyRows(np.load(path, mmap_mode="r"))
    >>> X[:100]
    LazyRows of shape (100, 4) and dtype float64
    >>> ae = AutoencoderTransformer(2, activation="identity")
    >>> cross_val_score(ae, X, cv=3).shape
    (3,)
    """

    ndim = 2

    def __init__(self, X: Any):
        self._X: Any = X
        self._numbers: np.ndarray | None = None
        if isinstance(X, LazyRows):
            self._X, self._numbers = X._X, X._numbers
        source = self._opened("X")
        self._n_rows, n_features = source.shape
        self.dtype = source.dtype
        self.shape = len(self), n_features

    def __len__(self) -> int:
        return self._n_rows if self._numbers is None else len(self._numbers)

    def __repr__(self) -> str:
        return f"LazyRows of shape {self.shape} and dtype {self.dtype}"

    def __getitem__(self, rows: Any) -> "LazyRows":
        """Rows by slice, row numbers or mask, unread."""
        if isinstance(rows, tuple) and len(rows) == 2 and rows[1] is Ellipsis:
            rows = rows[0]
        if isinstance(rows, tuple) or np.ndim(rows) > 1 or np.isscalar(rows):
            raise TypeError(
                "LazyRows are selected by a slice, an array of row numbers or a mask; "
                f"got {rows!r}. np.asarray(X[[0]]) reads a row."
            )
        before = self._numbers
        before = np.arange(self._n_rows) if before is None else before
        numbers = before[_as_key(rows)]
        selected = object.__new__(LazyRows)
        selected.__dict__.update(self.__dict__)
        selected._numbers = numbers
        selected.shape = len(numbers), self.shape[1]
        return selected

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """The rows, all of them in memory."""
        return np.asarray(self._opened("X")[self._key()], dtype)

    def __reduce__(self):
        return _rebuilt, (*_reference(self._X), self._numbers)

    def row_source(self, name: str = "X") -> RowSource:
        """The rows as estimators read them."""
        source, numbers = self._opened(name), self._numbers
        if numbers is None:
            return source
        if np.all(numbers[:-1] <= numbers[1:]):
            return source.selected(numbers)
        small = source.selected(np.sort(numbers))
        if not small.is_small:
            raise ValueError(
                f"The {len(numbers)} rows of {name} are in another order than in their "
                "file, and too many to be held in memory. Select them by sorted row "
                "numbers, and labels and weights likewise: KFold and StratifiedKFold "
                "do, also with shuffle=True; split np.arange(len(X)) with "
                "train_test_split, and sort both parts."
            )
        return StoredRows(source[numbers])

    def _key(self) -> Any:
        return slice(None) if self._numbers is None else self._numbers

    def _opened(self, name: str) -> RowSource:
        """All rows of the file."""
        source = row_source(self._X, name)
        if source is None and is_mapped(self._X) and self._X.ndim == 2:
            source = StoredRows(self._X)
        if source is None:
            raise ValueError(
                f"LazyRows takes rows that are not in memory, such as a memory map, an "
                f"array of h5py or zarr, or the path of a Parquet file; got "
                f"{type(self._X).__name__}. Pass what is in memory as it is."
            )
        return source


def _as_key(rows: Any) -> Any:
    if isinstance(rows, slice):
        return rows
    rows = np.asarray(rows)
    return rows if rows.size else rows.astype(np.int64)


# Other processes


def _rebuilt(opened: Callable[..., Any], place: tuple, numbers: np.ndarray | None):
    rows = LazyRows(opened(*place))
    return rows if numbers is None else rows[numbers]


def _reference(X: Any) -> tuple[Callable[..., Any], tuple]:
    """A function and its arguments that open X in another process."""
    if is_mapped(X):
        return _memmap_at, _place_of_memmap(X)
    check_open(X, "X")
    if hasattr(X, "file") and hasattr(X, "id"):
        return _dataset_at, _place_of_dataset(X)
    return _as_it_is, (X,)


def _as_it_is(X: Any) -> Any:
    return X


def _place_of_dataset(X: Any) -> tuple:
    file = X.file
    is_open_to_all = file.mode == "r" and os.path.isfile(file.filename)
    if not is_open_to_all or X.name is None:
        raise ValueError(
            f"X is a dataset of {file.filename!r}, opened with mode {file.mode!r}: "
            "other processes can read it only where it is a file on disk that was "
            "opened with mode 'r'. Open it so, or use n_jobs=1."
        )
    return os.path.abspath(file.filename), X.name, file.swmr_mode


def _dataset_at(path: str, name: str, is_swmr: bool) -> Any:
    import h5py

    return h5py.File(path, "r", swmr=is_swmr)[name]


def _place_of_memmap(X: np.ndarray) -> tuple:
    owner = X
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if not (isinstance(owner, np.memmap) and owner.filename and X.flags.c_contiguous):
        raise ValueError(
            "X is a part of a memory map that other processes cannot open by the name "
            "of its file: pass the whole of it, or some of its rows that follow each "
            "other, or use n_jobs=1."
        )
    within = X.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return str(owner.filename), X.dtype, owner.offset + within, X.shape


def _memmap_at(path: str, dtype: np.dtype, offset: int, shape: tuple) -> np.memmap:
    return np.memmap(path, dtype, "r", offset, shape)
