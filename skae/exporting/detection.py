"""What methods of an outlier detector compute, from X to scores, labels and p-values.

`Detection` adds a decision to a function of X that computes scores: the ensemble's, of
which `EnsembleScore` is the body, or the ``score_samples`` of an autoencoder. The
formulas are those of ``skae/outliers``; nothing here knows an estimator.
"""

from typing import Any

import torch
from torch import Tensor, nn

from skae.outliers.calibration import Calibration
from skae.outliers.missing_values import MissingPenalty, nats
from skae.outliers.robust_units import logarithmic
from skae.outliers.scorers import EnsembleScorer
from skae.rows.tensors import as_double
from skae.statistics.ranks import n_below

__all__ = ["Detection", "EnsembleScore", "Inlier", "Offset", "Penalty", "PValue"]

# Share of a score that rounding may change: the training row that sets the threshold
# must not be flagged by it.
_ROUNDING = 1e-6


class Detection(nn.Module):
    """A decision on the scores of samples, after a penalty for missing values.

    Parameters
    ----------
    scores : FittedFunction
        Of X, higher for more normal samples.
    penalty : Penalty or None
    decision : Module
        Of float64 scores.
    output : Module
        The end of the decision's results.

    Shape
    -----
    X : as for ``scores``; results : ``(batch,)``.
    """

    example_inputs: tuple[Tensor, ...] = ()
    condition = None
    requires_y = False

    def __init__(
        self,
        scores: nn.Module,
        penalty: "Penalty | None",
        decision: nn.Module,
        output: nn.Module,
    ):
        super().__init__()
        self.scores: Any = scores
        self.penalty: Any = penalty
        self.decision: Any = decision
        self.output: Any = output

    @property
    def input(self) -> Any:
        """The end of the samples."""
        return self.scores.input

    def forward(self, X: Tensor) -> Tensor:
        return self.decide(self.score(X), X.dtype)

    def score(self, X: Tensor) -> Tensor:
        """Scores, float64, the same for all decisions of a detector."""
        scores, entries = self.scores(X).double(), X.flatten(1)
        if self.penalty is not None:
            scores = scores - self.penalty(entries.isnan())
        # Detectors refuse infinity.
        return scores.masked_fill(entries.isinf().any(1), torch.nan)

    def decide(self, scores: Tensor, dtype: torch.dtype) -> Tensor:
        """The decision on scores of samples in this dtype."""
        return self.output.to_user(self.decision(scores), dtype)


class EnsembleScore(nn.Module):
    """The ensemble's scores of rows (X - center) / linear_scale of its robust units.

    The weights are the scorer's own, follow the buffers from device to device and stay
    in single precision. They are not in the ``state_dict``, which fits this ensemble
    only.
    """

    limit: Tensor

    def __init__(self, scorer: EnsembleScorer):
        super().__init__()
        self._stack(scorer)
        self.register_buffer("limit", scorer.units.linear_limit.to(scorer.device))

    def forward(self, z: Tensor) -> Tensor:
        return -self.scorer.errors(logarithmic(z, self.limit).float())

    def get_extra_state(self) -> Tensor:
        """The members' typical errors, by which another ensemble is recognised."""
        return torch.cat([member.typical for member in self.scorer.members])

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the state of another ensemble.

        Raises
        ------
        ValueError
            When it is not this one's.
        """
        own = self.get_extra_state()
        if not torch.equal(own, state.to(own)):
            raise ValueError(
                "The state_dict is of another detector, and has no weights of its "
                "members. Pickle the module, or make it anew with to_torch."
            )

    def _apply(self, fn, recurse=True):
        module = super()._apply(fn, recurse)
        self._stack(self.scorer.on(self.limit.device))
        return module

    def _stack(self, scorer):
        """Stack the members now: an export cannot trace it."""
        scorer.ensemble  # noqa: B018
        self.scorer = scorer

    def __setstate__(self, state):
        super().__setstate__(state)
        self._stack(self.scorer)


class Penalty(nn.Module):
    """The penalty for missing values, subtracted from the scores of new rows.

    Shape
    -----
    missing : bool, ``(batch, n_features)``; penalty : float64, ``(batch,)``
    """

    n_missing: Tensor
    levels: Tensor
    above: Tensor

    def __init__(self, penalty: MissingPenalty):
        super().__init__()
        for name in ("n_missing", "levels", "above"):
            self.register_buffer(name, as_double(getattr(penalty, name)).clone())
        self.unit = float(penalty.unit)
        self.typical = float(penalty.typical)

    def forward(self, missing: Tensor) -> Tensor:
        missing = missing.double()
        rarity = missing @ (1 / (self.n_missing + 1))
        surprise = nats(rarity, self.levels, self.above, own=1)
        return self.unit * surprise + self.typical * missing.sum(1)


class Offset(nn.Module):
    """Scores above a threshold."""

    def __init__(self, threshold: float):
        super().__init__()
        self.threshold = threshold

    def forward(self, scores: Tensor) -> Tensor:
        return scores - self.threshold


class Inlier(nn.Module):
    """One for scores from the threshold on; zero below, and for NaN.

    Scores that only rounding may have put below it count as one.
    """

    def __init__(self, threshold: float, calibration: Calibration):
        super().__init__()
        self.lowest = threshold - _rounding(calibration, threshold)

    def forward(self, scores: Tensor) -> Tensor:
        return (scores >= self.lowest).long()


class PValue(nn.Module):
    """Share of calibration scores, the new one included, that are no higher.

    NaN for NaN.
    """

    scores: Tensor
    values: Tensor

    def __init__(self, calibration: Calibration):
        super().__init__()
        scores, values = map(as_double, calibration.tables)
        self.register_buffer("scores", scores.clone())
        self.register_buffer("values", values.clone())
        self.rounding = _rounding(calibration)

    def forward(self, scores: Tensor) -> Tensor:
        rank = n_below(self.scores, scores + self.rounding, or_equal=True)
        return self.values[rank].masked_fill(scores.isnan(), torch.nan)


def _rounding(calibration: Calibration, threshold: float = 0.0) -> float:
    """What rounding may change of a score."""
    median = float(calibration.scores[len(calibration.scores) // 2])
    return _ROUNDING * max(abs(median), abs(threshold))
