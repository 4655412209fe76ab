"""Which weights to keep: held-out rows, folds trained together, shrinkage, the gate.

A model that starts as PCA is only allowed to leave it where held-out rows say so. This
file holds the judges (`HoldOut` and `Folds`), the shrinkage of the departure from the
anchor, and the paired test against it.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from skae.parts.dense import Anchor, DenseCodec
from skae.training.objective import Autoencoder

__all__ = ["Choice", "Folds", "HoldOut", "Judge", "choose_departure"]

_SHRINKAGE = (1.0, 0.9, 0.75, 0.5, 0.25)
_REQUIRED_T = 2.5


class Judge:
    """Held-out rows and how a model does on them.

    Attributes
    ----------
    weight : Tensor of shape (n_held_out,) or None
    start : list of Tensor
        The codec's ``anchored_parameters()`` before training.
    start_nll : Tensor of shape (n_held_out,)
        ``row_nll`` before training.
    """

    weight: Tensor | None

    def row_nll(self, model: Autoencoder) -> Tensor:
        """Reconstruction loss of each held-out row, by a model that has not seen it."""
        raise NotImplementedError

    def __call__(self, model: Autoencoder) -> float:
        """Weighted mean of ``row_nll``."""
        nll = self.row_nll(model)
        if self.weight is None:
            return nll.mean().item()
        return ((nll * self.weight).sum() / self.weight.sum()).item()

    def note_start(self, model: Autoencoder) -> None:
        """Remember the model as it is before training."""
        self.start_nll = self.row_nll(model)
        if isinstance(model.codec, DenseCodec):
            parameters = model.codec.anchored_parameters()
            self.start = [parameter.detach().clone() for parameter in parameters]


class HoldOut(Judge):
    """Rows set aside.

    Parameters
    ----------
    x : Tensor of shape (n_held_out, n_features)
    weight : Tensor of shape (n_held_out,), optional
    """

    def __init__(self, x: Tensor, weight: Tensor | None = None):
        self.x = x
        self.weight = weight

    def row_nll(self, model: Autoencoder) -> Tensor:
        with torch.no_grad():
            return torch.cat([model.nll(part) for part in self.x.split(1024)])


class Folds(Judge):
    """Cross-validation of models that train as members of one.

    Member 0 trains on all rows; member i + 1 on all but fold i, which judges it.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
    n_folds : int
    generator : torch.Generator
        On the CPU; assigns the rows.
    weight : Tensor of shape (n_samples,), optional

    Attributes
    ----------
    train_weight : Tensor of shape (n_folds + 1, n_samples)
        Row weights for training the members, of mean one each.
    """

    def __init__(
        self,
        x: Tensor,
        n_folds: int,
        generator: Generator,
        weight: Tensor | None = None,
    ):
        n_samples = x.shape[0]
        self.x = x
        self.weight = weight
        self.n_folds = n_folds
        order = torch.randperm(n_samples, generator=generator)
        self.fold = torch.empty(n_samples, dtype=torch.long)
        self.fold[order] = torch.arange(n_samples) % n_folds
        self.fold = self.fold.to(x.device)
        members = torch.arange(-1, n_folds, device=x.device)[:, None]
        train = (members != self.fold).to(x.dtype)
        if weight is not None:
            train = train * weight
        self.train_weight = train / train.mean(1, keepdim=True)

    def training_rows(self, fold: int) -> np.ndarray:
        """Row numbers outside a fold."""
        return torch.nonzero(self.fold != fold).flatten().cpu().numpy()

    def row_nll(self, model: Autoencoder) -> Tensor:
        with torch.no_grad():
            nll = model.nll(self.x)
        return nll.gather(0, self.fold[None] + 1)[0]


class Choice(NamedTuple):
    """What held-out rows said of the departure from the anchor.

    Attributes
    ----------
    shrinkage : float
        Factor on the departure; zero keeps the anchor.
    guarded : bool
        Whether far-away rows return to the anchor.
    t : float
        Paired t of the gain per held-out row over the anchor.
    """

    shrinkage: float
    guarded: bool
    t: float


def choose_departure(
    model: Autoencoder,
    judge: Judge,
    anchor: Anchor,
    x: Tensor,
    trained_on: Tensor | None,
    *,
    guard_first: bool,
) -> Choice:
    """Shrink the trained model towards its anchor, or say that the anchor is better.

    Parameters
    ----------
    model : Autoencoder
        Trained; left with the chosen weights and guard.
    judge : HoldOut or Folds
        That knows the model's start.
    anchor : Anchor
    x : Tensor of shape (n_samples, n_features)
        Rows that set the guard's radii.
    trained_on : Tensor, optional
        Which of them each member trained on.
    guard_first : bool
        Whether to guard against extrapolation from the outset, or only when the model
        fails the test without.

    Returns
    -------
    Choice
    """
    codec = model.codec
    trained = [p.detach().clone() for p in codec.anchored_parameters()]
    with torch.no_grad():
        guard = codec.watch(anchor, x, trained_on)
        for guarded in (True,) if guard_first else (False, True):
            codec.guard = guard if guarded else None
            losses = {}
            for shrinkage in _SHRINKAGE:
                _shrink(codec, judge.start, trained, shrinkage)
                losses[shrinkage] = judge(model)
            best = min(losses, key=losses.get)
            _shrink(codec, judge.start, trained, best)
            t = _paired_t(judge.start_nll - judge.row_nll(model), judge.weight)
            if t >= _REQUIRED_T:
                return Choice(best, guarded, t)
    return Choice(0.0, False, t)


def _shrink(codec: DenseCodec, start, trained, shrinkage):
    for parameter, before, after in zip(
        codec.anchored_parameters(), start, trained, strict=True
    ):
        parameter.copy_(torch.lerp(before, after, shrinkage))


def _paired_t(gain: Tensor, weight: Tensor | None) -> float:
    if weight is not None:
        gain = gain * weight
    gain = gain.double()
    spread = gain.std() / len(gain) ** 0.5
    return (gain.mean() / spread.clamp_min(1e-300)).item()
