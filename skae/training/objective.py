"""The loss as a formula of the five parts.

`Autoencoder` is the module that the trainer optimises and that estimators keep as
``net_``: one codec with its corruption, prior, likelihood and penalties. It returns
nats per sample; what a training step minimises is ``batch_loss``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from skae.training.explicit import ExplicitGradient, supports

__all__ = ["Autoencoder", "State"]


@dataclass(frozen=True)
class State:
    """What one pass computed, handed to penalties.

    Attributes
    ----------
    x, x_tilde : Tensor of shape (..., n_features)
        Clean rows and what the encoder saw.
    h : Tensor of shape (..., n_outputs)
        The encoder's output.
    z : Tensor of shape (..., n_components)
        The code drawn from it.
    raw : Tensor of shape (..., n_features)
        The decoder's output, before the likelihood's mean.
    codec : Module
        With ``encode`` and ``decode``.
    generator : torch.Generator or None
        Where the pass draws from.
    weight : Tensor of shape (..., batch) or None
        Of the rows, in means over the batch.
    context : Tensor of shape (..., batch, n_context) or None
        What is known of the rows.
    """

    x: Tensor
    x_tilde: Tensor
    h: Tensor
    z: Tensor
    raw: Tensor
    codec: nn.Module
    generator: Generator | None = None
    weight: Tensor | None = None
    context: Tensor | None = None


class Autoencoder(nn.Module):
    """loss = likelihood.nll(raw, x) + prior.divergence(h) + sum of penalties.

    Parameters
    ----------
    codec : Module
        ``encode(x) -> h`` and ``decode(z) -> raw``; with a context both take it as a
        second argument.
    likelihood, corruption, prior : parts
    penalties : sequence of parts, default=()
    warmup : float, default=0.0
        Share of the training over which the divergence's weight rises to one.
    hidden_context : float, default=0.0
        Share of the rows whose context the encoder does not see in training, so that it
        can do without.

    Attributes
    ----------
    progress : float
        Share of the training that is done after the coming step; the trainer counts.
    """

    def __init__(
        self,
        codec: nn.Module,
        likelihood,
        corruption,
        prior,
        penalties: Sequence = (),
        *,
        warmup: float = 0.0,
        hidden_context: float = 0.0,
    ):
        super().__init__()
        self.codec: Any = codec
        self.likelihood = likelihood
        self.corruption = corruption
        self.prior = prior
        self.penalties = list(penalties)
        self.warmup = warmup
        self.hidden_context = hidden_context
        self.progress = 1.0

    def forward(
        self,
        x: Tensor,
        generator: Generator | None = None,
        x_tilde: Tensor | None = None,
        weight: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Objective of each row, shape ``(..., batch)``, in nats.

        Parameters
        ----------
        x : Tensor of shape (..., batch, n_features), in model units
            The target.
        generator : torch.Generator, optional
            Where corruption, prior and penalties draw from.
        x_tilde : Tensor of x's shape, optional
            What the encoder sees; the corrupted target where left out.
        weight : Tensor of shape (..., batch), optional
            Of the rows, for penalties on means over the batch; the objectives
            themselves are not weighted.
        context : Tensor of shape (..., batch, n_context), optional
            What encoder and decoder know of the rows.
        """
        state = self.run(x, generator, x_tilde, weight, context)
        divergence = self.prior.divergence(state.h)
        loss = self.likelihood.nll(state.raw, x) + self.warmth() * divergence
        for penalty in self.penalties:
            loss = loss + penalty(state)
        return loss

    def batch_loss(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        context: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Weighted mean of the objective over a batch, for each member."""
        loss = self(x, generator, x_tilde, weight, context)
        return loss.mean(-1) if weight is None else (loss * weight).mean(-1)

    def gradient(self, generator: Generator | None = None):
        """The gradient by hand where there is one, else None: autograd."""
        return ExplicitGradient(self, generator) if supports(self) else None

    @property
    def members(self) -> int | None:
        """How many models the codec holds along a leading axis."""
        return getattr(self.codec, "members", None)

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Those under weight decay: all, unless the codec knows better."""
        codec = self.codec
        return list(getattr(codec, "decayed_parameters", codec.parameters)())

    def run(
        self,
        x: Tensor,
        generator: Generator | None = None,
        x_tilde: Tensor | None = None,
        weight: Tensor | None = None,
        context: Tensor | None = None,
    ) -> State:
        """One pass through corruption, encoder, prior and decoder."""
        if x_tilde is None:
            x_tilde = self.corruption(x, generator)
            if x_tilde.shape != x.shape:
                raise ValueError(
                    "corruption must return a tensor of the shape that came, "
                    f"{tuple(x.shape)}; it returned {tuple(x_tilde.shape)}."
                )
        seen = self.seen_context(context, generator)
        h = self.codec.encode(x_tilde, *_given(seen))
        z = self.prior.draw(h, generator)
        raw = self.codec.decode(z, *_given(context))
        return State(x, x_tilde, h, z, raw, self.codec, generator, weight, context)

    def warmth(self) -> float:
        """Weight of the divergence in the coming training step, else one."""
        if not self.training or not self.warmup:
            return 1.0
        return min(1.0, self.progress / self.warmup)

    def seen_context(
        self, context: Tensor | None, generator: Generator | None
    ) -> Tensor | None:
        """What the encoder sees of the context: in training zeros for some rows."""
        if context is None or not self.training or not self.hidden_context:
            return context
        shape = *context.shape[:-1], 1
        device = context.device if generator is None else generator.device
        draw = torch.rand(shape, generator=generator, device=device).to(context)
        return context * (draw >= self.hidden_context)

    def code(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """z of clean rows, without chance."""
        return self.prior.location(self.codec.encode(x, *_given(context)))

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output for clean rows, without chance."""
        return self.codec.decode(self.code(x, context), *_given(context))

    def nll(self, x: Tensor) -> Tensor:
        """Reconstruction term alone, of the clean rows, shape ``(..., batch)``."""
        return self.likelihood.nll(self.reconstruct(x), x)


def _given(context: Tensor | None) -> tuple[Tensor, ...]:
    return () if context is None else (context,)
