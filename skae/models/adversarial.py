"""An autoencoder whose codes a critic matches to a prior.

`AlternatingTrainer` optimises `AdversarialAutoencoder` (Makhzani et al. 2015, arXiv
1511.05644); `PriorDistanceJudge` evaluates it on held-out rows. The critic gets codes
only, so it is small whatever the rows are.
"""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from skae.models.autoencoder import Autoencoder
from skae.models.gan import LOSSES, gradient_norms, weighted_mean
from skae.statistics.energy import energy_distance
from skae.training.alternating import OptimizerSettings
from skae.training.held_out import HoldOut

__all__ = ["OPTIMIZER_SETTINGS", "AdversarialAutoencoder", "PriorDistanceJudge"]

_GRADIENT_PENALTY = 0.01
_LOSS = LOSSES["non_saturating"]

# Codes move while the critic learns: high rate, little momentum, no average.
OPTIMIZER_SETTINGS = {
    "critic": OptimizerSettings(lr_factor=4.0, betas=(0.5, 0.99), ema_decay=0.0)
}


class AdversarialAutoencoder(Autoencoder):
    """An autoencoder and the critic of its codes, trained in turn.

    With D the critic and p the prior, the critic minimises the cross-entropy
    mean softplus(-D(z ~ p)) + mean softplus(D(encode(x))), with a penalty on its
    squared gradient norm at the prior's samples (Mescheder et al. 2018, arXiv
    1801.04406, R1); the autoencoder minimises
    nll(x) + matching_weight softplus(-D(encode(x))), the non-saturating loss.

    Parameters
    ----------
    *parts, **options
        As for `Autoencoder`; the prior has ``sample(n_samples, n_components,
        generator)``.
    critic : Module
    matching_weight : float
        Nats per sample for one nat of the critic's.
    """

    update_order = ("critic", "critic", "autoencoder")

    def __init__(self, *parts, critic: nn.Module, matching_weight: float, **options):
        super().__init__(*parts, **options)
        self.critic: Any = critic
        self.matching_weight = matching_weight

    @property
    def is_rowwise(self) -> bool:
        return super().is_rowwise and self.critic.row_group == 1

    @property
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of the critic and all others."""
        critic = dict(self.critic.named_parameters(prefix="critic"))
        others = [p for name, p in self.named_parameters() if name not in critic]
        return {"critic": list(critic.values()), "autoencoder": others}

    def reset(self) -> None:
        """Nothing but weights is kept from step to step."""

    def group_loss(
        self,
        name: str,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        *,
        generator: Generator,
    ) -> Tensor:
        """The loss of critic or autoencoder in nats, a scalar."""
        if name == "critic":
            return self._critic_loss(x, weight, x_tilde, generator)
        state = self.run(x, weight, x_tilde, generator=generator)
        loss = self.likelihood.nll(state.raw, x)
        for penalty in self.penalties:
            loss = loss + penalty(state)
        loss = loss + self.matching_weight * _LOSS.generated(self.critic(state.z))
        return weighted_mean(loss, weight)

    def begin_update(self, name: str) -> None:
        """Nothing changes from update to update."""

    row_loss = group_loss

    def _critic_loss(self, x, weight, x_tilde, generator) -> Tensor:
        with torch.no_grad():
            inputs = self.corruption(x, generator) if x_tilde is None else x_tilde
            code = self.codec.encode(inputs)
        prior = self.prior.sample(len(x), code.shape[1], generator).to(code)
        prior.requires_grad_()
        value = self.critic(prior)
        penalty = 0.5 * _GRADIENT_PENALTY * gradient_norms(value, prior).square()
        fake = weighted_mean(_LOSS.fake(self.critic(code)), weight)
        return (_LOSS.real(value) + penalty).mean() + fake


class PriorDistanceJudge(HoldOut):
    """Held-out rows, and how far their codes are from the prior.

    The loss of the rows plus ``matching_weight`` times the energy distance of their
    codes to samples of the prior, the same ones in every round.

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
