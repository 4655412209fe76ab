"""What `AEOutlierDetector` takes: rows of a table, or samples for an autoencoder.

The detector inherits these private steps of its ``fit`` and of its other methods. Rows
of a table are validated here; samples in a shape of their own, images and sequences, go
to the autoencoder as they are.
"""

from skae.checks.places import entries_named
from skae.checks.rows import check_fitted, fitted_rows, training_rows, used_samples
from skae.checks.samples import in_own_shape, is_list_of_arrays, loaded
from skae.outliers.drift import Reference
from skae.outliers.estimator_fit import fit_estimator
from skae.outliers.missing_values import MissingPenalty

__all__ = ["Samples"]


class Samples:
    """Samples of a detector, and the fit of its autoencoder to them."""

    def _training_samples(self, X, sample_weight, *, reset):
        """Validated rows, or samples for the estimator to validate, and weights."""
        if self._is_for_judge(X, self.estimator):
            return used_samples(loaded(X), sample_weight, min_rows=2)
        return training_rows(self, X, sample_weight, reset=reset, allow_nan=True)

    def _samples(self, X):
        """Validated rows, or samples for the fitted estimator to validate."""
        check_fitted(self)
        if self._is_for_judge(X, getattr(self, "estimator_", None)):
            return loaded(X)
        return fitted_rows(self, X, allow_nan=True)

    def _is_for_judge(self, X, estimator):
        """Whether X comes in a form that only an autoencoder takes.

        Raises
        ------
        ValueError
            When there is no such autoencoder.
        """
        if estimator is not None:
            return in_own_shape(X) or is_list_of_arrays(X)
        if in_own_shape(X):
            raise ValueError(
                "X must be a table of shape (n_samples, n_features); these samples "
                "have more axes, or different lengths. Set estimator=ConvAE() for "
                "images and estimator=RecurrentAE() for sequences, or lay the samples "
                "out flat: X.reshape(len(X), -1)."
            )
        return False

    def _adjustment(self, X, weight):
        """A function that penalises missing values in calibration scores.

        It also stores the reference rows of `drift`."""
        self._missing = penalty = None
        if self.missing == "unusual":
            if not hasattr(X, "shape"):
                raise ValueError(
                    "missing='unusual' needs samples of one shape, with NaN for what "
                    "they lack; X is a list. Fill up the sequences or set "
                    "missing='median'."
                )
            penalty = MissingPenalty.of(X, weight)

        def adjust(scores, numbers, in_bag=None):
            if penalty is not None:
                self._missing = penalty.in_units_of(scores)
                scores = scores - self._missing.totals(X[numbers], training=True)
            self._reference = Reference.of(X, numbers, scores, weight, in_bag)
            return scores

        return adjust

    def _fit_estimator(self, X, weight, adjust):
        """Fit or take over the autoencoder, and its features."""
        names = getattr(self, "feature_names_in_", None)
        own_shape = self._is_for_judge(X, self.estimator)
        if own_shape:
            names = None
            vars(self).pop("feature_names_in_", None)
        try:
            # The autoencoder checks some of the samples, in another order.
            with entries_named(X):
                self._scorer, self._calibration = fit_estimator(
                    self.estimator, X, weight, self.random_state, names, adjust
                )
        except (TypeError, ValueError) as error:
            if own_shape:
                error.add_note(
                    f"estimator={type(self.estimator).__name__}() gets the samples as "
                    "they come in X. ConvAE takes images, RecurrentAE sequences."
                )
            raise
        self.estimator_ = self._scorer.estimator
        self.n_features_in_ = self.estimator_.n_features_in_
        self.n_iter_ = getattr(self.estimator_, "n_iter_", 1)
