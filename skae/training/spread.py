"""Trainings on rows that are spread over several processes.

`SpreadBatches` cuts the batches of this process; `Spread` makes one training of those
of all processes: the sums of their gradients, or the averages of their weights every
few steps, and the same decisions. The trainer asks it wherever processes could differ,
and gets back what it had where there is only one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skae.rows.chunks import Rows
from skae.rows.group import ALONE, Group, difference
from skae.rows.sharded import ShardedRows
from skae.training.block_batches import AllBut, batches_of
from skae.training.steps import Step, Update

__all__ = ["Spread", "SpreadBatches", "generator_of"]


def generator_of(group: Group, seed: int, device: Any = "cpu") -> torch.Generator:
    """A generator of this process's own; the seed's where it is the first."""
    if group.rank:
        words = np.random.SeedSequence([seed, group.rank]).generate_state(1, np.uint64)
        seed = int(words[0] >> 1)
    return torch.Generator(device).manual_seed(seed)


class SpreadBatches:
    """Batches of this process, as many as all others have.

    Each process has a share of the batch as it has of the rows, but one row at least;
    a process without rows has empty batches.

    Parameters
    ----------
    whole : ShardedRows
    rows, index, batch_size, n_batches, generator, weight, inputs, context
        As of `Batches`, for the rows of all processes.

    Attributes
    ----------
    group : Group
    share : float
        Of the training rows.
    """

    def __init__(
        self,
        whole: ShardedRows,
        rows: Rows,
        index,
        batch_size: int,
        n_batches: int,
        generator: torch.Generator,
        weight: Tensor | None = None,
        inputs: Rows | None = None,
        context: Rows | None = None,
    ):
        self.group = whole.group
        self._seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
        self.generator = generator_of(self.group, self._seed)
        self._n_batches = n_batches
        self._n_yielded = 0
        own = self._own_index(whole, index)
        counts = self.group.gather(len(own))
        ends = np.cumsum([0, *counts]) / max(1, sum(counts))
        self.share = counts[self.group.rank] / max(1, sum(counts))
        first, last = np.round(batch_size * ends[self.group.rank :][:2])
        self._new: Callable[..., Any] | None = None
        if len(own):
            extras = [None if e is None else e.part(whole) for e in (inputs, context)]
            if weight is not None:
                weight = weight[..., torch.as_tensor(whole.own, device=weight.device)]
            options = rows.part(whole), own, max(1, int(last - first))
            others = self.generator, weight, *extras
            self._new = lambda n_left: batches_of(*options, n_left, *others)

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[tuple[Tensor | None, ...]]:
        n_left = self._n_batches - self._n_yielded
        for batch in self._new(n_left) if self._new else ((),) * n_left:
            self._n_yielded += 1
            yield batch

    @staticmethod
    def _own_index(whole: ShardedRows, index):
        if isinstance(index, AllBut):
            places = whole.owned(index.left_out)[1]
            return AllBut(len(whole.local), places)
        return whole.owned(index)[1]

    def state(self) -> dict:
        """Which batch comes next; the order of rows begins anew from there."""
        return {"n_yielded": self._n_yielded}

    def load(self, state: dict) -> None:
        """Go on after a batch with rows in a new order, whatever the processes were."""
        self.begin_anew(state["n_yielded"])

    def begin_anew(self, n_yielded: int) -> None:
        """Go on after so many batches with rows in a new order."""
        self._n_yielded = n_yielded
        seed = np.random.SeedSequence([self._seed, n_yielded]).generate_state(1)
        own = generator_of(self.group, int(seed[0]))
        self.generator.set_state(own.get_state())


class _SpreadGradient:
    """A gradient that becomes the weighted sum over the processes."""

    def __init__(self, gradient: Callable[..., Tensor], flat: Any, spread: "Spread"):
        self._gradient = gradient
        self._flat = flat
        self._spread = spread

    def __call__(self, *batch) -> Tensor:
        """The loss of this process's part of a batch."""
        grad = self._flat.grad
        loss = self._gradient(*batch) if batch else grad.zero_().new_zeros(())
        if self._spread.n_apart == 1:
            self._spread.group.sum(grad.mul_(self._spread.share))
        return loss

    def forget(self) -> None:
        """The module may have been changed between two steps."""
        forget = getattr(self._gradient, "forget", None)
        if forget is not None:
            forget()


class _StepsApart(Step):
    """Steps of this process alone, with an average over all every few of them."""

    def __init__(self, module: Any, updates: Sequence[Update], spread: "Spread"):
        super().__init__(module, updates)
        self._spread = spread
        self._n_taken = 0

    def __call__(self, batch, sums, watch=None) -> Tensor:
        loss = super().__call__(batch, sums, watch)
        self._n_taken += 1
        if self._n_taken % self._spread.n_apart == 0:
            (update,) = self.updates
            optimizer = update.optimizer
            self._spread.mean(optimizer.flat.data, *optimizer.moments)
        return loss


class Spread:
    """What the processes of one training agree upon.

    Parameters
    ----------
    batches : iterable of tuples
        `SpreadBatches`, or any others of a training in one process.
    n_apart : int, default=1
        As in `Schedule`; more than one only for trainings with one update a step.

    Attributes
    ----------
    group : Group
    share : float
        Of the rows, by which this process's gradients and losses are weighted.
    n_apart : int
    """

    def __init__(self, batches: Any, n_apart: int = 1):
        self.group: Group = getattr(batches, "group", ALONE)
        self.share: float = getattr(batches, "share", 1.0)
        self.n_apart = n_apart

    @property
    def is_alone(self) -> bool:
        """Whether the training has one process only."""
        return self.group.is_alone

    def check(self, facts: dict[str, Any]) -> None:
        """Raise where the processes are about to train different models.

        Raises
        ------
        RuntimeError
            In all processes.
        """
        apart = difference(self.group, facts)
        if apart is not None:
            raise RuntimeError(
                f"The processes of the fit would train different models: {apart}. Are "
                "there the same versions of skae, torch and NumPy everywhere?"
            )

    def step(self, module: Any, updates: Sequence[Update]) -> Step:
        """A training step of all processes."""
        if self.is_alone:
            return Step(module, updates)
        updates = [
            each._replace(
                gradient=_SpreadGradient(each.gradient, each.optimizer.flat, self)
            )
            for each in updates
        ]
        if self.n_apart == 1:
            return Step(module, updates)
        return _StepsApart(module, updates, self)

    def sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums of losses, over the rows of all processes."""
        if self.is_alone:
            return sums
        total = self.group.sum(torch.stack(list(sums.values())) * self.share)
        return dict(zip(sums, total, strict=True))

    def loss(self, loss: float) -> float:
        """The first process's, as rounding may differ between machines."""
        own = 0.0 if self.group.rank else loss
        total = torch.tensor([own], dtype=torch.float64, device="cpu")
        return self.group.sum(total).item()

    def stops(self, stops: bool) -> bool:
        """Whether one of the processes wants to stop."""
        return self.group.any(stops)

    def align(self, *tensors: Tensor) -> None:
        """Replace tensors by those of the first process, or by means of steps apart."""
        if self.is_alone:
            return
        if self.n_apart > 1:
            self.mean(*tensors)
            return
        for tensor in tensors:
            self.group.sum(tensor.zero_() if self.group.rank else tensor)

    def mean(self, *tensors: Tensor) -> None:
        """Replace tensors by their means over the processes, in one message."""
        joined = torch.cat(tensors).mul_(self.share)
        parts = self.group.sum(joined).split([len(tensor) for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part)

    def draw_apart(self, generator: torch.Generator, number: int) -> None:
        """Seed a generator that all processes have in the same state."""
        if self.group.rank:
            own = generator_of(self.group, number)
            generator.manual_seed(own.initial_seed())

    def average(self, layers: Sequence[Any]) -> None:
        """Statistics of batch-norm layers over the rows of all processes."""
        if self.is_alone or not layers:
            return
        means = torch.cat([layer.running_mean for layer in layers])
        squares = torch.cat([layer.running_var for layer in layers]) + means.square()
        means, squares = self.group.sum(torch.stack([means, squares]) * self.share)
        start = 0
        for layer in layers:
            place = slice(start, start + len(layer.running_mean))
            layer.running_mean.copy_(means[place])
            layer.running_var.copy_(squares[place] - means[place].square())
            start = place.stop
