"""Checks of rows that stay where they are: `skae.rows.sources.RowSource`.

`skae.checks.rows` calls this first. Width and names are compared at once; entries are
checked in whatever block is read, so that no pass is spent on them and an error names
the row. Sources that fit are loaded and come back as arrays.
"""

import os
from collections.abc import Iterator
from functools import partial

import numpy as np
from sklearn.utils.validation import _check_n_features

from skae.checks.places import first_refused, place_of
from skae.rows.blocks import check_open
from skae.rows.readers import row_source
from skae.rows.user_line import warn_user

__all__ = ["check_entries", "check_values", "rows_of_source"]


def rows_of_source(X, *, estimator=None, reset=True, min_rows=1, name="X", **entries):
    """A source with its checks, an array of its rows where they fit, or None.

    Parameters
    ----------
    X : object
        What a public method was called with.
    estimator : estimator, optional
        Takes over n_features_in_ and feature_names_in_ if ``reset``, else the source is
        compared with them.
    min_rows : int, default=1
    name : str, default="X"
    **entries
        As of `check_entries`.

    Returns
    -------
    rows : RowSource or ndarray or None
        None for an X that is no source.
    """
    source = row_source(X, name)
    if source is None:
        return None
    n_rows, n_features = source.shape
    for number, what, least in (
        (n_rows, "sample(s)", min_rows),
        (n_features, "feature(s)", 1),
    ):
        if number < least:
            raise ValueError(
                f"Found array with {number} {what} (shape={source.shape}) while a "
                f"minimum of {least} is required."
            )
    if estimator is not None:
        _check_n_features(estimator, np.empty((1, n_features)), reset=reset)
        _check_names(estimator, source.feature_names, reset)
    source.add_check(partial(check_entries, name=source.name, **entries))
    return source[:] if source.is_small else source


def check_values(values, name: str) -> None:
    """Raise where values of the rows, such as labels and weights, are no array.

    Parameters
    ----------
    values : object
    name : str
        Of the parameter.

    Raises
    ------
    ValueError
    """
    check_open(values, name)
    if callable(values) or isinstance(values, os.PathLike | Iterator):
        raise ValueError(
            f"{name} must be an array with an entry for each row, in memory or in an "
            f"open file; got {type(values).__name__}."
        )


def check_entries(
    block: np.ndarray,
    first: int = 0,
    *,
    name: str = "X",
    allow_nan: bool = False,
    largest: dict | None = None,
    like=None,
) -> None:
    """Raise for entries that are not finite, or too large, with their row and column.

    Parameters
    ----------
    block : ndarray of shape (n_rows, n_features)
    first : int, default=0
        Number of its first row.
    name : str, default="X"
    allow_nan : bool, default=False
    largest : dict of dtype to float, optional
        The largest magnitudes.
    like : object, optional
        As of `place_of`.
    """
    if not block.size:
        return
    top = max(block.max(), -block.min())
    bound = np.finfo(block.dtype).max if largest is None else largest[block.dtype]
    if top <= bound:
        return
    if allow_nan and np.isnan(top):
        top = max(np.fmax.reduce(block, axis=None), -np.fmin.reduce(block, axis=None))
        if np.isnan(top) or top <= bound:
            return
    place = first_refused(block, first, name, allow_nan, like)
    if place is not None:
        raise ValueError(f"Input {name} contains {place}")
    row, column = np.argwhere(np.abs(block) > bound)[0]
    raise ValueError(
        f"The entries of {name}, of dtype {block.dtype}, must not exceed {bound:g} in "
        f"magnitude; {place_of(first + row, column, name, like)} is "
        f"{block[row, column]:g}. Scale {name}, with StandardScaler for example."
    )


def _check_names(estimator, names, reset) -> None:
    """As scikit-learn's, for names that are no frame's."""
    fitted = getattr(estimator, "feature_names_in_", None)
    kind = type(estimator).__name__
    if reset:
        if names is not None:
            estimator.feature_names_in_ = names
        elif fitted is not None:
            del estimator.feature_names_in_
    elif names is None and fitted is not None:
        warn_user(
            f"X does not have valid feature names, but {kind} was fitted with feature "
            "names"
        )
    elif names is not None and fitted is None:
        warn_user(f"X has feature names, but {kind} was fitted without feature names")
    elif names is not None and list(names) != list(fitted):
        new = [str(n) for n in names if n not in set(fitted)]
        lost = [str(n) for n in fitted if n not in set(names)]
        raise ValueError(
            "The feature names should match those that were passed during fit"
            + (f"; unseen at fit time: {', '.join(new[:5])}" if new else "")
            + (
                f"; seen at fit time, yet now missing: {', '.join(lost[:5])}"
                * bool(lost)
            )
            + ("" if new or lost else ", in the same order")
            + "."
        )
