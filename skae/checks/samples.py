"""Samples in a shape of their own: images, sequences, lists of sequences.

The outlier detector hands them to its judge as they are and needs only to recognise
them, and to do arithmetic with one number for each entry.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing

from skae.checks.collections import check_shaped
from skae.rows.blocks import check_open, unmasked
from skae.rows.readers import flat_rows
from skae.rows.sources import RowSource

__all__ = [
    "Entries",
    "entries_of",
    "in_memory",
    "in_own_shape",
    "is_list_of_arrays",
    "loaded",
    "samples_at",
    "some_samples",
]

# Bytes of rows that methods read into memory as a whole.
_MOST_BYTES = 2**29


def in_own_shape(X) -> bool:
    """Whether samples have more than one axis, or different lengths."""
    check_open(X, "X")
    check_shaped(X)
    if hasattr(X, "shape"):
        return len(X.shape) > 2
    if not isinstance(X, list | tuple):
        return False
    try:
        return np.ndim(X) > 2
    except ValueError:
        return True


def loaded(X):
    """Samples in their own shape, read into memory where they are in a file.

    Raises
    ------
    ValueError
        When they are too large for that.
    """
    source = flat_rows(X) if hasattr(X, "shape") else None
    if source is None:
        return unmasked(X)
    if not source.is_small:
        n_bytes = source.size * source.dtype.itemsize
        shape = tuple(X.shape[1:])
        raise ValueError(
            f"X, a {type(X).__name__} of samples of shape {shape}, takes "
            f"{n_bytes / 2**20:.0f} MiB in memory, too much to be read as a whole. "
            "Store samples as flat rows, of shape (n_samples, n_features), which are "
            f"read by blocks, and set sample_shape={shape} of the estimator."
        )
    return np.asarray(unmasked(X[:]))


def is_list_of_arrays(X) -> bool:
    """Whether X is a list of arrays, which for some estimators are sequences."""
    return isinstance(X, list | tuple) and any(
        hasattr(x, "shape") and np.ndim(x) > 0 for x in X
    )


@dataclass(frozen=True)
class Entries:
    """One number for each entry of samples, as flat rows, and the way back.

    Attributes
    ----------
    rows : float64 ndarray of shape (n_samples, n_entries)
        NaN fills up samples that are shorter than others.
    shapes : tuple of int or list of tuple of int
        Shape of every sample, or of each in a list.
    """

    rows: np.ndarray
    shapes: tuple | list[tuple]

    def restored(self, rows):
        """Rows of as many entries in the form of the samples."""
        if isinstance(self.shapes, tuple):
            return rows.reshape(len(rows), *self.shapes)
        return [
            row[: np.prod(shape, dtype=int)].reshape(shape)
            for row, shape in zip(rows, self.shapes, strict=True)
        ]

    def index(self, entry: int):
        """The place of an entry in a sample: an int, or a tuple of them."""
        shape = self.shapes if isinstance(self.shapes, tuple) else self.shapes[0]
        # Samples differ in the length of their first axis only.
        first, rest = divmod(int(entry), math.prod(shape[1:]))
        place = first, *(int(n) for n in np.unravel_index(rest, shape[1:]))
        return place[0] if len(place) == 1 else place


def entries_of(X, like=None) -> Entries:
    """The entries of samples.

    Parameters
    ----------
    X : ndarray, CSR matrix or list of arrays
    like : ndarray or list of arrays, optional
        What an estimator made of X, whose form counts: some take a list of equally long
        arrays for rows.
    """
    form = X if like is None else like
    if isinstance(form, list | tuple):
        samples = [np.asarray(x, dtype=np.float64) for x in X]
        longest = max(x.size for x in samples)
        rows = np.full((len(samples), longest), np.nan)
        for row, x in zip(rows, samples, strict=True):
            row[: x.size] = x.ravel()
        return Entries(rows, [x.shape for x in samples])
    dense = X.toarray() if sparse.issparse(X) else X
    dense = np.asarray(dense, dtype=np.float64)
    return Entries(dense.reshape(len(dense), -1), np.shape(form)[1:])


def samples_at(X, numbers):
    """The samples of these numbers, in memory."""
    if isinstance(X, RowSource):
        return X[np.asarray(numbers)]
    return _safe_indexing(X, numbers)


def some_samples(X, numbers):
    """The samples of these sorted numbers; those of a source stay where they are."""
    if isinstance(X, RowSource):
        return X.selected(np.asarray(numbers))
    return _safe_indexing(X, numbers)


def in_memory(X, method: str):
    """Samples for a method that has to hold all of them.

    Raises
    ------
    ValueError
        When those of a source take more than 512 MiB.
    """
    if not isinstance(X, RowSource):
        return X
    n_bytes = X.size * X.dtype.itemsize
    if n_bytes > _MOST_BYTES:
        raise ValueError(
            f"{method} holds all rows in memory, up to {_MOST_BYTES / 2**30:g} GiB of "
            f"them; X, of shape {X.shape} and dtype {X.dtype}, takes "
            f"{n_bytes / 2**30:.3g} GiB. Pass part of the rows as an array."
        )
    return X[:]
