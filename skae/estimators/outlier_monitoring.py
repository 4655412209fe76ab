"""Methods of an `AEOutlierDetector` that watches rows: thresholds, drift, renewal.

The detector inherits them; nothing here knows what judges rows.
"""

import warnings
from numbers import Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils.validation import _num_samples, check_is_fitted

from skae.checks.integers import check_integer
from skae.checks.rows import unchanged_on_error
from skae.checks.samples import in_memory
from skae.estimators.parameters import estimator
from skae.outliers.calibration import stated_threshold
from skae.outliers.drift import Drift, two_sample_test
from skae.outliers.threshold_tuning import best_threshold

__all__ = ["Monitoring"]

_PERMUTATIONS = 999
# The p-value below which rows are other rows.
_OTHER = 1e-3
# Rows that are compared then.
_COMPARED = 1024


@estimator
class Monitoring:
    """What is done with a fitted detector besides scoring."""

    def tune_threshold(self, X, y, scoring="f1"):
        """Set ``offset_`` to where labelled rows score best; of ties, flag the most.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            New rows or training rows, which are scored out of bag.
        y : array-like of shape (n_samples,)
            1 for outliers and 0 for inliers, or -1 and +1 as from ``predict``; both
            must occur.
        scoring : str or callable, default="f1"
            Name of a scikit-learn scorer of labels, or ``scorer(detector, X, y) ->
            float``. It sees 1 for outliers and 0 for inliers, so that "f1", "precision"
            and "recall" are those of the outliers.

        Returns
        -------
        self : AEOutlierDetector

        Raises
        ------
        ValueError
            When y has other values, or only one class, or when ``scoring`` cannot tell
            thresholds apart.
        """
        self.offset_ = best_threshold(self.score_samples(X), X, y, scoring)
        return self

    def set_alert_rate(self, rate=None, *, per=None, X=None):
        """Set ``offset_`` for a rate of false alarms or for a number of alerts.

        `p_values` stay as they are; `refresh` keeps the rate.

        Parameters
        ----------
        rate : float, default=None
            Share of new normal rows to be flagged, in (0, 1), as ``false_alarm_rate``.
            Below 1 / (n_calibration + 1) it cannot be kept.
        per : int, default=None
            Instead of ``rate``: how many alerts there may be for as many rows as X has.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
            With ``per``: rows of a day, say. The lowest ``per`` of them are flagged,
            fewer where scores are equal.

        Returns
        -------
        self : AEOutlierDetector

        Raises
        ------
        ValueError
            When not exactly one of ``rate`` and ``per`` is passed, a rate is not in
            (0, 1) or comes with X, or ``per`` is not from 0 to one row less than X has.

        Examples
        --------
        >>> import numpy as np
        >>> from skae import AEOutlierDetector
        >>> X = np.random.default_rng(0).normal(size=(1000, 4))
        >>> detector = AEOutlierDetector(random_state=0).fit(X[:500])
        >>> day = X[500:]
        >>> detector.set_alert_rate(per=10, X=day).predict(day).tolist().count(-1)
        10
        >>> detector.set_alert_rate(0.01).predict(day).tolist().count(-1) < 20
        True
        """
        if (rate is None) == (per is None):
            raise ValueError(
                "set_alert_rate takes a rate, or per= with X=; got "
                f"rate={rate!r} and per={per!r}."
            )
        check_is_fitted(self)
        if per is None:
            if X is not None:
                raise ValueError("X= goes with per=, not with a rate; leave it out.")
            if not isinstance(rate, Real) or not 0 < rate < 1:
                raise ValueError(f"rate must be a float in (0, 1); got {rate!r}.")
            self.offset_ = stated_threshold(
                self._calibration, rate, stacklevel=3, name="rate"
            )
        else:
            if X is None:
                raise ValueError(f"per={per!r} needs X=, as many rows as it is for.")
            scores = np.sort(self.score_samples(X))
            n_rows = len(scores)
            check_integer(f"per for the {n_rows} rows of X", per, 0, n_rows - 1)
            rate = per / n_rows
            self.offset_ = float(scores[per])
            n_flagged = int(np.searchsorted(scores, scores[per]))
            if n_flagged < per:
                warnings.warn(
                    f"Only {n_flagged} rows are flagged, not per={per}: the next "
                    "scores are equal.",
                    UserWarning,
                    stacklevel=3,
                )
        self._alert_rate = rate
        return self

    def drift(self, X) -> Drift:
        """Whether rows come from where the training rows came from.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            New rows, a batch of some dozens or more. Do not pass rows of the fit where
            rows repeat, as in tables of few values, or to an ``estimator``: those are
            scored higher than new ones.

        Returns
        -------
        drift : Drift
            With ``statistic`` and ``p_value`` of a two-sample Kolmogorov-Smirnov test
            of the scores of X against those of at most 1,024 calibration rows, all by
            members that did not train on the row, as many for each of X as for a
            calibration row, and
            ``features``, a table of the same test for each feature, the most changed
            first, with p-values adjusted for the number of features. While
            nothing changes, about 5% of the batches have a ``p_value`` below 0.05 (7%
            to 15% after a fit to some 50 rows of columns of few values), and at most
            5% a feature with one.

        Examples
        --------
        >>> import numpy as np
        >>> from skae import AEOutlierDetector
        >>> X = np.random.default_rng(0).normal(size=(1000, 4))
        >>> detector = AEOutlierDetector(random_state=0).fit(X[:500])
        >>> detector.drift(X[500:]).p_value > 0.05
        True
        >>> moved = detector.drift(X[500:] + [0, 0, 1, 0])
        >>> moved.p_value < 0.001, int(moved.features.feature[0])
        (True, 2)
        """
        samples = in_memory(self._samples(X), "drift")
        statistic, p_value = self._test_of_scores(samples)
        return Drift(statistic, p_value, self._reference.changes(X, samples))

    def _test_of_scores(self, samples):
        """Kolmogorov-Smirnov statistic and p-value of scores against training rows'."""
        reference = self._reference
        in_bag = reference.in_bag_of_new(_num_samples(samples))
        now = self._scores(samples, in_bag)
        return two_sample_test(reference.scores, now, reference.weight, _PERMUTATIONS)

    @_fit_context(prefer_skip_nested_validation=True)
    def refresh(self, X, sample_weight=None):
        """Renew members, units and threshold on rows that have drifted.

        The detector is fitted anew to X: all members, or a new fit of an ``estimator``
        that came unfitted; one that came fitted stays, and X sets the threshold. X must
        have the columns of the earlier fit. The rate of `set_alert_rate` is kept, the
        threshold of `tune_threshold` is not.

        Returns
        -------
        self : AEOutlierDetector

        Examples
        --------
        >>> import numpy as np
        >>> from skae import AEOutlierDetector
        >>> rng = np.random.default_rng(0)
        >>> detector = AEOutlierDetector(random_state=0).fit(rng.normal(size=(900, 4)))
        >>> last_week, today = 2 * rng.normal(size=(2, 900, 4))
        >>> bool((detector.predict(today) == -1).mean() > 0.5)
        True
        >>> bool((detector.refresh(last_week).predict(today) == -1).mean() < 0.1)
        True
        """
        check_is_fitted(self)
        with unchanged_on_error(self):
            rows, weight = self._training_samples(X, sample_weight, reset=False)
            n_features = self.n_features_in_
            self._fit_to(rows, weight, adding=False, rate=self._alert_rate)
            if self.n_features_in_ != n_features and not isinstance(rows, list):
                raise ValueError(
                    f"X has {self.n_features_in_} features; the detector was fitted to "
                    f"{n_features}. Use fit for other features."
                )
        return self

    def _warn_of_other_rows(self, X):
        """Warn where members are to be added on rows unlike those of the others."""
        if self._reference.is_of(X):
            return
        _, p_value = self._test_of_scores(X[:: -(-X.shape[0] // _COMPARED)])
        if p_value < _OTHER:
            warnings.warn(
                "X does not come from where the rows of the earlier fit came from "
                f"(p = {p_value:.2g}): members of both judge together, and the false-"
                "alarm rate holds for neither. Renew all of them with refresh(X), or "
                "set warm_start=False.",
                UserWarning,
                stacklevel=5,
            )
