"""Which weights to keep: held-out rows, folds trained together, shrinkage, the gate.

A model that starts as PCA is only allowed to leave it where held-out rows say so. This
file holds the judges (`HoldOut` and `Folds`), the shrinkage of the departure from the
anchor, and the paired test against it.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from skae.parts.anchored import AnchoredCodec, Guard
from skae.training.objective import Autoencoder

__all__ = [
    "Choice",
    "Folds",
    "HoldOut",
    "Judge",
    "choose_departure",
    "is_reliable",
    "paired_t",
    "watched",
]

_SHRINKAGE = (1.0, 0.9, 0.75, 0.5, 0.25)
_REQUIRED_T = 2.5
# Small tables ask for more: 60 rows for t = 4.2, 1,000 for 2.6.
_CAUTION = 100
_PART = 1024


class Judge:
    """Held-out rows and how a model does on them.

    Attributes
    ----------
    weight : Tensor of shape (n_held_out,) or None
    training_x : Tensor of shape (n_rows, n_features)
        Training rows, or some of them.
    trained_on : bool Tensor of shape (members, n_rows) or None
        Which of them each member trains on.
    start : list of Tensor
        The codec's ``anchored_parameters()`` before training.
    start_state : dict
        All of the codec, likewise.
    start_loss : Tensor of shape (n_held_out,)
        ``row_loss`` before training.
    """

    weight: Tensor | None
    training_x: Tensor
    trained_on: Tensor | None

    def row_loss(self, model: Autoencoder) -> Tensor:
        """Objective of each held-out row, by a model that has not seen it.

        What is random in it is drawn alike every time.
        """
        raise NotImplementedError

    def __call__(self, model: Autoencoder) -> float:
        """Weighted mean of ``row_loss``."""
        loss = self.row_loss(model)
        if self.weight is None:
            return loss.mean().item()
        return ((loss * self.weight).sum() / self.weight.sum()).item()

    def note_start(self, model: Autoencoder) -> None:
        """Remember an anchored model as it is before training.

        From then on it is guarded, so that one far-out row does not decide
        which step is the best.
        """
        if not model.codec.is_anchored:
            return
        self.start_loss = self.row_loss(model)
        parameters = model.codec.anchored_parameters()
        self.start = [parameter.detach().clone() for parameter in parameters]
        self.start_state = copy.deepcopy(model.codec.state_dict())
        model.codec.guard = self.guard(model.codec)

    @torch.no_grad()
    def guard(self, codec: AnchoredCodec) -> Guard:
        """The limits of the training rows under the codec as it is."""
        codec.guard = None
        return watched(codec, self.training_x, self.trained_on)


class HoldOut(Judge):
    """Rows set aside.

    Parameters
    ----------
    x : Tensor of shape (n_held_out, n_features)
    weight : Tensor of shape (n_held_out,), optional
    training_x : Tensor of shape (n_rows, n_features), optional
        Rows that are trained on; needed for anchored models.
    x_tilde : Tensor of shape (n_held_out, n_features), optional
        What the encoder sees of the rows, where the model does not corrupt them.
    context : Tensor of shape (n_held_out, n_context), optional
    """

    trained_on = None

    def __init__(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        training_x: Tensor | None = None,
        x_tilde: Tensor | None = None,
        context: Tensor | None = None,
    ):
        self.x = x
        self.x_tilde = x_tilde
        self.context = context
        self.weight = weight
        self.training_x = x if training_x is None else training_x

    def row_loss(self, model: Autoencoder) -> Tensor:
        generator = _generator(self.x)
        x = self.x.split(_PART)
        known = (
            [None] * len(x) if rows is None else rows.split(_PART)
            for rows in (self.x_tilde, self.weight, self.context)
        )
        with torch.no_grad():
            losses = [
                model(part, generator, *others)
                for part, *others in zip(x, *known, strict=True)
            ]
        return torch.cat(losses)


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
        self.training_x, self.trained_on = x, train > 0

    def training_rows(self, fold: int) -> np.ndarray:
        """Row numbers outside a fold."""
        return torch.nonzero(self.fold != fold).flatten().cpu().numpy()

    def row_loss(self, model: Autoencoder) -> Tensor:
        with torch.no_grad():
            loss = model(self.x, _generator(self.x))
        return loss.gather(0, self.fold[None] + 1)[0]


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


def choose_departure(model: Autoencoder, judge: Judge, *, always_guard: bool) -> Choice:
    """Shrink the trained model towards its anchor, or say that the anchor is better.

    Rows far outside the training rows return to the anchor (see `Guard`), unless the
    held-out rows speak against that.

    Parameters
    ----------
    model : Autoencoder
        Trained; left with the chosen weights and guard.
    judge : HoldOut or Folds
        That knows the model's start.
    always_guard : bool
        Leave the held-out rows no say in the guard.

    Returns
    -------
    Choice
    """
    codec = model.codec
    trained = [p.detach().clone() for p in codec.anchored_parameters()]
    guard = judge.guard(codec)
    losses = {}
    for guarded in (True,) if always_guard else (True, False):
        codec.guard = guard if guarded else None
        for shrinkage in _SHRINKAGE:
            _shrink(codec, judge.start, trained, shrinkage)
            losses[guarded, shrinkage] = judge(model)
    # The first of equals: guarded, and as little shrunk as possible.
    guarded, shrinkage = min(losses, key=losses.__getitem__)
    codec.guard = guard if guarded else None
    _shrink(codec, judge.start, trained, shrinkage)
    t = paired_t(judge.start_loss - judge.row_loss(model), judge.weight)
    if not is_reliable(t, len(judge.training_x)):
        codec.guard = None
        codec.load_state_dict(judge.start_state)
        return Choice(0.0, False, t)
    return Choice(shrinkage, guarded, t)


@torch.no_grad()
def watched(codec: AnchoredCodec, x: Tensor, trained_on: Tensor | None = None) -> Guard:
    """A guard with the limits of rows x.

    Parameters
    ----------
    codec : AnchoredCodec
    x : Tensor of shape (batch, n_features)
    trained_on : bool Tensor of shape (members, batch), optional
        Rows that count for each member.
    """
    parts = [
        [(rows * codec.input_scale).nan_to_num().abs(), codec.whitened(rows).abs()]
        for rows in (x.split(_PART) if trained_on is None else [x])
    ]
    sizes = [torch.cat(part, -2) for part in zip(*parts, strict=True)]
    if trained_on is not None:
        sizes = [size * trained_on[..., None] for size in sizes]
    limits = [size.amax(-2, keepdim=True).clamp_min(1e-12) for size in sizes]
    if codec.members is None:
        return Guard(*(limit[0] for limit in limits))
    return Guard(*(r.expand(codec.members, *r.shape[-2:]) for r in limits))


def _generator(x: Tensor) -> Generator:
    return Generator(x.device).manual_seed(0)


@torch.no_grad()
def _shrink(codec: AnchoredCodec, start, trained, shrinkage):
    for parameter, before, after in zip(
        codec.anchored_parameters(), start, trained, strict=True
    ):
        parameter.copy_(torch.lerp(before, after, shrinkage))


def is_reliable(t: float, n_train: int) -> bool:
    """Whether a gain of this t may be kept after training on so many rows."""
    return t >= _REQUIRED_T + _CAUTION / n_train


def paired_t(gain: Tensor, weight: Tensor | None) -> float:
    """t of the mean gain per row."""
    if weight is not None:
        gain = gain * weight
    if len(gain) < 2:
        return 0.0
    gain = gain.double()
    spread = gain.std() / len(gain) ** 0.5
    return (gain.mean() / spread.clamp_min(1e-300)).item()
