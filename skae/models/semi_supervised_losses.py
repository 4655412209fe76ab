"""Losses by which rows without labels train a classifier, and the ladder's decoder.

A loss is called as ``loss(passes) -> (batch,)``, in nats or squared units of z per row,
and ``weight(progress)`` is its weight after a share of the training. `TwoPasses` holds
a clean and a noisy pass of the same rows. The clean pass is the target and carries no
gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from skae.models.combinator import combined
from skae.models.stack import Pass, normalised
from skae.parts.random_numbers import normal_numbers
from skae.rows.tensors import SINGLE

__all__ = [
    "Consistency",
    "GraphLabels",
    "LadderDecoder",
    "LadderReconstruction",
    "TwoPasses",
]


@dataclass(frozen=True)
class TwoPasses:
    """A batch of rows and what a network computed of it.

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

    @cached_property
    def nats(self) -> Tensor:
        """Minus the logarithm of each class's probability by the noisy pass."""
        return -self.noisy.logits.log_softmax(1)


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
        return 1.0

    def __call__(self, passes: TwoPasses) -> Tensor:
        """Summed over levels, shape ``(batch,)``."""
        estimates = passes.decoder(passes.noisy)
        targets = [passes.x, *passes.clean.z]
        weights = [self.input, self.first] + [self.rest] * (len(targets) - 2)
        loss: Any = 0.0
        for weight, z_hat, z in zip(weights, estimates, targets, strict=True):
            squares = functional.mse_loss(z_hat, z, reduction="none")
            loss = torch.add(loss, squares.sum(1), alpha=weight / z.shape[1])
        return loss


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
        return self.size * min(1.0, progress / self.ramp)

    def __call__(self, passes: TwoPasses) -> Tensor:
        """Nats, shape ``(batch,)``."""
        target = passes.clean.logits.softmax(1)
        return (target * passes.nats).sum(1)


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
        return self.size * (1 - self.fall * progress)

    def __call__(self, passes: TwoPasses) -> Tensor:
        """Nats, shape ``(batch,)``; zero where there is no graph."""
        if passes.target is None or passes.confidence is None:
            return passes.noisy.logits.new_zeros(len(passes.x))
        return passes.confidence * (passes.target * passes.nats).sum(1)


class LadderDecoder(nn.Module):
    """Estimates the clean z of every level of a stack from a noisy pass.

    Rasmus et al. (2015), *Semi-supervised learning with ladder networks*, arXiv
    1507.02672. From the top down, each level combines the noisy z of the encoder with a
    projection u of the level above, so an upper layer need not carry details that
    matter for the reconstruction alone.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the stack, from its input to the logits.
    generator : torch.Generator

    Shape
    -----
    A `Pass` of the stack to a list of tensors ``(batch, size)``, input first.
    """

    def __init__(self, sizes: Sequence[int], generator: Generator):
        super().__init__()
        self.weights = nn.ParameterList(
            normal_numbers((upper, lower), generator) * upper**-0.5
            for lower, upper in pairwise(sizes)
        )
        self.combinators = nn.ModuleList(_Combinator(size) for size in sizes)

    def forward(self, noisy: Pass) -> list[Tensor]:
        levels = [noisy.x, *noisy.z]
        u = normalised(noisy.logits.softmax(1))
        estimates = [self.combinators[-1](levels[-1], u)]
        for level in range(len(levels) - 2, -1, -1):
            u = normalised(estimates[0] @ self.weights[level])
            estimates.insert(0, self.combinators[level](levels[level], u))
        return estimates


class _Combinator(nn.Module):
    """g(z_tilde, u) = (z_tilde - mu(u)) v(u) + mu(u), the paper's appendix B.

    mu and v are a line plus a sigmoid in u, with parameters of each unit's own.
    """

    def __init__(self, size: int):
        super().__init__()
        start = torch.tensor([0.0, 1, 0, 0, 0, 0, 1, 0, 0, 0], **SINGLE)
        self.parameters_of_units = nn.Parameter(start[:, None].repeat(1, size))

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        return combined(z, u, self.parameters_of_units)
