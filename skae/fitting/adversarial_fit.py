"""One fit of an autoencoder whose codes a critic matches to a prior.

What differs from `Fit`: the module has a critic, players move in turns, and held-out
rows are judged by their codes too.
"""

import copy

import torch

from skae.fitting.autoencoder_fit import Fit
from skae.fitting.fit import finished_rounds
from skae.models.adversarial import MOVES, HeldOutMatch, Matching
from skae.parts.critics import DenseCritic
from skae.training.alternating import AlternatingTrainer

__all__ = ["MatchedFit"]

_CRITIC_LAYERS = (128, 128)
# More than rows are held out: the fewer the rows, the more chance decides already.
_N_TARGETS = 2000


class MatchedFit(Fit):
    """A fit of an `AdversarialAE` to validated rows."""

    critic = None

    def _module(self, codec, likelihood=None):
        parts = self.parts
        if self.critic is None:
            critic = DenseCritic(_CRITIC_LAYERS)
            critic = critic.build(codec.n_components, generator=self.generator)
            self.critic = critic.to(self.device)
        # A module with a likelihood of its own is a copy of the one in training.
        critic = self.critic if likelihood is None else copy.deepcopy(self.critic)
        return Matching(
            codec,
            self.likelihood if likelihood is None else likelihood,
            self.corruption,
            parts.prior,
            parts.penalties,
            critic=critic,
            matching_weight=self._matching_weight(),
        )

    def _restart(self, fitted, model):
        self.critic = model.critic
        return super()._restart(fitted, model)

    def _split(self, start, weight):
        index, judge = super()._split(start, weight)
        if judge is not None:
            seed = self.random_state.randint(2**31 - 1)
            generator = torch.Generator().manual_seed(int(seed))
            n_components = start.model.codec.n_components
            target = self.parts.prior.sample(_N_TARGETS, n_components, generator)
            judge = HeldOutMatch(judge, target.to(self.device))
        return index, judge

    def _new_trainer(self, model, **options):
        # The training loss is low where the critic is weak, not where codes match.
        options["keep_last"] = options["evaluate"] is None
        return AlternatingTrainer(model, moves=MOVES, **options)

    def _curves(self, trainer, earlier=None):
        losses = [row["critic_loss"] for row in finished_rounds(trainer)]
        if earlier is not None:
            losses = [*earlier.critic_loss_curve_, *losses]
        return {**super()._curves(trainer, earlier), "critic_loss_curve_": losses}

    def _matching_weight(self) -> float:
        weight = self.estimator.matching_weight
        return self.n_features / 4 if isinstance(weight, str) else weight
