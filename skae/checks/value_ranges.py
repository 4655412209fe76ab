"""Ranges that values of samples keep to: shares in [0, 1], and 8-bit pixels.

Estimators of images and GANs ask what range the training rows say; reconstructions and
samples then keep to it.
"""

import numpy as np
from scipy import sparse

from skae.checks.rows import feature_ranges
from skae.rows.chunks import chunks
from skae.rows.sources import RowSource
from skae.rows.summary import NEAR

__all__ = ["BYTES", "SHARES", "are_bytes", "check_within", "extremes", "fills"]

BYTES = 0, 255
SHARES = 0, 1


def fills(X, value_range: tuple[float, float]) -> bool:
    """Whether the values lie in the range and come near both ends."""
    low, high = extremes(X)
    smallest, largest = value_range
    near = NEAR * (largest - smallest)
    return smallest <= low <= smallest + near and largest - near <= high <= largest


def check_within(X, value_range: tuple[float, float]) -> None:
    """Raise where rows leave the range of the fit that is to be continued."""
    low, high = extremes(X)
    smallest, largest = value_range
    if low < smallest or high > largest:
        raise ValueError(
            f"X must lie in [{smallest}, {largest}], as it did in the fit that is to "
            "be continued: samples are confined to it. X ranges from "
            f"{low:g} to {high:g}. Use a new estimator, or fit with warm_start=False."
        )


def are_bytes(X) -> bool:
    """Whether the values are whole numbers that fill [0, 255], in any dtype.

    Of a source, those of the rows in its `sample` are.
    """
    if not fills(X, BYTES):
        return False
    rows = X.sample[1] if isinstance(X, RowSource) else X
    stored = rows.data[:, None] if sparse.issparse(rows) else rows
    return all(
        np.array_equal(np.rint(stored[part]), stored[part])
        for part in chunks(*stored.shape)
    )


def extremes(X) -> tuple[float, float]:
    """Smallest and largest value of all rows."""
    low, high = feature_ranges(X)
    return float(np.fmin.reduce(low)), float(np.fmax.reduce(high))
