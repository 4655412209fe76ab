"""How far a trained model may leave the PCA it started as: shrinkage and a paired test.

Held-out rows decide (`skae.training.held_out`): the departure from the anchor is shrunk
to what serves them best, and dropped where the gain over PCA is not reliable.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skae.models.autoencoder import Autoencoder
from skae.parts.anchored import AnchoredCodec
from skae.training.held_out import Judge

__all__ = ["Choice", "choose_departure"]

_SHRINKAGE = (1.0, 0.9, 0.75, 0.5, 0.25)
_REQUIRED_T = 2.5
# Small tables ask for more: 60 rows for t = 4.2, 1,000 for 2.6.
_CAUTION = 100
# Share of the rows whose gains count as no more than the largest of the others'.
_WINSORISED = 0.02


class Choice(NamedTuple):
    """What held-out rows said of the departure from the anchor.

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
    ratio: float = float("nan")


def choose_departure(model: Autoencoder, judge: Judge) -> Choice:
    """Shrink the trained model towards its anchor, or say that the anchor is better.

    Rows far outside the training rows return to the anchor (see `Guard`).

    Parameters
    ----------
    model : Autoencoder
        Trained; left with the chosen weights and guard.
    judge : HoldOut or Folds
        That knows the model's start.

    Returns
    -------
    Choice
    """
    codec = model.codec
    trained = [p.detach().clone() for p in codec.anchored_parameters()]
    codec.guard = judge.guard(model)
    losses = {}
    for shrinkage in _SHRINKAGE:
        _shrink(codec, judge.start, trained, shrinkage)
        losses[shrinkage] = judge(model)
    # The first of equals: as little shrunk as possible.
    shrinkage = min(losses, key=losses.__getitem__)
    _shrink(codec, judge.start, trained, shrinkage)
    loss = judge.row_loss(model)
    t = _paired_t(judge.start_loss - loss, judge.weight)
    if not t >= _REQUIRED_T + _CAUTION / len(judge.training_x):
        codec.guard = None
        codec.load_state_dict(judge.start_model.codec.state_dict())
        return Choice(0.0, t, 1.0)
    ratio = judge.mean(loss) / judge.mean(judge.start_loss)
    return Choice(shrinkage, t, ratio)


@torch.no_grad()
def _shrink(codec: AnchoredCodec, start, trained, shrinkage):
    for parameter, before, after in zip(
        codec.anchored_parameters(), start, trained, strict=True
    ):
        parameter.copy_(torch.lerp(before, after, shrinkage))


def _paired_t(gain: Tensor, weight: Tensor | None) -> float:
    """t of the mean gain, from below.

    A few rows that gain much inflate the spread more than the mean. To count them less
    can only lower the mean, so that a significant t stays one; losses count in full.
    """
    if weight is not None:
        gain = gain * weight
    n_rows = len(gain)
    if n_rows < 2:
        return 0.0
    gain = gain.double()
    most = gain.kthvalue(math.ceil((1 - _WINSORISED) * n_rows)).values
    gain = gain.clamp_max(most)
    spread = gain.std() / n_rows**0.5
    return (gain.mean() / spread.clamp_min(1e-300)).item()
