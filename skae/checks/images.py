"""Whether images are in the units of the ones that a model was trained on.

What is found by gradient descent is nearest in any units, so that nothing else would
show that they are wrong. Rows are flat images, validated already.
"""

import numpy as np

from skae.checks.value_ranges import extremes
from skae.rows.user_line import warn_user

__all__ = ["check_range", "warn_of_units"]

# Of a range, by which resized images may leave it.
_OVERSHOOT = 0.25
# Part of the largest byte below which there are no pictures to see.
_DARK = 1 / 50
# How many times typical values others may be, in either direction.
_FAR = 20


def check_range(rows, value_range: tuple[float, float], *, is_bytes=False) -> None:
    """Raise for images that cannot be in the units of this range.

    Floats of up to five are in no range of bytes, unless all are zero.
    """
    low, high = extremes(rows)
    smallest, largest = value_range
    margin = _OVERSHOOT * (largest - smallest)
    is_outside = low < smallest - margin or high > largest + margin
    size = max(abs(low), abs(high))
    if is_outside or (not is_bytes and 1 < largest and 0 < size < _DARK * largest):
        raise ValueError(
            f"X ranges from {low:.4g} to {high:.4g}, but the training images of this "
            f"model from {smallest:g} to {largest:g}. Bring X to their units."
        )


def warn_of_units(rows, mean: np.ndarray, scale) -> None:
    """Warn of images far larger or smaller than those of this mean and deviation.

    Parameters
    ----------
    rows : ndarray or CSR matrix of shape (n_samples, n_features)
    mean : ndarray of shape (n_features,)
        Of the training images.
    scale : float or ndarray of shape (n_features,)
        Their deviation from it.
    """
    low, high = extremes(rows)
    center = float(np.mean(mean))
    deviation = float(np.sqrt(np.mean(np.square(scale)) + np.var(mean)))
    size, typical = max(abs(low), abs(high)), abs(center) + deviation
    distance = max(high - center, center - low)
    if distance > _FAR * deviation or 0 < size < typical / _FAR:
        warn_user(
            f"X ranges from {low:.4g} to {high:.4g}, but the pixels of the training "
            f"images have the mean {center:.4g} and the deviation {deviation:.4g}. "
            "Bring X to their units."
        )
