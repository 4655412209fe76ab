"""Codes that a critic can not tell from samples of a prior.

`Matching` is the module that `AlternatingTrainer` optimises for it, an `Autoencoder`
with a critic of its codes (Makhzani et al. 2015, arXiv 1511.05644); `HeldOutMatch`
judges it on rows set aside. The critic sees codes only, so that it is small whatever
the rows are.
"""

import torch
from torch import Generator, Tensor, nn

from skae.models.autoencoder import Autoencoder
from skae.models.gan import LOSSES, slopes, weighted_mean
from skae.parts.base import Codec
from skae.statistics.energy import energy_distance
from skae.training.alternating import Move
from skae.training.held_out import HoldOut

__all__ = ["MOVES", "HeldOutMatch", "Matching"]

_GRADIENT_PENALTY = 0.01
_LOSS = LOSSES["non_saturating"]

# The critic has to keep up with codes that move, and forgets sooner where they were.
MOVES = {"critic": Move(rate=4.0, betas=(0.5, 0.99), ema_decay=0.0)}


class Matching(Autoencoder):
    """An autoencoder and the critic of its codes, who train in turns.

    With D the critic and p the prior, the critic lowers the cross-entropy
    mean softplus(-D(z ~ p)) + mean softplus(D(encode(x))), with a penalty on its
    squared slope at the prior's samples (Mescheder et al. 2018, arXiv 1801.04406, R1);
    the autoencoder lowers
    nll(x) + matching_weight softplus(-D(encode(x))), the non-saturating loss.

    Parameters
    ----------
    codec, likelihood, corruption, prior, penalties :
        As for `Autoencoder`; the prior has ``sample(n_samples, n_components,
        generator)``.
    critic : Module
    matching_weight : float
        Nats per sample for one nat of the critic's.
    """

    turns = ("critic", "critic", "autoencoder")

    def __init__(
        self,
        codec: Codec,
        likelihood,
        corruption,
        prior,
        penalties=(),
        *,
        critic: nn.Module,
        matching_weight: float,
    ):
        super().__init__(codec, likelihood, corruption, prior, penalties)
        self.critic = critic
        self.matching_weight = matching_weight

    @property
    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of the critic and all others."""
        critic = list(self.critic.parameters())
        own = {id(parameter) for parameter in critic}
        others = [p for p in self.parameters() if id(p) not in own]
        return {"critic": critic, "autoencoder": others}

    def turn_loss(
        self,
        name: str,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        *,
        generator: Generator,
    ) -> Tensor:
        """What a player lowers in its turn, in nats, shape ``()``."""
        if name == "critic":
            return self._critic_loss(x, weight, x_tilde, generator)
        state = self.run(x, weight, x_tilde, generator=generator)
        loss = self.likelihood.nll(state.raw, x)
        for penalty in self.penalties:
            loss = loss + penalty(state)
        loss = loss + self.matching_weight * _LOSS.generated(self.critic(state.z))
        return weighted_mean(loss, weight)

    def _critic_loss(self, x, weight, x_tilde, generator) -> Tensor:
        with torch.no_grad():
            seen = self.corruption(x, generator) if x_tilde is None else x_tilde
            code = self.codec.encode(seen)
        real = self.prior.sample(len(x), code.shape[1], generator).to(code)
        real.requires_grad_()
        of_real = self.critic(real)
        penalty = 0.5 * _GRADIENT_PENALTY * slopes(of_real, real).square()
        of_code = weighted_mean(_LOSS.fake(self.critic(code)), weight)
        return (_LOSS.real(of_real) + penalty).mean() + of_code


class HeldOutMatch(HoldOut):
    """Rows set aside, and how far their codes are from the prior.

    The objective of the rows plus ``matching_weight`` times the energy distance of
    their codes to samples of the prior, the same ones in every round.

    Parameters
    ----------
    held_out : HoldOut
    target : Tensor of shape (n_samples, n_components)
    """

    def __init__(self, held_out: HoldOut, target: Tensor):
        super().__init__(held_out.x, held_out.weight, x_tilde=held_out.x_tilde)
        self.target = target

    def __call__(self, model) -> float:
        """Nats per sample; lower is better."""
        with torch.no_grad():
            code = model.code(self.x)
        distance = float("nan")
        if torch.isfinite(code).all():
            distance = energy_distance(code, self.target, self.weight)
        return super().__call__(model) + model.matching_weight * distance
