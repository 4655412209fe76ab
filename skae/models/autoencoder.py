"""The loss as a formula of the five parts.

`Autoencoder` is the module that the trainer optimises and that estimators keep as
``net_``: one codec with its corruption, prior, likelihood and penalties. It returns
nats per sample; what a training step minimises is ``batch_loss``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from skae.models.autoencoder_gradient import ExplicitGradient, supports
from skae.parts.base import Batch, Codec, State, are_rowwise
from skae.training.stepped import SteppedModule

__all__ = ["Autoencoder"]


class Autoencoder(SteppedModule):
    """loss = likelihood.nll(raw, x) + prior.divergence(h) + sum of penalties.

    Parameters
    ----------
    codec : Codec
    likelihood, corruption, prior : parts, bound to the columns of X
    penalties : sequence of parts, default=()
    sample_shape : tuple of int, optional
        Shape in which the corruption sees a sample; flat rows where left out.
    kl_warmup : float, default=0.0
        Share of the training over which the divergence's weight rises to one.
    hidden_context : float, default=0.0
        Share of the rows whose context the encoder does not see in training, so that it
        can do without.

    Shape
    -----
    The passes take a `Batch`: rows x ``(..., batch, n_features)`` in model units, row
    weights ``(..., batch)``, which penalties use for means over the batch, what the
    encoder sees instead of the corrupted x, of x's shape, and the condition
    ``(..., batch, n_context)``; what is random is drawn from the generator.
    """

    def __init__(
        self,
        codec: Codec,
        likelihood,
        corruption,
        prior,
        penalties: Sequence = (),
        *,
        sample_shape: tuple[int, ...] | None = None,
        kl_warmup: float = 0.0,
        hidden_context: float = 0.0,
    ):
        super().__init__()
        self.codec: Any = codec
        self.likelihood = likelihood
        self.corruption = corruption
        self.prior = prior
        self.penalties = list(penalties)
        self.sample_shape = sample_shape
        self.kl_warmup = kl_warmup
        self.hidden_context = hidden_context

    def forward(self, x, weight=None, x_tilde=None, context=None, *, generator=None):
        """Objective of each row, shape ``(..., batch)``, in nats, not weighted."""
        state = self.run(x, weight, x_tilde, context, generator=generator)
        divergence = self.prior.divergence(state.h)
        loss = self.likelihood.nll(state.raw, x) + self.kl_weight() * divergence
        for penalty in self.penalties:
            loss = loss + penalty(state)
        return loss

    def batch_loss(self, x, weight=None, x_tilde=None, context=None, *, generator=None):
        """Weighted mean of the objective over a batch, for each member."""
        loss = self(x, weight, x_tilde, context, generator=generator)
        return loss.mean(-1) if weight is None else (loss * weight).mean(-1)

    def run(self, x, weight=None, x_tilde=None, context=None, *, generator=None):
        """One pass through corruption, encoder, prior and decoder, as a `State`."""
        if x_tilde is None:
            x_tilde = self.corrupted(x, generator)
        encoder_context = self.encoder_context(context, generator)
        h = self.codec.encode(x_tilde, *_if_any(encoder_context))
        z = self.prior.draw(h, generator)
        raw = self.codec.decode(z, *_if_any(context))
        return State(x, x_tilde, h, z, raw, self.codec, generator, weight, context)

    def confine(self, limits: Tensor | None) -> None:
        """Keep what is decoded between two rows, ``(2, n_features)``; None for any.

        The passes of a training stay free, and so do raw outputs that are no rows.
        """
        own = next(self.parameters())
        self.register_buffer("bounds", None if limits is None else limits.to(own))

    @property
    def limits(self) -> Tensor | None:
        """The smallest and the largest row that is decoded, or None for any."""
        return self._buffers.get("bounds")

    @property
    def members(self) -> int | None:
        """How many models the codec holds along a leading axis."""
        return self.codec.members

    @property
    def is_rowwise(self) -> bool:
        """Whether a row's objective depends on that row alone."""
        parts = self.codec, self.likelihood, self.corruption, self.prior
        return are_rowwise(*parts, *self.penalties)

    def gradient(self, generator: Generator | None) -> ExplicitGradient | None:
        """The gradient written out by hand, or None where autograd has to do."""
        return ExplicitGradient(self, generator) if supports(self) else None

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Those of the codec that are under weight decay."""
        return self.codec.decayed_parameters()

    def corrupted(self, x: Tensor, generator: Generator | None) -> Tensor:
        """What the encoder sees of rows x in training.

        Raises
        ------
        ValueError
            When the corruption changes the shape.
        """
        shape = self.sample_shape or x.shape[-1:]
        samples = x.unflatten(-1, shape) if len(shape) > 1 else x
        x_tilde = self.corruption(samples, generator)
        if x_tilde.shape != samples.shape:
            raise ValueError(
                "corruption must return a tensor of the shape that came, "
                f"{tuple(samples.shape)}; it returned {tuple(x_tilde.shape)}."
            )
        return x_tilde.flatten(-len(shape)) if len(shape) > 1 else x_tilde

    def kl_weight(self) -> float | Tensor:
        """Weight of the divergence: rising in training, one afterwards."""
        if not self.training or not self.kl_warmup:
            return 1.0
        (weight,) = self.scheduled or self.numbers_at(self.progress)
        return weight

    def numbers_at(self, progress: float) -> tuple[float, ...]:
        """The weight of the divergence, where that changes."""
        return (min(1.0, progress / self.kl_warmup),) if self.kl_warmup else ()

    def encoder_context(
        self, context: Tensor | None, generator: Generator | None
    ) -> Tensor | None:
        """What the encoder sees of the context: in training zeros for some rows."""
        if context is None or not self.training or not self.hidden_context:
            return context
        shape = *context.shape[:-1], 1
        device = context.device if generator is None else generator.device
        draw = torch.rand(
            shape, generator=generator, dtype=torch.float32, device=device
        ).to(context)
        return context * (draw >= self.hidden_context)

    def code(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The code of clean rows, deterministic."""
        return self.prior.location(self.codec.encode(x, *_if_any(context)))

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output for clean rows, deterministic."""
        return self.decode(self.code(x, context), context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output of codes, deterministic, within the limits."""
        raw = self.codec.decode(z, *_if_any(context))
        limits = self.limits
        return raw if limits is None else self.likelihood.within(raw, *limits)

    def log_likelihood(self, x: Tensor, scale: Tensor) -> Tensor:
        """Of clean rows given their codes, in X's units, shape ``(..., batch)``.

        Parameters
        ----------
        x : Tensor of shape (..., batch, n_features), in model units
        scale : Tensor of shape (n_features,), float64
            Units of X's columns.
        """
        return self.likelihood.log_likelihood(self.reconstruct(x), x, scale)

    def check(self, batch: Batch) -> None:
        """Check on a few rows that the parts fit together.

        Raises
        ------
        ValueError
            If the parts do not return one number per row.
        """
        generator = Generator(batch.x.device).manual_seed(0)
        with torch.no_grad():
            loss = self(*batch, generator=generator)
        lead = () if self.members is None else (self.members,)
        if loss.shape != (*lead, batch.x.shape[-2]):
            parts = [self.likelihood, self.prior, *self.penalties]
            names = ", ".join(type(part).__name__ for part in parts)
            raise ValueError(
                f"likelihood.nll, prior.divergence and penalties ({names}) must give "
                f"one number a row, here {math.prod(batch.x.shape[:-1])}; the sum has "
                f"the shape {tuple(loss.shape)}."
            )


def _if_any(context: Tensor | None) -> tuple[Tensor, ...]:
    return () if context is None else (context,)
