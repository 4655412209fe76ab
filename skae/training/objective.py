"""The loss as a formula of the five parts.

`Autoencoder` is the module that the trainer optimises and that estimators keep as
``net_``: one codec with its corruption, prior, likelihood and penalties. It returns
nats per sample; what a training step minimises is ``batch_loss``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor, nn

__all__ = ["Autoencoder", "State"]


@dataclass(frozen=True)
class State:
    """What one pass computed, handed to penalties.

    Attributes
    ----------
    x, x_tilde : Tensor of shape (..., n_features)
        Clean rows and what the encoder saw.
    h, z : Tensor of shape (..., n_components)
        The encoder's output and the code drawn from it.
    raw : Tensor of shape (..., n_features)
        The decoder's output, before the likelihood's mean.
    codec : Module
        With ``encode`` and ``decode``.
    generator : torch.Generator or None
        Where the pass draws from.
    weight : Tensor of shape (..., batch) or None
        Of the rows, in means over the batch.
    """

    x: Tensor
    x_tilde: Tensor
    h: Tensor
    z: Tensor
    raw: Tensor
    codec: nn.Module
    generator: Generator | None = None
    weight: Tensor | None = None


class Autoencoder(nn.Module):
    """loss = likelihood.nll(raw, x) + prior.divergence(h) + sum of penalties.

    Parameters
    ----------
    codec : Module
        ``encode(x) -> h`` and ``decode(z) -> raw``.
    likelihood, corruption, prior : parts
    penalties : sequence of parts, default=()
    """

    def __init__(
        self, codec: nn.Module, likelihood, corruption, prior, penalties: Sequence = ()
    ):
        super().__init__()
        self.codec: Any = codec
        self.likelihood = likelihood
        self.corruption = corruption
        self.prior = prior
        self.penalties = list(penalties)

    def forward(
        self,
        x: Tensor,
        generator: Generator | None = None,
        x_tilde: Tensor | None = None,
        weight: Tensor | None = None,
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
        """
        state = self.run(x, generator, x_tilde, weight)
        loss = self.likelihood.nll(state.raw, x) + self.prior.divergence(state.h)
        for penalty in self.penalties:
            loss = loss + penalty(state)
        return loss

    def batch_loss(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Weighted mean of the objective over a batch, for each member."""
        loss = self(x, generator, x_tilde, weight)
        return loss.mean(-1) if weight is None else (loss * weight).mean(-1)

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
    ) -> State:
        """One pass through corruption, encoder, prior and decoder."""
        if x_tilde is None:
            x_tilde = self.corruption(x, generator)
            if x_tilde.shape != x.shape:
                raise ValueError(
                    "corruption must return a tensor of the shape that came, "
                    f"{tuple(x.shape)}; it returned {tuple(x_tilde.shape)}."
                )
        h = self.codec.encode(x_tilde)
        z = self.prior.draw(h, generator)
        raw = self.codec.decode(z)
        return State(x, x_tilde, h, z, raw, self.codec, generator, weight)

    def nll(self, x: Tensor) -> Tensor:
        """Reconstruction term alone, of the clean rows, shape ``(..., batch)``."""
        return self.likelihood.nll(self.codec.decode(self.codec.encode(x)), x)
