"""Terms by which rows without labels teach a classifier.

A term is called as ``term(state) -> (batch,)`` in nats, or squared units of z, per row
and says by ``weight(progress)`` how much it counts when a share of the training is
over. `Evidence` is the state: what one clean and one noisy pass of the same rows
computed. The clean pass carries no gradient: it is the target.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from skae.models.stack import Pass

__all__ = ["Consistency", "Evidence", "GraphLabels", "LadderReconstruction"]


class Evidence(NamedTuple):
    """What terms see of a batch.

    Attributes
    ----------
    clean, noisy : Pass
    decoder : Module
        Maps the noisy pass to estimates of the clean levels, input first.
    x : Tensor of shape (batch, n_in)
        The clean rows.
    target : Tensor of shape (batch, n_classes) or None
        Class probabilities from a graph.
    confidence : Tensor of shape (batch,) or None
        Of the target, in [0, 1].
    """

    clean: Pass
    noisy: Pass
    decoder: nn.Module
    x: Tensor
    target: Tensor | None = None
    confidence: Tensor | None = None


@dataclass(frozen=True)
class LadderReconstruction:
    """Squared error of the ladder's estimates (Rasmus et al. 2015, equation 3).

    Estimates are compared as they are; the paper normalises them by the clean pass's
    statistics first.

    Parameters
    ----------
    input, first, rest : float
        Weights of the input, of the first layer and of all others; each counts the
        mean over its units.
    """

    input: float = 5.0
    first: float = 0.5
    rest: float = 0.01

    def weight(self, progress: float) -> float:
        """One throughout."""
        return 1.0

    def __call__(self, state: Evidence) -> Tensor:
        """Summed over levels, shape ``(batch,)``."""
        estimates = state.decoder(state.noisy)
        targets = [state.x, *state.clean.z]
        weights = [self.input, self.first] + [self.rest] * (len(targets) - 2)
        return sum(
            (
                weight * F.mse_loss(estimate, target, reduction="none").mean(1)
                for weight, estimate, target in zip(
                    weights, estimates, targets, strict=True
                )
            ),
            start=targets[0].new_zeros(()),
        )


@dataclass(frozen=True)
class Consistency:
    """Cross-entropy of the noisy prediction to the clean one.

    Parameters
    ----------
    size : float
        Weight once ramped up.
    ramp : float
        Share of the training over which it rises from zero.
    """

    size: float = 1.0
    ramp: float = 0.3

    def weight(self, progress: float) -> float:
        """Rises linearly to ``size``."""
        return self.size * min(1.0, progress / self.ramp)

    def __call__(self, state: Evidence) -> Tensor:
        """Nats, shape ``(batch,)``."""
        target = state.clean.logits.softmax(1)
        return -(target * state.noisy.logits.log_softmax(1)).sum(1)


@dataclass(frozen=True)
class GraphLabels:
    """Cross-entropy of the noisy prediction to labels from a graph, by confidence.

    Parameters
    ----------
    size : float
        Weight at the start.
    fall : float
        Share of it that is gone at the end.
    """

    size: float = 1.0
    fall: float = 0.9

    def weight(self, progress: float) -> float:
        """Falls linearly."""
        return self.size * (1 - self.fall * progress)

    def __call__(self, state: Evidence) -> Tensor:
        """Nats, shape ``(batch,)``; zero where there is no graph."""
        if state.target is None or state.confidence is None:
            return state.noisy.logits.new_zeros(len(state.x))
        loss = -(state.target * state.noisy.logits.log_softmax(1)).sum(1)
        return state.confidence * loss
