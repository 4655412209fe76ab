"""How GANs are trained: what "auto" means, and which round is kept.

`GANFit` takes the settings of an architecture and its trainer from here.
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from skae.fitting.defaults import GANDefaults, defaults_for_gan
from skae.training.alternating import AlternatingTrainer

__all__ = ["GANTrainer", "Recipe", "apportioned", "recipe_of", "training_of"]

_PENALTIES = {
    "non_saturating": 0.03,
    "hinge": 0.03,
    "wasserstein_gp": 0.1,
    "relativistic": 0.03,
}


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained.

    Attributes
    ----------
    penalties : dict of str to float
        Weight of the penalty for each loss.
    lr : float
        Peak learning rate of networks that grow.
    penalty_interval : int
        Updates of the critic of which one has the penalty.
    growth : float
        Share of the training in which images grow.
    """

    penalties: dict[str, float]
    lr: float = 0.0
    penalty_interval: int = 1
    growth: float = 0.0


# Equalised weights are of size one, of which a rate is a smaller share.
_GROWING_PENALTIES = {
    "non_saturating": 0.01,
    "hinge": 0.01,
    "wasserstein_gp": 0.1,
    "relativistic": 0.003,
}
_RECIPES = {
    "dense": Recipe(_PENALTIES),
    "conv": Recipe(_PENALTIES, penalty_interval=4),
    "progressive": Recipe(_GROWING_PENALTIES, 1e-2, 16, growth=0.3),
    # Costs a twentieth of the time, for samples that vary more than with 16.
    "style": Recipe(_GROWING_PENALTIES, 2e-2, 4),
}


def recipe_of(architecture: str) -> Recipe:
    """The recipe of a `GAN`'s architecture."""
    return _RECIPES[architecture]


def training_of(architecture: str, n_samples: int) -> GANDefaults:
    """Batch, rate and length, by default."""
    if architecture == "dense":
        return defaults_for_gan(n_samples, is_conv=False)
    if architecture == "conv":
        return defaults_for_gan(n_samples, is_conv=True)
    n_steps = min(6000, max(500, n_samples // 2))
    return GANDefaults(64, n_steps, 15, recipe_of(architecture).lr)


def apportioned(index, out, context):
    """Numbers of training and of held-out rows, such that every class is trained on.

    Rows of classes that are all held out are trained on, unless there are no others.

    Parameters
    ----------
    index : ndarray of int or AllBut
        Sources stay as they are.
    out : ndarray of int or None
    context : ndarray of shape (n_samples, n_context) or None
        Columns of classes, or others.
    """
    if out is None or context is None or not isinstance(index, np.ndarray):
        return index, out
    is_missing = ~(context[index] != 0).any(axis=0)
    is_needed = (context[out][:, is_missing] != 0).any(axis=1)
    if is_needed.all():
        return index, out
    return np.concatenate([index, out[is_needed]]), out[~is_needed]


class GANTrainer(AlternatingTrainer):
    """Trainer of a `GANModule`.

    Rounds before images are whole choose no weights: the last of them is kept until the
    first round of whole images.

    Attributes
    ----------
    last_ : Tensor of shape (n_parameters,)
        Weights of the last step, which are not those that are kept.
    """

    last_: Tensor

    def _judge(self, number: int) -> bool:
        is_finite = super()._judge(number)
        if is_finite and not self.module_.is_grown:
            self._best = math.inf
        return is_finite

    def _is_kept(self, loss: float) -> bool:
        return not self.module_.is_grown or super()._is_kept(loss)

    def _record_losses(self):
        super()._record_losses()
        self.last_ = self.flat_.data.clone()
