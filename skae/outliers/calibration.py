"""Thresholds and p-values from scores of rows that were not trained on.

Split conformal prediction (Vovk et al. 2005; for outliers Bates et al. 2023, arXiv
2104.08279): if a new row and the calibration rows are exchangeable, the rank of its
score among theirs is uniform, whatever the model. Nothing here knows where scores come
from.
"""

import numpy as np

__all__ = ["Calibration", "beyond_doubt", "quantile"]

_DOUBT = 6.0
_SMALLEST_DEVIATION = 0.2


class Calibration:
    """Scores of calibration rows; higher is more normal.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
    weight : array-like of shape (n_samples,), optional
        Positive; how many rows each score stands for.

    Attributes
    ----------
    scores, weight : ndarray of shape (n_samples,)
        Sorted by score.
    """

    def __init__(self, scores, weight=None):
        scores = np.asarray(scores, dtype=np.float64)
        weight = np.ones(len(scores)) if weight is None else np.asarray(weight)
        order = np.argsort(scores, kind="stable")
        self.scores = scores[order]
        self.weight = weight[order]
        self._count = np.r_[0.0, np.cumsum(weight[order])]

    @classmethod
    def robust(cls, scores, weight=None, doubted=None) -> "Calibration":
        """A calibration on all but the outliers beyond doubt, by ``doubted`` if any."""
        kept = ~beyond_doubt(scores if doubted is None else doubted)
        return cls(scores[kept], None if weight is None else weight[kept])

    def p_values(self, scores) -> np.ndarray:
        """Share of rows, the new one included, that score no higher.

        In (0, 1], at least 1 / (n + 1). Under exchangeability the chance of a value of
        at most u is at most u.
        """
        below = self._count[np.searchsorted(self.scores, scores, side="right")]
        return (below + 1) / (self._count[-1] + 1)

    def threshold(self, rate: float) -> float:
        """The highest score below which at most this share of normal rows falls.

        A score is below it if and only if its p-value is at most ``rate``; with fewer
        than 1 / rate - 1 rows, if and only if it is lower than all of them.
        """
        # Products such as 0.05 * 100 fall short of the whole number they mean.
        allowed = rate * (self._count[-1] + 1) * (1 + 1e-12)
        lower = np.searchsorted(self._count[:-1], allowed - 1, side="right")
        return float(self.scores[max(lower, 1) - 1])


def beyond_doubt(scores: np.ndarray) -> np.ndarray:
    """Rows so far below the others that they say nothing about normal ones.

    A mask of the scores, all of at most zero, whose logarithm is more than six robust
    standard deviations above the median; the deviation is that of the better half,
    which outliers do not reach, and at least 0.2: few different values of rows give few
    different scores.
    """
    error = np.log(np.maximum(-scores, 1e-12))
    better, median = np.percentile(error, [25, 50])
    deviation = max((median - better) / 0.6745, _SMALLEST_DEVIATION)
    return error > median + _DOUBT * deviation


def quantile(scores: np.ndarray, share: float, weight: np.ndarray | None) -> float:
    """The score below which a share of the rows falls, counted by weight."""
    if weight is None:
        return float(np.percentile(scores, 100 * share))
    order = np.argsort(scores, kind="stable")
    middle = np.cumsum(weight[order]) - weight[order] / 2
    return float(np.interp(share * weight.sum(), middle, scores[order]))
