"""Sources of rows that come from other rows: arrays read by blocks, codes of rows.

`skae.fitting` reads memory maps like files by `StoredRows` where some of their rows
would be a copy, and codes of frozen layers by `MappedRows` where they would not fit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from skae.rows.sources import RowSource

__all__ = ["HELD_BYTES", "MappedRows", "StoredRows", "is_mapped", "part_of_rows"]

# Bytes of codes, or of some of the rows, that are held in memory beside a source.
HELD_BYTES = 128 * 2**20


class StoredRows(RowSource):
    """Rows of an array or a memory map.

    Parameters
    ----------
    array : ndarray or memmap of shape (n_samples, n_features)
        Validated.
    """

    def __init__(self, array: np.ndarray):
        super().__init__(array.shape, array.dtype)
        self._array = array

    def _read(self, rows: slice) -> np.ndarray:
        return self._array[rows]


class MappedRows(RowSource):
    """A function of the rows of X, computed whenever they are read.

    Parameters
    ----------
    X : ndarray, CSR matrix or RowSource of shape (n_samples, n_columns)
    function : callable
        Maps rows of X to float32 rows of another width.
    width : int
    """

    def __init__(self, X: Any, function: Callable[[Any], np.ndarray], width: int):
        is_source = isinstance(X, RowSource)
        super().__init__(
            (X.shape[0], width), np.float32, X.bounds if is_source else None
        )
        self._X = X
        self._function = function
        self.is_random = X.is_random if is_source else True

    def _read(self, rows: slice) -> np.ndarray:
        X = self._X
        return self._function(X.read(rows) if isinstance(X, RowSource) else X[rows])


def is_mapped(X: Any) -> bool:
    """Whether X is a memory map, or a view of one, as which validation returns it."""
    while isinstance(X, np.ndarray) and not isinstance(X, np.memmap):
        X = X.base
    return isinstance(X, np.memmap)


def part_of_rows(X: Any, numbers: np.ndarray) -> Any:
    """The rows of these sorted numbers.

    Those of a source or a memory map stay where they are if they would take more than
    128 MiB.
    """
    if len(numbers) == X.shape[0]:
        return X
    if len(numbers) * X.shape[1] * X.dtype.itemsize <= HELD_BYTES:
        return X[numbers]
    if is_mapped(X):
        X = StoredRows(X)
    return X.selected(numbers) if isinstance(X, RowSource) else X[numbers]
