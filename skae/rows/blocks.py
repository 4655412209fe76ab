"""Blocks of rows: where they begin, what they hold, and what is refused.

For `skae.rows.sources` and the readers of formats, which know how blocks are stored.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = [
    "ChangedSourceError",
    "block_bounds",
    "check_frame",
    "check_numeric",
    "check_open",
    "check_unique",
    "dense",
    "entry_dtype",
    "frame_dtype",
    "listed",
    "source_dtype",
    "text_names",
    "two_axes",
    "unmasked",
]

# Bytes of a block, and of the largest one that is read out of its turn.
_BLOCK_BYTES, _MOST_BYTES = 2**20, 16 * 2**20


class ChangedSourceError(ValueError):
    """Rows that are not what they were when the source was first read."""


def source_dtype(dtype: Any, name: str = "X") -> np.dtype:
    """What entries of this dtype are read as: float32 or float64.

    Raises
    ------
    ValueError
        For entries that are no real numbers.
    """
    try:
        dtype = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(
            f"{name} must have real numbers as entries; got dtype {dtype}."
        ) from error
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ValueError(
            f"{name} must have real numbers of up to 64 bits as entries; got dtype "
            f"{dtype}. Convert it to float32 or float64."
        )
    # Those that float32 holds exactly.
    return np.dtype(np.float32 if np.can_cast(dtype, np.float32) else np.float64)


def block_bounds(
    n_rows: int, row_bytes: int, stored: int | np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """Where blocks begin, and the end; and whether they can be read in any order.

    Parameters
    ----------
    n_rows, row_bytes : int
    stored : int or ndarray of int, optional
        Rows that the storage keeps together, or where each of such begins, and the end.
    """
    target = max(1, _BLOCK_BYTES // row_bytes)
    most = max(1, _MOST_BYTES // row_bytes)
    if stored is None or isinstance(stored, int):
        step = min(stored or 1, n_rows) or 1
        is_random = step <= most
        step = max(step, target // step * step) if is_random else most
        return np.append(np.arange(0, n_rows, step), n_rows), is_random
    bounds, is_random = [0], True
    edges = np.unique(stored)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        if stop - start > most:
            is_random = False
            bounds.extend(range(int(start) + most, int(stop), most))
        elif len(bounds) > 1 and stop - bounds[-2] <= target:
            bounds.pop()
        bounds.append(int(stop))
    return np.array(bounds), is_random


def two_axes(shape: Any, name: str) -> tuple[int, int]:
    """The shape, where it has two axes."""
    # Arrays without a dataspace have none.
    shape = () if shape is None else shape
    more = "; lay images and sequences out flat, and set sample_shape of estimators"
    more = f"{more} that have it" if len(shape) > 2 else ""
    if len(shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(shape)}D array instead: {name} has the shape "
            f"{tuple(shape)}. Rows are samples, and columns are features{more}."
        )
    return shape[0], shape[1]


def check_numeric(are_numeric: Iterable[tuple[str, Any, bool]], name: str) -> None:
    """Raise for columns that are not numeric.

    Parameters
    ----------
    are_numeric : iterable of (str, dtype, bool)
        Name and dtype of each column, and whether it is numeric.
    name : str
        Of the rows.
    """
    others = [f"{c!r} ({d})" for c, d, is_numeric in are_numeric if not is_numeric]
    if others:
        raise ValueError(
            f"The columns of {name} must be numeric; these are not: {listed(others)}. "
            "Leave them out or encode them."
        )


def check_unique(columns: Iterable, name: str) -> None:
    """Raise where columns share a name, as scikit-learn does for frames in memory."""
    counts = Counter(columns)
    several = [f"{c!r} {n} times" for c, n in counts.items() if n > 1]
    if several:
        raise ValueError(
            f"The columns of {name} must have unique names; got {listed(several)}. "
            "Rename or drop them."
        )


def listed(texts: list[str]) -> str:
    """The first five of some texts, and how many more there are."""
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return f"{', '.join(texts[:5])}{more}"


def check_open(X: Any, name: str) -> None:
    """Raise for a dataset of a file of h5py that has been closed."""
    dataset = getattr(sys.modules.get("h5py"), "Dataset", None)
    if dataset is not None and isinstance(X, dataset) and not X:
        raise ValueError(f"{name} is a dataset of a file that has been closed.")


def text_names(columns) -> list[str] | None:
    """Names of columns that are all text, as scikit-learn takes them."""
    names = [] if columns is None else list(columns)
    return names if names and all(isinstance(c, str) for c in names) else None


def entry_dtype(dtype: Any) -> Any:
    """What a frame's column of this dtype holds: of nullable and sparse ones inside."""
    inside = getattr(dtype, "numpy_dtype", None)
    return getattr(dtype, "subtype", dtype) if inside is None else inside


def frame_dtype(dtypes: Iterable) -> np.dtype:
    """The dtype as which a frame with columns of these numeric dtypes is read.

    With nullable columns float64, which holds their missing entries.
    """
    dtypes = list(dtypes)
    if any(hasattr(dtype, "numpy_dtype") for dtype in dtypes):
        return np.dtype(np.float64)
    return np.result_type(*map(entry_dtype, dtypes))


def dense(block: Any) -> np.ndarray:
    """A block of rows, which may be a frame or sparse, as an array.

    Missing entries of a frame's nullable columns and masked ones are NaN.
    """
    block = block.toarray() if hasattr(block, "toarray") else block
    if hasattr(block, "to_numpy") and hasattr(block, "dtypes"):
        # Mixed and nullable columns would come as objects.
        dtype = frame_dtype(block.dtypes)
        missing = {"na_value": np.nan} if dtype.kind == "f" else {}
        return block.to_numpy(dtype=dtype, **missing)
    return np.asarray(unmasked(block))


def unmasked(X: Any) -> Any:
    """X, of a masked array of numbers with NaN where entries are masked."""
    if not isinstance(X, np.ma.MaskedArray) or X.dtype.kind not in "buif":
        return X
    if not np.ma.is_masked(X):
        return X.data
    dtype = X.dtype if X.dtype.kind == "f" else np.float64
    return np.ma.filled(X.astype(dtype), np.nan)


def check_frame(frame: Any, name: str) -> None:
    """Raise for columns of a frame that share a name or are not numeric."""
    check_unique(frame.columns, name)
    dtypes = list(frame.dtypes)
    kinds = [getattr(entry_dtype(dtype), "kind", "O") for dtype in dtypes]
    check_numeric(
        (
            (column, dtype, kind in "buif")
            for column, dtype, kind in zip(frame.columns, dtypes, kinds, strict=True)
        ),
        name,
    )
