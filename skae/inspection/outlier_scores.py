"""The distribution of an outlier detector's scores with its threshold, as a picture.

Works on any fitted detector with ``score_samples`` and ``offset_``, scikit-learn's own
too. matplotlib is imported when something is drawn.
"""

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skae.inspection.figures import new_axes

__all__ = ["OutlierScoreDisplay"]


class OutlierScoreDisplay:
    """Histogram of outlier scores, with the threshold.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Higher is more normal.
    offset : float
        Scores below are flagged.
    y : array-like of shape (n_samples,), optional
        Kinds of rows, each drawn in its own colour.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After `plot`.

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

    def __init__(self, *, scores, offset, y=None):
        self.scores = scores
        self.offset = offset
        self.y = y

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None, bins=40):
        """Score rows and draw.

        Parameters
        ----------
        estimator : fitted outlier detector
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            Kinds of rows.
        ax : matplotlib Axes, optional
            A new figure's when left out.
        bins : int, default=40

        Returns
        -------
        display : OutlierScoreDisplay
        """
        check_is_fitted(estimator)
        scores = np.asarray(estimator.score_samples(X))
        if y is not None:
            check_consistent_length(scores, y)
        return cls(scores=scores, offset=estimator.offset_, y=y).plot(ax, bins=bins)

    def plot(self, ax=None, *, bins=40):
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib Axes, optional
        bins : int, default=40

        Returns
        -------
        display : OutlierScoreDisplay

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        if ax is None:
            ax = new_axes()
        y = None if self.y is None else np.asarray(self.y)
        kinds = [None] if y is None else np.unique(y)
        groups = [self.scores if k is None else self.scores[y == k] for k in kinds]
        names = ["rows" if kind is None else str(kind) for kind in kinds]
        ax.hist(groups, bins=self._edges(bins), stacked=True, label=names)
        ax.axvline(self.offset, color="black", linestyle="--", label="threshold")
        ax.set(xlabel="score (higher is more normal)", ylabel="rows")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _edges(self, bins):
        """Even bins over the bulk; the first one takes in whatever is far below."""
        low, high = np.min(self.scores), np.max(self.scores)
        quartile, median = np.percentile(self.scores, [25, 50])
        shown = min(self.offset, median - 8 * (median - quartile))
        edges = np.linspace(max(low, shown), max(high, shown + 1e-12), bins + 1)
        edges[0] = min(low, edges[0])
        return edges
