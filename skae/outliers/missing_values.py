"""What a missing value says about a row: nothing, or that it is unusual.

`AEOutlierDetector` lowers scores by a `MissingPenalty` where ``missing="unusual"``;
nothing here knows what judges rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skae.checks.samples import entries_of
from skae.outliers.calibration import quantile
from skae.rows.chunks import chunks

__all__ = ["MissingPenalty"]

# Where the tail of calibration scores is measured, below their median.
_TAIL = 0.05


@dataclass(frozen=True)
class MissingPenalty:
    """A penalty for every missing value: the surprise that it is missing.

    The surprise is minus the logarithm of the share of training rows where the feature
    is missing, the row itself included, so that the share is never zero. Its unit is
    the fall of the score over which rows become e times rarer in the tail: a missing
    value takes as much off the score as it makes the row rarer.

    Attributes
    ----------
    of_new : ndarray of shape (n_features,)
        Surprise of a value that is missing in a new row, in nats.
    of_training : ndarray of shape (n_features,)
        Likewise in a training row.
    unit : float
        Score per nat.
    """

    of_new: np.ndarray
    of_training: np.ndarray
    unit: float = 1.0

    @classmethod
    def of(cls, X, weight=None) -> "MissingPenalty":
        """The surprise of missing values by training rows.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features), or samples
        weight : ndarray of shape (n_samples,), optional
            Positive, of mean one.
        """
        weight = np.ones(X.shape[0]) if weight is None else weight
        n_missing = sum(weight[rows] @ mask for rows, mask in _masks(X))
        n_rows = weight.sum()
        # Where nothing is missing a training row cannot lack a value.
        with np.errstate(divide="ignore"):
            of_training = np.where(n_missing > 0, -np.log(n_missing / n_rows), 0.0)
        of_new = -np.log((n_missing + 1) / (n_rows + 1))
        return cls(of_new.clip(min=0), of_training.clip(min=0))

    def in_units_of(self, scores, weight=None) -> "MissingPenalty":
        """The penalty in the unit of calibration scores, before it is taken off."""
        median, tail = (quantile(scores, q, weight) for q in (0.5, _TAIL))
        unit = (median - tail) / np.log(0.5 / _TAIL)
        # Of few different scores many are equal.
        unit = unit or float(np.std(scores)) or abs(median) or 1.0
        return MissingPenalty(self.of_new, self.of_training, unit)

    def totals(self, X, *, training=False) -> np.ndarray:
        """What is taken off the score of each row."""
        surprise = self.unit * (self.of_training if training else self.of_new)
        totals = np.empty(X.shape[0])
        for rows, mask in _masks(X):
            totals[rows] = mask @ surprise
        return totals

    def parts(self, X) -> np.ndarray:
        """What every entry takes off, in the form of X."""
        entries = entries_of(X)
        return entries.restored(np.isnan(entries.rows) * (self.unit * self.of_new))


def _masks(X):
    """Slices of rows, and where their values are missing."""
    if sparse.issparse(X):
        missing = np.isnan(X.data).astype(float)
        yield (
            slice(None),
            sparse.csr_array((missing, X.indices, X.indptr), shape=X.shape),
        )
        return
    flat = X.reshape(len(X), -1)
    for rows in chunks(*flat.shape):
        yield rows, np.isnan(flat[rows]).astype(float)
