"""A single autoencoder as the judge of `AEOutlierDetector`.

Samples come as validated rows or in a shape of their own, images and sequences, which
the autoencoder validates; contributions and expected values come in the same form.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from skae.checks.samples import entries_of

__all__ = ["ReconstructionScorer", "best_score", "nameless"]


@dataclass
class ReconstructionScorer:
    """Scores by the log-likelihood that an autoencoder gives a sample.

    Every entry of a sample gets an equal part of the best score and, in proportion to
    its squared residual in units of its noise, a part of what the sample falls short of
    it. For a Gaussian likelihood this is exactly what each of them adds. Missing
    entries, NaN, get nothing.

    Attributes
    ----------
    estimator : fitted estimator with ``reconstruct`` and ``score_samples``
        Rows come to it without feature names.
    best : float
        The best score there is, or that came up to now.
    margin : float
        How far below its own best a sample counts that scores better still.
    """

    estimator: Any
    best: float = 0.0
    margin: float = 1.0

    def scores(self, X, n_jobs=None) -> np.ndarray:
        """The estimator's ``score_samples``."""
        return np.asarray(self.estimator.score_samples(X), dtype=np.float64)

    def contributions(self, X, n_jobs=None):
        """Each entry's part of the scores, in the form of X."""
        expected = self.estimator.reconstruct(X)
        observed = entries_of(X, like=expected)
        residual = np.abs(entries_of(expected).rows - observed.rows)
        noise = np.sqrt(getattr(self.estimator, "noise_variance_", 1.0))
        share = _shares(residual / noise)
        present = ~np.isnan(residual)
        scores = self.scores(X)[:, None]
        best = np.where(scores <= self.best, self.best, scores + self.margin)
        even = best * present / present.sum(axis=1, keepdims=True).clip(min=1)
        return observed.restored(even - (best - scores) * share)

    def expected(self, X, n_jobs=None):
        """The estimator's reconstructions, in the form of X."""
        expected = entries_of(self.estimator.reconstruct(X))
        return expected.restored(expected.rows)

    def on(self, device: torch.device | str) -> "ReconstructionScorer":
        """Itself: the estimator moves when it is pickled."""
        return self


def best_score(scores) -> tuple[float, float]:
    """The best score there is, by those of calibration rows, and the margin.

    Log-likelihoods up to a constant have zero for a perfect row; a log-density has no
    bound, and the best one counts.
    """
    best = float(np.max(scores))
    return max(best, 0.0), (best - float(np.median(scores))) or 1.0


def nameless(estimator):
    """A copy that asks for no feature names; what is frozen stays frozen.

    It has the same weights, on the device where they are: to copy by pickling would
    move them.
    """
    copied = object.__new__(type(estimator))
    state = {k: v for k, v in vars(estimator).items() if k != "feature_names_in_"}
    vars(copied).update(state)
    if isinstance(estimator, FrozenEstimator):
        copied.estimator = nameless(estimator.estimator)
    return copied


def _shares(residual) -> np.ndarray:
    """Shares of the squares in each row's sum, equal ones of zeros; zero for NaN."""
    present = ~np.isnan(residual)
    residual = np.where(present, residual, 0.0)
    # Dividing first keeps squares of large residuals finite.
    largest = residual.max(axis=1, keepdims=True)
    square = np.where(largest > 0, residual / np.where(largest > 0, largest, 1), 1) ** 2
    square *= present
    return square / square.sum(axis=1, keepdims=True).clip(min=np.finfo(float).tiny)
