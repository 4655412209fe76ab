"""What a missing value says about a row: nothing, or that it is unusual.

`AEOutlierDetector` lowers scores by a `MissingPenalty` where ``missing="unusual"``;
nothing here knows what judges rows.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from torch import Tensor

from skae.checks.samples import entries_of
from skae.outliers.calibration import quantile
from skae.rows.chunks import chunks
from skae.rows.sources import RowSource
from skae.rows.tensors import as_double
from skae.statistics.ranks import n_below

__all__ = ["MissingPenalty", "nats"]

# Where the tail of calibration scores is measured, below their median.
_TAIL = 0.05
# Of rarities, at most, that are kept.
_LEVELS = 20_000


@dataclass(frozen=True)
class MissingPenalty:
    """What missing values take off a row's score, by how rare they are in training.

    The rarity of a row's missing values is the sum of one over the number of rows that
    lack the same value, itself included; its surprise, in nats, is minus the logarithm
    of the share of rows, itself included, whose missing values are as rare, and the
    logarithm of how many times rarer they are than any before. A row loses for each nat
    the fall of the score over which rows become e times rarer in the tail, and for each
    missing value the part that it has in a typical row's score. So what is missing
    routinely says little, and what never was a lot.

    Attributes
    ----------
    n_missing : ndarray of shape (n_features,)
        Training rows, by weight, that lack the feature.
    levels : ndarray of shape (n_levels,)
        Sorted rarities of training rows.
    above : ndarray of shape (n_levels + 1,)
        Training rows, by weight, from each level on.
    unit : float
        Score per nat.
    typical : float
        Score per feature of a typical row, as a loss.
    """

    # What is read of a file has no more: rows would broadcast to any size.
    __most_axes__ = 1

    n_missing: np.ndarray
    levels: np.ndarray
    above: np.ndarray
    unit: float = 1.0
    typical: float = 0.0

    @classmethod
    def of(cls, X, weight=None) -> "MissingPenalty":
        """The rarity of missing values among training rows.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features), or samples
        weight : ndarray of shape (n_samples,), optional
            Positive, of mean one.
        """
        weight = np.ones(X.shape[0]) if weight is None else weight
        n_missing = sum(mask.T @ weight[rows] for rows, mask in _masks(X))
        rarity = _products(X, 1 / n_missing.clip(min=1))
        levels, place = np.unique(rarity, return_inverse=True)
        below = np.r_[0.0, np.cumsum(np.bincount(place, weight, len(levels)))]
        every = -(-len(levels) // _LEVELS)
        kept = np.arange(0, len(levels), every)
        return cls(n_missing, levels[kept], below[-1] - np.r_[below[kept], below[-1]])

    def in_units_of(self, scores, weight=None) -> "MissingPenalty":
        """The penalty in the unit of calibration scores, before it is taken off."""
        median, tail = (quantile(scores, q, weight) for q in (0.5, _TAIL))
        unit = (median - tail) / np.log(0.5 / _TAIL)
        # Of few different scores many are equal.
        unit = unit or float(np.std(scores)) or abs(median) or 1.0
        typical = max(-median, 0.0) / len(self.n_missing)
        return replace(self, unit=unit, typical=typical)

    def totals(self, X, *, training=False) -> np.ndarray:
        """What is taken off the score of each row."""
        own = 0 if training else 1
        rarity = _products(X, 1 / (self.n_missing + own).clip(min=1))
        tables = map(as_double, (rarity, self.levels, self.above))
        n_missing = _products(X, np.ones(len(self.n_missing)))
        return self.unit * nats(*tables, own).numpy() + self.typical * n_missing

    def parts(self, X) -> np.ndarray:
        """What every entry takes off, in the form of X."""
        entries = entries_of(X)
        missing = np.isnan(entries.rows)
        rarity = missing / (self.n_missing + 1)
        surprise = self.totals(X) - self.typical * missing.sum(1)
        share = rarity / rarity.sum(1, keepdims=True).clip(min=np.finfo(float).tiny)
        return entries.restored(surprise[:, None] * share + self.typical * missing)


def nats(rarity: Tensor, levels: Tensor, above: Tensor, own: int) -> Tensor:
    """The surprise of rarities, as `MissingPenalty` says, all float64.

    Parameters
    ----------
    rarity : Tensor of shape (n_rows,)
    levels : Tensor of shape (n_levels,)
    above : Tensor of shape (n_levels + 1,)
    own : int
        One for new rows, which count themselves; zero for training rows.
    """
    # Rounding must not tell equal rarities apart.
    place = n_below(levels, rarity * (1 - 1e-9))
    share = (above[place] + own) / (above[0] + own)
    rarest = levels[-1].clamp_min(1.0)
    return (rarity / rarest).clamp_min(1.0).log() - share.log()


def _products(X, of_feature) -> np.ndarray:
    """Sums over the missing values of each row."""
    sums = np.empty(X.shape[0])
    for rows, mask in _masks(X):
        sums[rows] = mask @ of_feature
    return sums


def _masks(X):
    """Slices of rows, and where their values are missing."""
    if sparse.issparse(X):
        missing = np.isnan(X.data).astype(float)
        yield (
            slice(None),
            sparse.csr_array((missing, X.indices, X.indptr), shape=X.shape),
        )
        return
    if isinstance(X, RowSource):
        for rows, block in X.blocks():
            yield rows, np.isnan(block).astype(float)
        return
    flat = X.reshape(len(X), -1)
    for rows in chunks(*flat.shape):
        yield rows, np.isnan(flat[rows]).astype(float)
