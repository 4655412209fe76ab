"""Robust units and the rows that can be trusted when some may be outliers.

The outlier ensemble measures rows in units that a few wild values do not move, and
trains on the rows that lie deepest among the others, as the minimum covariance
determinant does with its support fraction (Rousseeuw 1984). Nothing here knows what is
trained on them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = [
    "RobustUnits",
    "by_depth",
    "deepest",
    "few_rows_of",
    "logarithmic",
    "nearest_other",
    "trusted_rows",
]

# Beyond this many robust standard deviations the scale turns logarithmic.
_KNEE = 3.0
# A feature whose middle half is narrower than this share of the standard deviation of
# all but its tails is mostly constant: its spikes would count without limit.
_NARROWEST = 0.1
# Closer than this, in robust standard deviations, it does not matter how close: copies
# of an outlier would otherwise lie deepest of all.
_TIE = 0.3
_CODEBOOKS, _CODES = 64, 8
# Further out there is no telling rows apart.
_LARGEST = 1e30


@dataclass(frozen=True)
class RobustUnits:
    """u = 3 asinh((X - center) / (3 scale)): linear near the centre, logarithmic far.

    Attributes
    ----------
    center : ndarray of shape (n_features,)
        Medians.
    scale : ndarray of shape (n_features,)
        Interquartile range over 1.349, the standard deviation of a Gaussian, and at
        least a tenth of the standard deviation between the 1st and 99th percentile; the
        standard deviation where the range is zero, and one where both are.
    largest : float or ndarray of shape (n_features,)
        Beyond so many units entries are all the same. Where the interquartile range is
        zero these are sqrt(n), as many standard deviations as the only other value
        among n rows can be away: a new value is no farther out than one of theirs.
    """

    # What is read of a file has no more: rows would broadcast to any size.
    most_axes = 1

    center: np.ndarray
    scale: np.ndarray
    largest: np.ndarray | float = _LARGEST

    @classmethod
    def of(cls, X: np.ndarray) -> "RobustUnits":
        """The units of rows, shape ``(n_samples, n_features)``; NaN is left out."""
        X = _filled(X)
        least, low, center, high, most = np.percentile(X, [1, 25, 50, 75, 99], axis=0)
        width = (high - low) / 1.349
        # One wild value must not decide the spread of a column, unless there is no
        # other.
        spread = _deviation(X.clip(least, most) - center)
        scale = np.maximum(width, _NARROWEST * spread)
        scale = np.where(width > 0, scale, _deviation(X - center))
        # A constant column's deviation is rounding, not zero.
        magnitude = np.maximum(np.abs(center), np.finfo(float).tiny)
        constant = scale <= 8 * np.finfo(float).eps * magnitude
        largest = np.where(width > 0, _LARGEST, len(X) ** 0.5)
        return cls(center, np.where(constant, 1.0, scale), largest)

    @property
    def linear_scale(self) -> np.ndarray:
        """What X - center is divided by before the logarithm, of X's units."""
        return _KNEE * self.scale

    @property
    def linear_limit(self) -> Tensor:
        """The largest quotient that counts, float32."""
        return torch.from_numpy(np.array(self.largest / _KNEE, dtype=np.float32))

    def resolution(self, n_digits: int = 6) -> np.ndarray:
        """Half a unit of the last of so many digits of each centre, in robust units."""
        return 0.5 * 10.0 ** (1 - n_digits) * np.abs(self.center) / self.scale

    def to_model(self, X: np.ndarray) -> Tensor:
        """Rows in robust units, float32 and contiguous; NaN counts as the median."""
        z = np.empty(X.shape, dtype=np.float32)
        with np.errstate(over="ignore"):
            np.divide(X - self.center, self.linear_scale, out=z, casting="unsafe")
        return logarithmic(torch.from_numpy(z), self.linear_limit)

    def to_x(self, u: np.ndarray) -> np.ndarray:
        """Rows of robust units back in X's units, float64."""
        return self.center + self.scale * _KNEE * np.sinh(u / _KNEE)


def logarithmic(z: Tensor, largest: Tensor) -> Tensor:
    """The u of `RobustUnits` from (X - center) / (3 scale); NaN becomes zero.

    Entries beyond ``largest``, of shape ``(n_features,)`` or ``()``, are all the same.
    """
    z = z.masked_fill(z.isnan(), 0.0).clamp(-largest, largest)
    # Adding zero turns -0.0 into 0.0.
    return _asinh(z) * _KNEE + 0.0


def _asinh(z: Tensor) -> Tensor:
    """asinh in operations that torch vectorises: six times as fast as its own."""
    if z.requires_grad or torch.compiler.is_compiling():
        return torch.asinh(z)
    size = z.abs()
    share = size / torch.hypot(size, size.new_ones(())).add_(1)
    return size.addcmul_(size, share).log1p_().copysign_(z)


def _filled(X: np.ndarray) -> np.ndarray:
    """X with quantiles of each column in the place of its NaN, zero if there are none.

    Evenly spread quantiles leave the distribution of the column as it is.
    """
    missing = np.isnan(X)
    columns = np.flatnonzero(missing.any(axis=0))
    X = X.copy() if len(columns) else X
    for column in columns:
        lost = missing[:, column]
        present = X[~lost, column]
        middles = (np.arange(lost.sum()) + 0.5) / lost.sum()
        X[lost, column] = np.quantile(present, middles) if len(present) else 0.0
    return X


def _deviation(X: np.ndarray) -> np.ndarray:
    """Standard deviation of columns; dividing first keeps large squares finite."""
    size = np.abs(X).max(axis=0)
    size[size == 0] = 1
    return size * (X / size).std(axis=0)


def nearest_other(x: Tensor, codebooks: Tensor) -> Tensor:
    """Distance of every row to the nearest other row of each codebook.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
    codebooks : int Tensor of shape (n_codebooks, n_codes)
        Row numbers, at least two different ones each.

    Returns
    -------
    distance : Tensor of shape (n_rows, n_codebooks)
        Root mean squared difference over features.
    """
    codes = codebooks.flatten()
    distance = torch.cdist(x, x[codes], compute_mode="use_mm_for_euclid_dist")
    distance[codes, torch.arange(len(codes), device=x.device)] = torch.inf
    nearest = distance.view(-1, *codebooks.shape).amin(dim=2)
    return nearest / x.shape[1] ** 0.5


def trusted_rows(x: Tensor, fraction: float, generator: Generator) -> np.ndarray:
    """The rows that are closest to the others, as a mask.

    The depth of a row is its mean log distance to the nearest row of 64 codebooks of
    eight random rows each; a row is never its own code. So small a codebook covers
    only where many rows lie, which keeps a cluster of outliers from vouching for
    itself.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
        At least two rows.
    fraction : float
        Share of the rows to trust, at least two of them.
    generator : Generator
        On the CPU.

    Returns
    -------
    trusted : bool ndarray of shape (n_rows,)
    """
    codebooks = few_rows_of(len(x), generator)
    order = by_depth(x, codebooks.to(x.device)).cpu().numpy()
    return deepest(order, fraction)


def deepest(order: np.ndarray, fraction: float) -> np.ndarray:
    """The first of these row numbers as a mask: a share of them, at least two."""
    trusted = np.zeros(len(order), dtype=bool)
    trusted[order[: max(2, round(fraction * len(order)))]] = True
    return trusted


def few_rows_of(n_rows: int, generator: Generator) -> Tensor:
    """The codebooks of `trusted_rows`, row numbers of shape ``(64, 8)``."""
    n_codes = min(_CODES, n_rows)
    n_at_once = min(_CODEBOOKS, n_rows // n_codes)
    shuffled = [
        torch.randperm(n_rows, generator=generator, device="cpu")[: n_at_once * n_codes]
        for _ in range(-(-_CODEBOOKS // n_at_once))
    ]
    return torch.cat(shuffled).view(-1, n_codes)[:_CODEBOOKS]


def by_depth(x: Tensor, codebooks: Tensor) -> Tensor:
    """Numbers of rows x, those first that are closest to the others."""
    depth = torch.log(nearest_other(x, codebooks) + _TIE).mean(dim=1)
    return torch.argsort(depth, stable=True)
