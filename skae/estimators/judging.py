"""The likelihood of an autoencoder: its parameter, and the part that was fitted.

`Judging` is a base of `BaseAutoencoder` alone and uses the validation of
`TrainedEstimator`.
"""

from typing import Any

from sklearn.utils._param_validation import HasMethods

from skae.checks.rows import check_fitted, feature_ranges
from skae.estimators.parameters import choice, estimator, parameter
from skae.fitting.resolve import part_of
from skae.parts.base import Likelihood
from skae.parts.likelihoods import LIKELIHOODS

__all__ = ["Judging"]


@estimator
class Judging:
    """Reconstructions judged by a likelihood.

    Parameters
    ----------
    likelihood : {"gaussian", "bernoulli", "student_t"} or likelihood part, \
default="gaussian"
        Distribution of a row given its reconstruction: squared error, cross-entropy for
        targets in [0, 1], or Student's t, which outliers move little.

    Attributes
    ----------
    likelihood_ : str or likelihood part
        Name of the fitted likelihood, also where "auto" chose it; the fitted part for a
        likelihood of your own.
    """

    likelihood: Any = parameter(
        "gaussian", choice(*LIKELIHOODS), HasMethods(["nll", "mean"])
    )

    @property
    def likelihood_(self):
        check_fitted(self)
        part = self.net_.likelihood
        return part if part.name is None else part.name

    def _likelihood(self, X) -> Likelihood:
        return part_of(self.likelihood, Likelihood, LIKELIHOODS)

    def _judged_rows(self, X):
        """X for the fitted estimator, within the range of the likelihood."""
        X = self._rows(X)
        self.net_.likelihood.check(lambda: feature_ranges(X))
        self.net_.likelihood.check_rows(X)
        return X
