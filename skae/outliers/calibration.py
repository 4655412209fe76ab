"""Thresholds and p-values from scores of rows that were not trained on.

Split conformal prediction (Vovk et al. 2005; for outliers Bates et al. 2023, arXiv
2104.08279): if a new row and the calibration rows are exchangeable, the rank of its
score among theirs is uniform, whatever the model. Nothing here knows where scores come
from.
"""

import math
import warnings

import numpy as np

__all__ = ["Calibration", "extreme_outliers", "quantile", "stated_threshold"]

# Extreme is what a power-law tail would exceed with a probability below 0.08%.
_NEAR, _FAR, _POWER = 0.2, 0.05, 3
_MOST = 0.015
# Fewer rows say nothing of a tail, and cannot hold a rate of 5%.
_FEW, _DEVIATIONS, _MOST_OF_FEW = 19, 10, 0.25


class Calibration:
    """Scores of calibration rows; higher is more normal.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
    weight : array-like of shape (n_samples,), optional
        Positive; how many rows each score stands for.

    Attributes
    ----------
    n_left_out : int
        Extreme outliers, which are left out of the calibration.
    scores, weight : ndarray of shape (n_samples,)
        Sorted by score.
    """

    n_left_out = 0

    def __init__(self, scores, weight=None):
        scores = np.asarray(scores, dtype=np.float64)
        weight = np.ones(len(scores)) if weight is None else np.asarray(weight)
        order = np.argsort(scores, kind="stable")
        self.scores = scores[order]
        self.weight = weight[order]
        self._count = np.r_[0.0, np.cumsum(weight[order])]

    @classmethod
    def robust(cls, scores, weight=None, screened=None) -> "Calibration":
        """A calibration without extreme outliers of ``screened``, or of the scores."""
        scores = np.asarray(scores, dtype=np.float64)
        kept = ~extreme_outliers(scores if screened is None else screened, weight)
        calibration = cls(scores[kept], None if weight is None else weight[kept])
        calibration.n_left_out = int(np.sum(~kept))
        return calibration

    def p_values(self, scores) -> np.ndarray:
        """Share of rows, the new one included, that score no higher.

        In (0, 1], at least 1 / (n + 1). Under exchangeability the chance of a value of
        at most u is at most u.
        """
        return (self._no_higher(scores) + 1) / (self._count[-1] + 1)

    @property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted scores, and the p-value of a row with so many of them no higher."""
        return self.scores, (self._count + 1) / (self._count[-1] + 1)

    @property
    def largest_step(self) -> float:
        """By how much the p-values of neighbouring scores may differ."""
        return float(self.weight.max() / (self._count[-1] + 1))

    def share(self, scores) -> np.ndarray:
        """Share of the calibration rows that score no higher, in [0, 1]."""
        return self._no_higher(scores) / self._count[-1]

    def _no_higher(self, scores):
        return self._count[np.searchsorted(self.scores, scores, side="right")]

    def threshold(self, rate: float) -> float:
        """The highest score below which at most this share of normal rows falls.

        A score is below it if and only if its p-value is at most ``rate``; with fewer
        than 1 / rate - 1 rows, if and only if it is lower than all of them.
        """
        # Products such as 0.05 * 100 fall short of the whole number they mean.
        allowed = rate * (self._count[-1] + 1) * (1 + 1e-12)
        lower = np.searchsorted(self._count[:-1], allowed - 1, side="right")
        return float(self.scores[max(lower, 1) - 1])


def stated_threshold(
    calibration: Calibration,
    rate: float,
    stacklevel: int,
    name: str = "false_alarm_rate",
) -> float:
    """The threshold at a false-alarm rate; warns when the rows are too few for it.

    The warning has this ``stacklevel`` and calls the rate by this name.
    """
    smallest = calibration.p_values([-np.inf])[0]
    if smallest > rate * (1 + 1e-12):
        warnings.warn(
            f"{name}={rate:g} needs {math.ceil(1 / rate - 1e-9) - 1} "
            f"calibration rows; {len(calibration.scores)} resolve rates from "
            f"{smallest:.2g} on. predict flags what scores lower than all of them, and "
            f"no p-value is as small as the rate. Fit more rows, or raise {name}.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return calibration.threshold(rate)


def extreme_outliers(
    scores: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Rows so far below the others that they say nothing about normal ones.

    With a and b the distances of the 20% and the 5% quantile below the median, those
    whose distance exceeds b (b / a)^3. A tail that falls as a power law holds the share
    0.05 / 4^3 beyond, a lighter one hardly any, whatever the unit and the sign of the
    scores; where the median equals the 20% quantile none is extreme. Rows
    with equal scores are left out together, and at most 1.5% of all, by weight.

    Of fewer than 19 rows those may be left out, up to a quarter, that lie ten robust
    standard deviations of the better half below the median.

    Returns
    -------
    mask : bool ndarray of the shape of scores
    """
    shares = _FAR, _NEAR, 0.5, 0.75
    far, near, median, better = (quantile(scores, q, weight) for q in shares)
    fence, most = -np.inf, _MOST
    with np.errstate(over="ignore", invalid="ignore"):
        if len(scores) < _FEW:
            most = _MOST_OF_FEW
            if better > median:
                fence = median - _DEVIATIONS * (better - median) / 0.6745
        elif near < median:
            ratio = np.float64(median - far) / (median - near)
            fence = median - (median - far) * ratio**_POWER
    return (scores < fence) & (Calibration(scores, weight).share(scores) <= most)


def quantile(scores: np.ndarray, share: float, weight: np.ndarray | None) -> float:
    """The score below which a share of the rows falls, counted by weight."""
    if weight is None:
        return float(np.percentile(scores, 100 * share))
    order = np.argsort(scores, kind="stable")
    middle = np.cumsum(weight[order]) - weight[order] / 2
    return float(np.interp(share * weight.sum(), middle, scores[order]))
