"""The density of the codes of the training rows, from which new ones are drawn.

Where the prior has mass but no row has its code, decoded codes do not look like data. A
mixture of Gaussians fitted to the codes afterwards has little mass there (Ghosh et al.
2020, arXiv 1903.12436).
"""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from skae.rows.isolation import isolated

__all__ = ["CodeDensity", "FittedMixture"]

# A few components need so many rows each for every column of a code, more than a few
# need many rows.
_FEW, _MOST = 5, 20
_ROWS_OF_FEW, _ROWS_OF_MOST = 10, 25
_MOST_ROWS = 10_000
_MAX_ITER = 30
_SMALLEST_VARIANCE = 1e-3


class FittedMixture(NamedTuple):
    """What is kept of a mixture of Gaussians.

    Attributes
    ----------
    weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, width)
    covariances : ndarray of shape (n_components, width, width)
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def sample(self, n_samples: int, random_state) -> np.ndarray:
        """Codes, ordered by component."""
        mixture = GaussianMixture(len(self.weights), random_state=random_state)
        mixture.weights_, mixture.means_, mixture.covariances_ = self
        mixture.precisions_cholesky_ = np.empty_like(self.covariances)
        return mixture.sample(n_samples)[0]


@dataclass(frozen=True)
class CodeDensity:
    """One mixture of Gaussians, or one for each class.

    Attributes
    ----------
    mixtures : list of FittedMixture or None
        None where a class has too few rows: its codes are standard normal.
    n_components : int
        Width of the code.
    """

    mixtures: list
    n_components: int

    @classmethod
    def of(cls, codes, labels, n_classes, random_state) -> "CodeDensity":
        """The density of codes.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_components)
            Drawn from the posteriors of rows.
        labels : ndarray of int of shape (n_samples,) or None
            Number of each row's class.
        n_classes : int
            Some of them may have no row here.
        random_state : RandomState
        """
        groups = [codes]
        if labels is not None:
            groups = [codes[labels == label] for label in range(n_classes)]
        mixtures = [_mixture(group, random_state) for group in groups]
        return cls(mixtures, codes.shape[1])

    def completed(self, earlier: "CodeDensity | None") -> "CodeDensity":
        """With the earlier mixtures of classes that had too few rows this time."""
        if earlier is None:
            return self
        pairs = zip(self.mixtures, earlier.mixtures, strict=True)
        mixtures = [old if new is None else new for new, old in pairs]
        return CodeDensity(mixtures, self.n_components)

    def draw(self, n_samples, labels, random_state) -> np.ndarray:
        """Codes, shape ``(n_samples, n_components)``, of these classes."""
        codes = np.empty((n_samples, self.n_components))
        labels = np.zeros(n_samples, dtype=int) if labels is None else labels
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            codes[rows] = self._sample(self.mixtures[label], len(rows), random_state)
        return codes

    @isolated
    def _sample(self, mixture, n_samples, random_state):
        if mixture is None:
            return random_state.normal(size=(n_samples, self.n_components))
        return random_state.permutation(mixture.sample(n_samples, random_state))


def _mixture(codes, random_state) -> FittedMixture | None:
    n_rows, width = codes.shape
    if n_rows <= 2 * width:
        return None
    if n_rows > _MOST_ROWS:
        codes = codes[random_state.choice(n_rows, _MOST_ROWS, replace=False)]
    few = min(_FEW, n_rows // (_ROWS_OF_FEW * width))
    most = min(_MOST, n_rows // (_ROWS_OF_MOST * width))
    mixture = GaussianMixture(
        max(1, few, most),
        reg_covar=_SMALLEST_VARIANCE,
        max_iter=_MAX_ITER,
        random_state=random_state,
    )
    with warnings.catch_warnings():
        # Fitted well enough without convergence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(codes)
    return FittedMixture(mixture.weights_, mixture.means_, mixture.covariances_)
