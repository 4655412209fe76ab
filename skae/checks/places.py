"""Where the first entry is that a check refuses, as users index what they passed.

Estimators check flat rows, which may be images or sequences of users: an entry is named
as in ``X[3, 1, 2, 5]``. Checks of rows and the detector around an autoencoder ask here.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from skae.checks.samples import is_list_of_arrays
from skae.rows.chunks import chunks

__all__ = ["entries_named", "first_refused", "place_of"]

_FIRST = "\nThe first one: "


@contextmanager
def entries_named(X, name="X", like=None) -> Iterator[None]:
    """Say where the first entry is that a check in the block refuses.

    Parameters
    ----------
    X : array-like or list of arrays
        What the block checks, or more samples in another order.
    name : str, default="X"
    like : object, optional
        As of `training_rows`; X itself when left out.
    """
    try:
        yield
    except ValueError as error:
        text = str(error).partition(_FIRST)[0]
        if "contains NaN" in text or "contains infinity" in text:
            place = _first_refused(X, name, "contains NaN" not in text, like)
            if place:
                error.args = (f"{text}{_FIRST}{place}",)
        raise


def _first_refused(X, name, allow_nan, like) -> str:
    try:
        if not is_list_of_arrays(X):
            X = X if isinstance(X, np.ndarray) else np.asarray(X)
            parts = chunks(len(X), math.prod(X.shape[1:]))
            blocks = ((rows.start, X[rows]) for rows in parts)
        else:
            blocks = ((row, np.asarray(x)[None]) for row, x in enumerate(X))
        for first, block in blocks:
            block = np.asarray(block.reshape(len(block), -1), dtype=np.float64)
            of = X if like is None else like
            place = first_refused(block, first, name, allow_nan, of)
            if place is not None:
                return place.partition(": ")[2]
    except (TypeError, ValueError):
        pass
    return ""


def first_refused(
    block: np.ndarray, first: int, name: str, allow_nan: bool, like=None
) -> str | None:
    """What the first entry is that is not finite, and where; None without any.

    ``like`` is as of `place_of`.
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
    """An entry of flat rows, as it is indexed in the samples that they are made of.

    Parameters
    ----------
    row, column : int
    name : str
        Of the samples.
    like : object, optional
        The samples: an array of any number of axes, a list of arrays, or rows as they
        are when left out.
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
