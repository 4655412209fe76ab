"""The scores of any outlier detector with ``score_samples`` and ``offset_``."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skae.inspection.drawing import PlotDisplay, check_has, display

__all__ = ["OutlierScoreDisplay"]


@display
class OutlierScoreDisplay(PlotDisplay):
    """Histogram of outlier scores, with the threshold.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Higher is more normal.
    offset : float
        Scores below are flagged.
    y : array-like of shape (n_samples,), optional
        Classes of rows, each drawn in its own colour.

    Examples
    --------
    >>> import numpy as np
    >>> from skae import AEOutlierDetector
    >>> from skae.inspection import OutlierScoreDisplay
    >>> X = np.random.default_rng(0).normal(size=(300, 4))
    >>> detector = AEOutlierDetector(random_state=0).fit(X)
    >>> display = OutlierScoreDisplay.from_estimator(detector, X)
    >>> display.figure_.savefig("scores.png")  # doctest: +SKIP
    """

    scores: Any
    offset: float
    y: Any = None

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None, bins=40):
        """Score rows and draw.

        Parameters
        ----------
        estimator : fitted outlier detector
        y : array-like of shape (n_samples,), optional
            Classes of rows.
        bins : int, default=40
        """
        for attribute in ("score_samples", "offset_"):
            check_has(estimator, attribute, "Outlier scores")
        scores = np.asarray(estimator.score_samples(X))
        if y is not None:
            check_consistent_length(scores, y)
        return cls(scores=scores, offset=estimator.offset_, y=y).plot(ax, bins=bins)

    def plot(self, ax=None, *, bins=40):
        """Draw the histogram."""
        ax = self._start(ax)
        groups = {"rows": self.scores}
        if self.y is not None:
            y = np.asarray(self.y)
            # Missing labels cannot be sorted among the others.
            y = y.astype(str) if y.dtype.kind == "O" else y
            groups = {str(label): self.scores[y == label] for label in np.unique(y)}
        samples, names = list(groups.values()), list(groups)
        ax.hist(samples, bins=self._edges(bins), stacked=True, label=names)
        ax.axvline(self.offset, color="black", linestyle="--", label="threshold")
        ax.set(xlabel="score (higher is more normal)", ylabel="rows")
        ax.legend()
        return self

    def _edges(self, bins):
        """Even bins over most scores; the first one includes all that are far below."""
        low, high = np.min(self.scores), np.max(self.scores)
        quartile, median = np.percentile(self.scores, [25, 50])
        shown = min(self.offset, median - 8 * (median - quartile))
        edges = np.linspace(max(low, shown), max(high, shown + 1e-12), bins + 1)
        edges[0] = min(low, edges[0])
        return edges
