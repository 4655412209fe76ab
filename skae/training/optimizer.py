"""AdamW on flat parameters, with its schedule and the average of the weights.

A step and the moving average cost one call each whatever the number of layers. The
trainer makes the steps; nothing here looks at a module.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from skae.rows.threads import together
from skae.training.flat_parameters import FlatGroup, FlatParameters, stretches
from skae.training.schedule import UpdateNumbers

__all__ = ["FlatAdamW"]

_EPSILON = 1e-8
# Moments that fade away are set to zero once in so many steps: numbers of less than
# normal size, which they would become, make a step twenty times as slow.
_FADED, _SWEEP = 1e-30, 64
# torch.optim calls the same kernel after 30 us of bookkeeping. It is private, so a
# version of torch may come without.
_fused_adamw = getattr(torch, "_fused_adamw_", None)


class FlatAdamW:
    """AdamW (Loshchilov and Hutter 2019) with warm-up, cosine decay and averaging.

    The rate rises linearly over the first 5% of the steps and falls as a cosine, then
    or after a plateau, to 0.1% of its peak. ``average`` is the exponential moving
    average of the weights, debiased, which is what is evaluated and kept.

    Parameters
    ----------
    flat : FlatParameters or FlatGroup
    lr : float
        Peak learning rate.
    n_steps : int
        Length of the schedule.
    weight_decay : float, default=0.0
        Decoupled, per unit of learning rate.
    ema_decay : float, default=0.98
        Zero keeps the last weights.
    betas : tuple of float, default=(0.9, 0.95)
    constant : bool, default=False
        Keep the rate at ``lr`` throughout.
    plateau : float, default=0.05
        Share of the steps after which the rate falls, at least the warm-up's.
    shares : Tensor of shape (n_parameters,), optional
        Factor in [0, 1] on each entry's steps.
    average : Tensor of shape (n_parameters,), optional
        Where the average is kept; memory of its own where left out.

    Attributes
    ----------
    coming : list of UpdateNumbers
        Numbers on the device for the next updates, which take them in turn; those of
        the schedule are used where there are none.
    """

    def __init__(
        self,
        flat: FlatParameters | FlatGroup,
        *,
        lr: float,
        n_steps: int,
        weight_decay: float = 0.0,
        ema_decay: float = 0.98,
        betas: tuple[float, float] = (0.9, 0.95),
        constant: bool = False,
        plateau: float = 0.05,
        shares: Tensor | None = None,
        average: Tensor | None = None,
    ):
        self.flat = flat
        self.lr = lr
        self.n_steps = n_steps
        self.weight_decay = weight_decay
        self.ema_decay = ema_decay
        self.betas = betas
        self.constant = constant
        self.plateau = plateau
        self.shares = shares
        self.average = flat.data.clone() if average is None else average
        self.coming: list[UpdateNumbers] = []
        self._first = torch.empty_like(flat.data)
        self._second = torch.empty_like(flat.data)
        # In single precision, as the kernels of CUDA read it.
        self._step = torch.zeros((), dtype=torch.float32, device=flat.data.device)
        self._parts = self._cut()
        self.restart(1.0)

    def _cut(self) -> list["_Part"]:
        whole, n_decayed = slice(0, len(self.flat.data)), len(self.flat.decayed)
        is_cut = self.flat.data.device.type == "cpu"
        return [
            _Part(
                self.flat.data[place],
                self.flat.grad[place],
                self.flat.decayed[place.start : min(place.stop, n_decayed)],
                self._first[place],
                self._second[place],
                self.average[place],
                None if self.shares is None else self.shares[place],
            )
            for place in (stretches(whole) if is_cut else [whole])
        ]

    def restart(self, factor: float) -> None:
        """Forget the moments and go on from the current weights at lr * factor."""
        self.factor = factor
        self.step_count = 0
        self._first.zero_()
        self._second.zero_()
        self.average.copy_(self.flat.data)

    def rate(self, ahead: int = 0) -> float:
        """Learning rate of the coming update, or of one so many updates ahead."""
        number = self.step_count + ahead
        if self.constant:
            return self.lr * self.factor
        warm = max(1, round(0.05 * self.n_steps))
        if number < warm:
            return self.lr * self.factor * (number + 1) / warm
        kept = max(warm, round(self.plateau * self.n_steps))
        done = (number - kept) / max(1, self.n_steps - kept)
        done = min(1.0, max(0.0, done))
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * self.factor * (0.001 + 0.999 * cosine)

    def numbers(self, ahead: int = 0) -> "UpdateNumbers":
        """Of the coming update, or of one so many updates ahead."""
        rate, count = self.rate(ahead), self.step_count + ahead + 1
        # A growing window first: early averages would otherwise remember the start.
        decay = min(self.ema_decay, count / (count + 9))
        return UpdateNumbers(rate, 1 - rate * self.weight_decay, 1 - decay, count)

    def step(self) -> None:
        """One update from ``flat.grad``; each entry's is its own."""
        if self.step_count % _SWEEP == 0 and self.flat.data.device.type == "cpu":
            for moment in self.moments:
                moment.copy_(torch.hardshrink(moment, _FADED))
        numbers = self.coming.pop(0) if self.coming else self.numbers()
        count = numbers.count
        self._count = count if isinstance(count, Tensor) else self._step.fill_(count)
        if len(self._parts) == 1:
            self._move(numbers, self._parts[0])
        else:
            together([partial(self._move, numbers, part) for part in self._parts])
        self.step_count += 1

    def _move(self, numbers: "UpdateNumbers", part: "_Part") -> None:
        before = None if part.shares is None else part.data.clone()
        if self.weight_decay:
            part.decayed.mul_(numbers.kept)
        self._adam(numbers, part)
        if before is not None and part.shares is not None:
            torch.lerp(before, part.data, part.shares, out=part.data)
        part.average.lerp_(part.data, numbers.moved)

    @property
    def averages(self) -> bool:
        """Whether the average is not the last weights."""
        return self.ema_decay > 0

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Of the gradient and of its square."""
        return self._first, self._second

    def state(self) -> dict:
        """What a training that goes on needs beside the weights: arrays and numbers."""
        return {
            "first": self._first.cpu().numpy().copy(),
            "second": self._second.cpu().numpy().copy(),
            "n_steps": self.step_count,
            "lr": self.lr,
            "factor": self.factor,
        }

    def load(self, state: dict) -> None:
        """Go on from a state, with the current weights.

        The back-off factor is kept only if the peak rate is unchanged.
        """
        for own, name in ((self._first, "first"), (self._second, "second")):
            own.copy_(torch.from_numpy(state[name]))
        self.step_count = state["n_steps"]
        self.factor = state["factor"] if state["lr"] == self.lr else 1.0

    def _adam(self, numbers: "UpdateNumbers", part: "_Part") -> None:
        """Adam's step from the gradient."""
        if _fused_adamw is None:
            self._plain_adam(numbers, part)
            return
        _fused_adamw(
            [part.data],
            [part.grad],
            [part.first],
            [part.second],
            [],
            [self._count],
            lr=numbers.rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _plain_adam(self, numbers: "UpdateNumbers", part: "_Part") -> None:
        """Kingma and Ba 2015, algorithm 1."""
        beta1, beta2 = self.betas
        part.first.lerp_(part.grad, 1 - beta1)
        part.second.mul_(beta2).addcmul_(part.grad, part.grad, value=1 - beta2)
        spread = (part.second / (1 - beta2**numbers.count)).sqrt_().add_(_EPSILON)
        rate = -numbers.rate / (1 - beta1**numbers.count)
        if isinstance(rate, Tensor):
            part.data.add_(part.first / spread * rate)
        else:
            part.data.addcdiv_(part.first, spread, value=rate)


class _Part(NamedTuple):
    """Entries of the flat buffers that are moved by one thread at a time."""

    data: Tensor
    grad: Tensor
    decayed: Tensor
    first: Tensor
    second: Tensor
    average: Tensor
    shares: Tensor | None
