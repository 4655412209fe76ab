"""One fit of an autoencoder whose codes a critic matches to a prior.

`AdversarialFit` differs from `Fit` in its module, which has a critic and is trained in
alternation, and in its judge, which compares held-out codes with the prior.
"""

import copy

import torch

from skae.fitting.autoencoder_fit import Fit
from skae.fitting.fit import value_or_default
from skae.fitting.gan_fit import critic_loss_curve
from skae.models.adversarial import (
    OPTIMIZER_SETTINGS,
    AdversarialAutoencoder,
    PriorDistanceJudge,
)
from skae.parts.critics import DenseCritic
from skae.training.alternating import AlternatingTrainer

__all__ = ["AdversarialFit"]

_CRITIC_LAYERS = (128, 128)
# More than rows are held out: chance matters more with fewer of either.
_N_TARGETS = 2000


class AdversarialFit(Fit):
    """A fit of an `AdversarialAE` to validated rows."""

    critic = None

    def _module(self, codec, likelihood=None):
        if self.critic is None:
            critic = DenseCritic(_CRITIC_LAYERS)
            critic = critic.build(codec.n_components, generator=self.generator)
            self.critic = critic.to(self.device)
        weight = value_or_default(self.estimator.matching_weight, self.n_features / 4)
        # A module with a likelihood of its own is a copy of the one in training.
        critic = self.critic if likelihood is None else copy.deepcopy(self.critic)
        return AdversarialAutoencoder(
            codec,
            self.likelihood if likelihood is None else likelihood,
            self.corruption,
            self.parts.prior,
            self.parts.penalties,
            critic=critic,
            matching_weight=weight,
        )

    def _restart(self, fitted, model):
        self.critic = model.critic
        return super()._restart(fitted, model)

    def _split(self, start, weight):
        index, judge = super()._split(start, weight)
        if judge is not None:
            seed = self.random_state.randint(2**31 - 1)
            generator = torch.Generator("cpu").manual_seed(int(seed))
            n_components = start.model.codec.n_components
            target = self.parts.prior.sample(_N_TARGETS, n_components, generator)
            judge = PriorDistanceJudge(judge, target.to(self.device))
        return index, judge

    def _new_trainer(self, model, **options):
        # The training loss is low where the critic is weak, not where codes match.
        options["keep_last"] = options["evaluate"] is None
        return AlternatingTrainer(model, settings=OPTIMIZER_SETTINGS, **options)

    def _curves(self, trainer, earlier=None):
        curve = critic_loss_curve(trainer, earlier)
        return {**super()._curves(trainer, earlier), "critic_loss_curve_": curve}
