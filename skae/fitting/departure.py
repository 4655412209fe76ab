"""How far a trained model may leave the PCA that it started as.

Held-out rows (`skae.training.held_out`) decide what is kept of the learned correction:
it is shrunk as serves them best, and dropped unless the gain over PCA is reliable.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skae.models.autoencoder import Autoencoder
from skae.rows.devices import as_double_on
from skae.training.held_out import Judge

__all__ = ["Choice", "choose_departure"]

# Factors on the departure from PCA, and the t that it needs.
_SHRINKAGE = (1.0, 0.9, 0.75, 0.5, 0.25)
_REQUIRED_T = 2.5
# Small tables need more: 60 rows t = 4.2, 1,000 rows t = 2.6.
_CAUTION = 100
# Share of the rows, those with the largest gains, that is winsorised.
_WINSORISED = 0.02


class Choice(NamedTuple):
    """How much of the departure from the anchor held-out rows support.

    Attributes
    ----------
    shrinkage : float
        Factor on the departure; zero keeps the anchor.
    t : float
        Paired t of the gain per held-out row over the anchor, the largest gains
        winsorised.
    ratio : float
        Held-out loss of what is kept over that of the anchor.
    """

    shrinkage: float
    t: float
    ratio: float


def choose_departure(model: Autoencoder, judge: Judge) -> Choice:
    """Shrink the trained model towards its anchor, or return to it.

    The anchor is kept unless the gain over it is reliable. Rows far outside the
    training rows return to the anchor (see `Guard`). The judge has recorded the start
    of the model, which is left with the chosen weights and guard.
    """
    codec = model.codec
    parameters = codec.anchored_parameters()
    trained = [parameter.detach().clone() for parameter in parameters]
    codec.guard = judge.guard(model)

    @torch.no_grad()
    def shrink(factor):
        for weights in zip(parameters, judge.start, trained, strict=True):
            parameter, before, after = weights
            parameter.copy_(torch.lerp(before, after, factor))

    losses = {}
    for factor in _SHRINKAGE:
        shrink(factor)
        losses[factor] = judge(model)
    # The first of equals: as little shrunk as possible.
    shrinkage = min(losses, key=losses.__getitem__)
    shrink(shrinkage)
    loss = judge.row_loss(model)
    t = _paired_t(judge.start_loss - loss, judge.weight)
    if not t >= _REQUIRED_T + _CAUTION / len(judge.training_x):
        codec.guard = None
        codec.load_state_dict(judge.start_model.codec.state_dict())
        return Choice(0.0, t, 1.0)
    return Choice(shrinkage, t, judge.mean(loss) / judge.mean(judge.start_loss))


def _paired_t(gain: Tensor, weight: Tensor | None) -> float:
    """Conservative paired t of the mean gain.

    A few rows that gain much inflate the spread more than the mean. Winsorising them
    lowers the mean, so that a significant t stays significant; losses count in full.
    """
    if weight is not None:
        gain = gain * weight
    n_rows = len(gain)
    if n_rows < 2:
        return 0.0
    gain = as_double_on(gain)
    most = gain.kthvalue(math.ceil((1 - _WINSORISED) * n_rows)).values
    gain = gain.clamp_max(most)
    spread = gain.std() / n_rows**0.5
    return (gain.mean() / spread.clamp_min(1e-300)).item()
