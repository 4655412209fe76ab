"""`AEOutlierDetector`: the drop-in for IsolationForest.

This file declares the parameters, validates X, fits and scores. Explanations are in
`skae.estimators.outlier_explaining`, what is done with a fitted detector in
`skae.estimators.outlier_monitoring`. What judges rows is a scorer of
`skae.outliers.scorers`.
"""

import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt

from skae.checks.rows import unchanged_on_error
from skae.estimators.exported_detector import ExportedDetector
from skae.estimators.outlier_explaining import Explaining
from skae.estimators.outlier_monitoring import Monitoring
from skae.estimators.outlier_samples import Samples
from skae.estimators.parameters import (
    AUTO,
    INTEGER,
    RunParameters,
    at_least,
    choice,
    estimator,
    parameter,
    share,
)
from skae.estimators.stored import StoredState
from skae.fitting.resolve import hidden_widths
from skae.outliers.calibration import quantile, stated_threshold
from skae.outliers.ensemble_fit import features_per_member, fit_ensemble, rows_per_pair
from skae.outliers.ensemble_training import EnsembleSettings
from skae.rows.devices import resolve_device
from skae.rows.sources import RowSource

__all__ = ["AEOutlierDetector"]

_AMOUNT = AUTO, at_least(1), Interval(RealNotInt, 0, 1, closed="right")


@estimator
class AEOutlierDetector(
    Explaining,
    Monitoring,
    ExportedDetector,
    Samples,
    RunParameters,
    OutlierMixin,
    StoredState,
    BaseEstimator,
):
    """Outlier detector with IsolationForest's interface, made of autoencoders.

    Each member of the ensemble is a denoising autoencoder and a codebook of training
    rows. A row is the more normal the better the autoencoders reconstruct it and the
    closer it is to a code. The autoencoders train on the deepest rows only, so that
    they do not learn outliers; the codebooks hold all rows.

    A training row is judged only by members that did not train on it, so its score is
    distributed as a new row's (with a single member, that of every other row).

    Parameters
    ----------
    n_estimators : int, default=8
        Members. Two at a time share out the rows that they draw.
    max_samples : "auto", int or float, default="auto"
        Rows drawn for each two pairs of members, half of them for each member; a float
        is the share of the training rows, "auto" is min(1024, n_samples). The cost of
        fitting grows with it and not with n_samples. Raise it when the training rows
        are clean; lower it when outliers come in clusters.
    contamination : "auto" or float, default="auto"
        "auto" sets the threshold at ``false_alarm_rate``. A float in (0, 0.5] is the
        share of the training rows to flag, as in IsolationForest.
    max_features : "auto", int or float, default="auto"
        Features that each member uses, the same for both of a pair; a float is a
        share of them. "auto" is all of up to 256; of more, the pairs share them out.
    bootstrap : bool, default=False
        Draw the rows of a pair with replacement; copies count once.
    n_jobs : int, default=None
        Threads that score rows, as many as the process may use where left out; the
        result is the same.
    support_fraction : float, default=0.6
        Share of the rows, deepest first, that the autoencoders train on. Raise it
        towards 1 when the training rows are known to be clean.
    false_alarm_rate : float, default=0.05
        With ``contamination="auto"`` the share of new normal rows to be flagged.
    hidden_layer_sizes : tuple of int, default=(64,)
        Widths of the hidden layers of the autoencoders.
    noise_level : float, default=0.3
        Standard deviation of the noise that they learn to remove, in robust standard
        deviations of each feature.
    estimator : estimator of this package, default=None
        Judge rows by the reconstructions of this autoencoder instead of the ensemble,
        whose parameters are then ignored; X may come in every form that it takes. One
        that is not fitted is cloned and fitted to three quarters of the rows; the
        others set the threshold. With a fitted one, which should have been trained on
        other rows, all of them do; wrap it in ``sklearn.frozen.FrozenEstimator`` to
        keep it fitted in ``clone`` and searches.
    novelty : bool, default=False
        Whether the training rows are known to be clean. Rows are then compared with all
        of up to 8,192 of them (of more than 128 features, 1,048,576 values, but at
        least 1,024 rows) instead of with codebooks, and ``support_fraction`` is one. It
        ranks outliers better than the default where it holds, and much worse where
        outliers are among the training rows; scoring takes longer the more rows there
        are. Unlike ``LocalOutlierFactor``'s it scores training rows too, each compared
        with the others.
    missing : {"median", "unusual"}, default="median"
        What NaN, a missing value, says of a row. "median": nothing; the value counts as
        the feature's median. "unusual": the row is the more unusual the fewer training
        rows lack the same values. It loses, for each factor of e by which they are
        rarer, the fall of the score over which training rows become e times rarer, and
        a typical row's part of the score for each missing value. The false-alarm rate
        includes it, and `explain` shows it.
    max_iter : int, default=None
        Epochs of the autoencoders' training; None takes 40 steps.
    batch_size : int, default=64
        Rows a training step and member, at most those that it trains on.
    learning_rate_init : float, default=0.015
        Peak learning rate of Adam; it rises over the first 5% of the steps and falls as
        a cosine.
    warm_start : bool, default=False
        Keep the members of the previous fit and add new ones up to n_estimators. The
        earlier ones stay as they were trained, also where ``novelty`` has changed.

    Attributes
    ----------
    estimators_ : list of Member
        The members.
    estimator_ : estimator
        The fitted ``estimator``; only when it is not None.
    offset_ : float
        ``decision_function`` is ``score_samples`` minus this; rows below are flagged.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Sorted out-of-bag scores of the training rows that set the threshold.
    n_left_out_ : int
        Extreme outliers left out of the calibration: at most 1.5% of the rows, 25% of
        fewer than 19.
    max_samples_ : int
        Rows drawn for each pair of members.
    n_iter_ : int
        Epochs of the members' training, or of ``estimator_``'s.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Faster on wide data, less often better.
    AutoencoderTransformer : An autoencoder to pass as ``estimator``.

    Notes
    -----
    Features are centred at their medians, divided by their interquartile ranges and
    logarithmic beyond three robust standard deviations. Trimming helps most when the
    training rows are contaminated; when they are clean, nearly all the accuracy is the
    codebooks'. Denoising: Vincent et al. (2010, JMLR 11); trimming: Rousseeuw (1984);
    nearest random rows: Sugiyama and Borgwardt (2013, NeurIPS); p-values: Bates et al.
    (2023, arXiv 2104.08279).

    Examples
    --------
    >>> import numpy as np
    >>> from skae import AEOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> detector = AEOutlierDetector(random_state=0).fit(X)
    >>> detector.predict([[0, 0, 0, 0], [0, 9, 0, 0]])
    array([ 1, -1])
    >>> int(detector.explain([[0, 9, 0, 0]])[0].argmin())
    1
    """

    n_estimators: int = parameter(8, at_least(1), positional=True)
    max_samples: Any = parameter("auto", *_AMOUNT)
    contamination: Any = parameter("auto", AUTO, Interval(Real, 0, 0.5, closed="right"))
    max_features: Any = parameter("auto", *_AMOUNT)
    bootstrap: bool = parameter(False, "boolean")
    n_jobs: Any = parameter(None, INTEGER, None)
    support_fraction: float = parameter(0.6, share("right"))
    false_alarm_rate: float = parameter(0.05, Interval(Real, 0, 0.5, closed="right"))
    hidden_layer_sizes: tuple = parameter((64,), "array-like")
    noise_level: float = parameter(0.3, at_least(0, Real))
    estimator: Any = parameter(
        None, HasMethods(["fit", "reconstruct", "score_samples"]), None
    )
    novelty: bool = parameter(False, "boolean")
    missing: str = parameter("median", choice("median", "unusual"))
    max_iter: Any = parameter(None, at_least(1), None)
    batch_size: int = parameter(64, at_least(1))
    learning_rate_init: float = parameter(0.015, at_least(0, Real, closed="neither"))
    warm_start: bool = parameter(False, "boolean")

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Train the members and set the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            At least two rows. NaN is a missing value, see ``missing``; an
            ``estimator`` may refuse it. With an ``estimator`` whatever that takes:
            images, sequences, lists of sequences of different lengths. All methods
            then take the like.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; rows of weight zero are left out. Autoencoders train on the
            others, and the threshold counts them, in proportion; codebooks hold rows
            of every weight.

        Returns
        -------
        self : AEOutlierDetector

        Raises
        ------
        ValueError
            When X or a parameter does not fit, before any training.
        """
        adding = (
            self.warm_start and self.estimator is None and hasattr(self, "estimators_")
        )
        with unchanged_on_error(self):
            X, weight = self._training_samples(X, sample_weight, reset=not adding)
            self._fit_to(X, weight, adding)
        return self

    def _fit_to(self, X, weight, adding, rate=None):
        """Fit to validated rows, or to samples for the estimator to validate.

        A rate is the one to be kept instead of the parameter's.
        """
        if adding:
            self._warn_of_other_rows(X)
        else:
            for name in ("estimators_", "estimator_", "max_samples_"):
                vars(self).pop(name, None)
        self._alert_rate = rate
        if rate is None and self.contamination == "auto":
            rate = self.false_alarm_rate
        adjust = self._adjustment(X, weight)
        if self.estimator is None:
            self._fit_ensemble(X, weight, adding, adjust, rate)
        else:
            self._fit_estimator(X, weight, adjust)
        self.calibration_scores_ = self._calibration.scores
        self.n_left_out_ = self._calibration.n_left_out
        if rate is None:
            self.offset_ = quantile(self._scores(X), self.contamination, weight)
        else:
            self.offset_ = stated_threshold(self._calibration, rate, stacklevel=4)

    def score_samples(self, X):
        """How normal each row is.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher is more normal. The ensemble's are minus the error in multiples of a
            typical row's: about -2 for typical rows, 0 at best. Those of an
            ``estimator`` are its log-likelihoods.
        """
        return self._scores(self._samples(X))

    def _scores(self, samples, in_bag=None):
        if isinstance(samples, RowSource):
            # All that is done with a block, while it is here.
            parts = [self._scores(block) for _, block in samples.blocks()]
            return np.concatenate(parts)
        if in_bag is None:
            scores = self._scorer.scores(samples, self.n_jobs)
        else:
            scores = self._scorer.scores_without(samples, in_bag, self.n_jobs)
        if self._missing is not None:
            scores -= self._missing.totals(samples)
        return scores

    def decision_function(self, X):
        """``score_samples`` minus ``offset_``: negative for outliers.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Tell outliers from inliers.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers, +1 for inliers.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X):
        """Conformal p-values: how surprising each row would be if it were normal.

        The share of calibration rows, the new one included, that score no higher. It is
        at most u with a chance of at most u if the row is exchangeable with them.

        Returns
        -------
        p : ndarray of shape (n_samples,)
            In (0, 1], at least 1 / (n_calibration + 1).
        """
        scores = self.score_samples(X)
        return self._calibration.p_values(scores)

    def _fit_ensemble(self, X, weight, adding, adjust, rate):
        """Train members, after those of an earlier fit if there are some."""
        n_earlier = len(self.estimators_) if adding else 0
        n_members = self.n_estimators - n_earlier
        settings = self._settings(X.shape[1], max(1, n_members))
        if n_members < 0:
            raise ValueError(
                f"n_estimators={self.n_estimators} must be at least "
                f"len(estimators_)={n_earlier} when warm_start=True."
            )
        if n_members == 0:
            warnings.warn(
                "Warm-start fitting without increasing n_estimators adds no members.",
                stacklevel=5,
            )
            return
        if not adding:
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.max_samples_ = rows_per_pair(
            self.max_samples, X.shape[0], settings.n_features, stacklevel=6
        )
        device = resolve_device(self.device, n_members * settings.work())
        self._scorer, self._calibration, self.n_iter_ = fit_ensemble(
            X,
            weight,
            settings,
            n_members=n_members,
            n_rows=self.max_samples_,
            bootstrap=self.bootstrap,
            seed=self._seed,
            device=device,
            rate=rate,
            n_jobs=self.n_jobs,
            earlier=self._scorer if adding else None,
            novelty=self.novelty,
            adjust=adjust,
        )
        self.estimators_ = self._scorer.members

    def _settings(self, n_features, n_members):
        widths = hidden_widths(self.hidden_layer_sizes, "tanh")
        if not widths:
            raise ValueError("hidden_layer_sizes must not be empty.")
        return EnsembleSettings(
            hidden_layer_sizes=widths,
            noise_level=self.noise_level,
            support_fraction=1.0 if self.novelty else self.support_fraction,
            n_features=features_per_member(self.max_features, n_features, n_members),
            max_iter=self.max_iter,
            batch_size=self.batch_size,
            learning_rate_init=self.learning_rate_init,
            verbose=self.verbose,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.allow_nan = True
        return tags
