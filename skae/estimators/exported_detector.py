"""Methods of a detector as torch modules: scores, labels, p-values.

`AEOutlierDetector` inherits it; what the modules compute is in
`skae.exporting.detection`.
"""

import numpy as np
from sklearn.frozen import FrozenEstimator

from skae.estimators.exportable import Exportable
from skae.exporting.detection import (
    Detection,
    EnsembleScore,
    Inlier,
    Offset,
    Penalty,
    PValue,
)
from skae.exporting.ends import Labels, RowUnits, Scores
from skae.exporting.fitted_function import FittedFunction

__all__ = ["ExportedDetector"]

_LABELS = np.array([-1, 1])


class ExportedDetector(Exportable):
    """Methods of a detector as modules."""

    def to_torch(self, method="score_samples"):
        """A method of the fitted detector as a torch module, in X's own units.

        Parameters
        ----------
        method : {"score_samples", "decision_function", "predict", "p_values"}, \
default="score_samples"

        Returns
        -------
        module : torch.nn.Module
            Takes rows as a float tensor, NaN for missing values, or what an
            ``estimator`` takes; gives float64 scores, int64 labels, +1 and -1. On the
            estimator's device, in evaluation mode, with weights and the threshold of
            now; scores are differentiable with respect to the rows.
            ``example_inputs`` has a few samples.

        Raises
        ------
        ValueError
            When there is no such method, or the ``estimator`` has no module for its
            ``score_samples``.

        Notes
        -----
        Scores equal the detector's up to rounding, about 1e-6 of them. In ``predict``
        and ``p_values`` rounding does not count against a row: the training row that
        sets the threshold is no outlier. Rows that the detector refuses, with infinity
        or, by an ``estimator``, with NaN, have the score NaN and the label -1.

        Examples
        --------
        >>> import numpy as np, torch
        >>> from skae import AEOutlierDetector
        >>> X = np.random.default_rng(0).normal(size=(500, 4))
        >>> detector = AEOutlierDetector(random_state=0).fit(X)
        >>> predict = detector.to_torch("predict")
        >>> predict(torch.tensor([[0.0, 0, 0, 0], [0, 9, 0, 0]]))
        tensor([ 1, -1])
        """
        return super().to_torch(method)

    def _exports(self):
        scores, calibration = self._score_function(), self._calibration
        penalty = None if self._missing is None else Penalty(self._missing)
        decisions = {
            "score_samples": (Offset(0.0), Scores()),
            "decision_function": (Offset(self.offset_), Scores()),
            "predict": (Inlier(self.offset_, calibration), Labels(_LABELS)),
            "p_values": (PValue(calibration), Scores(step=calibration.largest_step)),
        }
        return {
            name: Detection(scores, penalty, *decision)
            for name, decision in decisions.items()
        }

    def _score_function(self):
        """The scores as a module, without the penalty for missing values."""
        estimator = self._inner_estimator
        if estimator is None:
            units = self._scorer.units
            rows = RowUnits(units.center, units.linear_scale)
            return FittedFunction(rows, EnsembleScore(self._scorer), Scores())
        if not isinstance(estimator, Exportable):
            raise ValueError(
                f"estimator={type(estimator).__name__}() has no to_torch; a detector "
                "is a module with an autoencoder of skae as its estimator, or without."
            )
        return estimator.to_torch("score_samples")

    @property
    def _inner_estimator(self):
        """The fitted autoencoder whose scores are taken, or None."""
        estimator = getattr(self, "estimator_", None)
        is_frozen = isinstance(estimator, FrozenEstimator)
        return estimator.estimator if is_frozen else estimator

    @property
    def _device(self):
        estimator = self._inner_estimator
        if estimator is None:
            return self._scorer.device
        return next(estimator.net_.parameters()).device
