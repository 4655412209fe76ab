"""Judges of a model: rows held out, or folds whose members train together."""

import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from skae.parts.base import are_rowwise
from skae.parts.guard import Guard, guard_from, widest_guard
from skae.parts.layers import row_work
from skae.rows.threads import together

__all__ = ["Folds", "HoldOut", "Judge"]

# A guarded row combines the anchor's code with the trained decoder and may do worse
# than under either: the most that its loss may be, in multiples of the anchor's.
_HARM = 2.0
_PART = 1024
# Where a row takes long, so that threads have a share each.
_SMALL_PART, _LEAST_WORK = 256, 2**26


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
    start_model : Module
        A copy of the model, likewise.
    start_loss : Tensor of shape (n_held_out,)
        ``row_loss`` before training.
    """

    weight: Tensor | None
    training_x: Tensor
    trained_on: Tensor | None

    def row_loss(self, model: Any) -> Tensor:
        """Objective of each held-out row, by a model that has not seen it.

        Uses the same random draws in every call.
        """
        raise NotImplementedError

    def __call__(self, model: Any) -> float:
        """Weighted mean of ``row_loss``."""
        return self.mean(self.row_loss(model))

    def mean(self, loss: Tensor) -> float:
        """Weighted mean over the held-out rows."""
        if self.weight is None:
            return loss.mean().item()
        return ((loss * self.weight).sum() / self.weight.sum()).item()

    def record_start(self, model: Any) -> None:
        """Remember an anchored model as it is before training.

        The model is guarded from then on, so that one far-out row does not decide which
        round is kept.
        """
        if not model.codec.is_anchored:
            return
        self.start_loss = self.row_loss(model)
        parameters = model.codec.anchored_parameters()
        self.start = [parameter.detach().clone() for parameter in parameters]
        self.start_model = copy.deepcopy(model)
        model.codec.guard = Judge.guard(self, model)

    def in_training(self, model: Any) -> float:
        """Weighted mean of the loss of a model that has moved on from its start."""
        return self(model)

    def guard(self, model: Any) -> Guard:
        """The guard of the model as it is now."""
        model.codec.guard = None
        return widest_guard(model.codec, self.training_x, self.trained_on)


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

    def row_loss(self, model: Any) -> Tensor:
        return _losses(model, self.x, self.weight, self.x_tilde, self.context)

    def in_training(self, model: Any) -> float:
        """Weighted mean of the loss, with a guard that follows the codes.

        Rows whose codes grew as those of training rows did are not far out.
        """
        if model.codec.is_anchored:
            guard = model.codec.guard
            with torch.no_grad():
                codes = model.codec.magnitudes(self.training_x[:_PART])[1]
            guard.code_limit = torch.maximum(guard.code_limit, codes.amax(-2))
        return self(model)

    def guard(self, model: Any) -> Guard:
        """A guard that admits far-out rows only where the model helps them.

        It has to lower their loss by more than the anchor's median loss; those that the
        anchor reconstructs well stay with the anchor.
        """
        x = torch.cat([self.training_x, self.x])
        is_held_out = torch.arange(len(x), device=x.device) >= len(self.training_x)
        typical = self.start_loss.median()

        def gain(rows):
            far = x[rows]
            return _losses(self.start_model, far) - _losses(model, far) - typical

        def does_harm(rows):
            far = x[rows]
            allowed = _losses(self.start_model, far) + typical
            return _losses(model, far).sum() > _HARM * allowed.sum()

        return guard_from(model.codec, x, is_held_out, gain, does_harm)


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
        order = torch.randperm(n_samples, generator=generator, device=generator.device)
        self.fold = torch.empty_like(order)
        self.fold[order] = torch.arange(n_samples, device=order.device) % n_folds
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

    def row_loss(self, model: Any) -> Tensor:
        with torch.no_grad():
            loss = model(self.x, generator=_generator(self.x))
        return loss.gather(0, self.fold[None] + 1)[0]


@torch.no_grad()
def _losses(model: Any, x: Tensor, *others: Tensor | None) -> Tensor:
    """Objective of each row of a `Batch`, computed in parts."""
    size = _PART
    if row_work(model) * _SMALL_PART >= _LEAST_WORK:
        # An even number of equal parts: two threads have as much to do.
        n_pairs = -(-len(x) // (2 * _SMALL_PART))
        size = -(-len(x) // (2 * n_pairs))
    calls = [
        partial(
            model,
            *(None if t is None else t[start : start + size] for t in (x, *others)),
            generator=_generator(x, number),
        )
        for number, start in enumerate(range(0, len(x), size))
    ]
    if x.device.type == "cpu" and are_rowwise(model):
        # Without gradients, threads share no node of autograd.
        return torch.cat(together(calls))
    return torch.cat([call() for call in calls])


def _generator(x: Tensor, seed: int = 0) -> Generator:
    return Generator(x.device).manual_seed(seed)
