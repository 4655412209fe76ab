"""Dask collections of rows: what is one, and what can be said of it without its data.

The lazy methods of fitted estimators and the fits on Dask collections ask here. Nothing
is computed, and dask is imported only where a collection shows that it is there.
"""

import math
import sys

import numpy as np

from skae.rows.blocks import check_frame, entry_dtype
from skae.rows.dask_rows import check_table

__all__ = [
    "check_shaped",
    "example_rows",
    "is_collection",
    "is_frame",
    "row_collection",
    "same_rows",
]

_NUMBERS = "biuf"


def is_collection(X) -> bool:
    """Whether X is a collection of Dask's own: array, DataFrame, Series, bag, delayed.

    Other objects that hold one, of xarray for example, are arrays to us.
    """
    kind = type(X)
    return (
        "dask" in sys.modules
        and hasattr(kind, "__dask_graph__")
        and kind.__module__.partition(".")[0] == "dask"
    )


def is_frame(X) -> bool:
    """Whether a collection is a Dask DataFrame."""
    frames = sys.modules.get("dask.dataframe")
    return frames is not None and isinstance(X, frames.DataFrame)


def check_shaped(X, name="X") -> None:
    """Raise for collections without a shape: bags and delayed values.

    Raises
    ------
    TypeError
    """
    # Delayed values have any attribute, which is delayed too.
    if is_collection(X) and not hasattr(type(X), "shape"):
        check_table(X, name)


def row_collection(X, name="X"):
    """A Dask array, each of whose blocks has whole rows, or a Dask DataFrame.

    Parameters
    ----------
    X : Dask collection
    name : str, default="X"
        What X is called in messages.

    Raises
    ------
    TypeError
        For collections that are no table, and arrays of other things than numbers.
    ValueError
        For one axis, an unknown width or none, no rows, and columns of a DataFrame that
        share a name or are not numeric.
    """
    check_table(X, name)
    if is_frame(X):
        check_frame(X, name)
        _check_size((math.nan, len(X.columns)), name)
        return X
    if X.ndim < 2:
        raise ValueError(
            f"{name} must have rows and columns; got a Dask array with "
            f"{X.ndim} axis of length {X.shape}. Use {name}[:, None] for one feature, "
            f"{name}[None] for one row."
        )
    if X.dtype.kind not in _NUMBERS:
        raise TypeError(
            f"{name} must hold real numbers; its dtype is {X.dtype}. Convert it with "
            f"{name}.astype(float), or encode what are no numbers."
        )
    if any(math.isnan(length) for length in X.shape[1:]):
        raise ValueError(
            f"{name} has the shape {X.shape}: the number of columns is unknown. Only "
            f"rows may be; call {name}.compute_chunk_sizes() first."
        )
    _check_size(X.shape, name)
    if any(number > 1 for number in X.numblocks[1:]):
        return X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    return X


def _check_size(shape, name):
    if 0 in shape:
        raise ValueError(
            f"{name} is empty: it has {shape[0]} rows and {shape[1:]} columns; at "
            "least one of each is needed."
        )


def same_rows(y, X):
    """The values of y for the rows of a collection X, in blocks like those of X.

    Parameters
    ----------
    y : array-like, Dask array or Series of shape (n_samples,) or (n_samples, n_outputs)
    X : Dask array or DataFrame
        As from `row_collection`.

    Raises
    ------
    TypeError
        Where y is no collection that fits that of X.
    ValueError
        Where it has other rows or blocks.
    """
    import dask.array as da

    if is_frame(X):
        if not hasattr(y, "divisions"):
            raise TypeError(
                "y must be a Dask Series or DataFrame, as X is a Dask DataFrame; "
                f"got {type(y).__name__}. Take it from the frame that X comes from."
            )
        if y.npartitions != X.npartitions:
            raise ValueError(
                f"y has {y.npartitions} partitions and X has {X.npartitions}; "
                "both must come from the same DataFrame."
            )
        return y
    if hasattr(y, "divisions"):
        y = y.to_dask_array()
    rows = X.chunks[0]
    unknown = any(map(math.isnan, rows))
    if not isinstance(y, da.Array):
        if unknown:
            raise TypeError(
                f"The numbers of rows in the blocks of X are unknown, so that y "
                "must be a Dask array with the same blocks; got "
                f"{type(y).__name__}. Or call X.compute_chunk_sizes() first."
            )
        y = np.asarray(y)
        _check_length(len(y), X)
        y = da.from_array(y, chunks=(rows, *y.shape[1:]))
    if unknown or math.isnan(y.shape[0]):
        if y.numblocks[0] != len(rows):
            raise ValueError(
                f"y has {y.numblocks[0]} blocks and X has {len(rows)}, of "
                "unknown length; call compute_chunk_sizes() on both."
            )
        return y
    _check_length(y.shape[0], X)
    return y.rechunk({0: rows, **dict.fromkeys(range(1, y.ndim), -1)})


def _check_length(n_rows, X):
    if n_rows != X.shape[0]:
        raise ValueError(f"y has {n_rows} rows and X has {X.shape[0]}.")


def example_rows(X, values=None):
    """One row in memory of the type, the dtypes and the columns of a collection.

    Parameters
    ----------
    X : Dask array or DataFrame
        As from `row_collection`.
    values : ndarray of shape (n_features,), optional
        Values of the row where X is as wide; else zeros.
    """
    width = len(X.columns) if is_frame(X) else math.prod(X.shape[1:])
    fits = values is not None and np.shape(values) == (width,)
    row = np.nan_to_num(np.asarray(values)) if fits else np.zeros(width)
    if is_frame(X):
        import pandas as pd
        from dask.dataframe.utils import make_meta, meta_nonempty

        like = make_meta(X)
        index = meta_nonempty(like).index[:1]
        columns = [
            pd.Series(_possible(row[[number]], entry_dtype(dtype)), index, dtype)
            for number, dtype in enumerate(like.dtypes)
        ]
        return pd.concat(columns, axis=1).set_axis(like.columns, axis=1)
    from dask.array.utils import meta_from_array

    block = meta_from_array(X)
    dense = _possible(row.reshape(1, *X.shape[1:]), X.dtype)
    return dense if isinstance(block, np.ndarray) else type(block)(dense)


def _possible(row, dtype):
    """The values of a row, as near as this dtype comes to them."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        least, largest = max(limits.min, -(2**31)), min(limits.max, 2**31)
        row = np.clip(np.rint(row), least, largest)
    return row.astype(dtype)
