"""The place of the first invalid entry, as users index the samples that they pass.

Estimators check flat rows, which users may have passed as images or sequences: errors
name an entry as in ``X[3, 1, 2, 5]``. Checks of rows and detectors around an
autoencoder call this; estimators themselves are unknown here.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from skae.checks.samples import is_list_of_arrays
from skae.rows.chunks import chunks
from skae.rows.sources import RowSource

__all__ = ["entries_named", "first_refused", "place_of"]

_FIRST = "\nThe first one: "


@contextmanager
def entries_named(X, name="X", like=None) -> Iterator[None]:
    """Add the place of the first invalid entry to errors on NaN or infinity.

    Parameters
    ----------
    X : array-like or list of arrays
        What the block checks, or all samples where it checks a part of them.
    name : str, default="X"
        Of the samples.
    like : object, optional
        As of `place_of`; X itself when left out.
    """
    try:
        yield
    except ValueError as error:
        # A check of a part of the samples may have added a place in that part.
        text = str(error).partition(_FIRST)[0]
        if "contains NaN" in text or "contains infinity" in text:
            allow_nan = "contains NaN" not in text
            place = _place_in(X, name, allow_nan, X if like is None else like)
            if place:
                error.args = (f"{text}{_FIRST}{place}",)
        raise


def _place_in(X, name, allow_nan, like) -> str:
    """Place and value of the first invalid entry; empty where X cannot be searched."""
    try:
        if not is_list_of_arrays(X):
            X = X if isinstance(X, np.ndarray | RowSource) else np.asarray(X)
            parts = chunks(len(X), math.prod(X.shape[1:]))
            blocks = ((rows.start, X[rows]) for rows in parts)
        else:
            blocks = ((row, np.asarray(x)[None]) for row, x in enumerate(X))
        for first, block in blocks:
            block = np.asarray(block.reshape(len(block), -1), dtype=np.float64)
            place = first_refused(block, first, name, allow_nan, like)
            if place is not None:
                return place.partition(": ")[2]
    except (TypeError, ValueError):
        pass
    return ""


def first_refused(
    block: np.ndarray, first: int, name: str, allow_nan: bool, like=None
) -> str | None:
    """Kind and place of the first entry that is not finite; None without any.

    ``first`` is the number of the block's first row; ``like`` is as of `place_of`.
    """
    is_refused = np.isinf(block) if allow_nan else ~np.isfinite(block)
    if not is_refused.any():
        return None
    row, column = divmod(int(is_refused.argmax()), block.shape[1])
    is_nan = np.isnan(block[row, column])
    kind = "NaN" if is_nan else f"infinity or a value too large for {block.dtype!r}"
    place = place_of(first + row, column, name, like)
    return f"{kind}: {place} is {block[row, column]}."


def place_of(row: int, column: int, name: str, like=None) -> str:
    """The index of an entry of flat rows in the samples that were flattened.

    Parameters
    ----------
    row, column : int
        Of the entry in the flat rows.
    name : str
        Of the samples.
    like : object, optional
        The samples: an array of any number of axes or a list of arrays. When left out,
        the flat rows themselves.
    """
    try:
        if is_list_of_arrays(like):
            sample = np.asarray(like[row])
            index = np.unravel_index(column, sample.shape)
            return f"{name}[{row}][{', '.join(map(str, index))}]"
        shape = np.shape(like)[1:]
        index = np.unravel_index(column, shape) if len(shape) > 1 else (column,)
    except (TypeError, ValueError):
        # Lists of different lengths, or no samples at all.
        index = (column,)
    return f"{name}[{', '.join(map(str, (row, *index)))}]"
