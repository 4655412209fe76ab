"""A batch in shards: the gradient of a large network on several threads.

`Shards` is for what fills a module's gradients. Where the work of a batch is large, the
batch is cut and each shard has random numbers of its own. With autograd it also has a
replica of the module and a gradient, and these are added in a fixed order; formulas
name the terms of their gradients instead (see `skae.training.terms`). How a batch is
cut depends on the network and on the batch, never on the machine: with any number of
threads the bits are the same.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from skae.parts.layers import row_work
from skae.rows.threads import together
from skae.training.flat_parameters import FlatParameters, stretches
from skae.training.replicas import Replica

__all__ = ["Shard", "Shards", "n_shards"]

# A shard is worth a thread from so many multiplications on: a millisecond.
LEAST_WORK = 2**24
MOST_SHARDS = 8
# With autograd, where each shard runs Python for as long as a few of these take.
LEAST_TRACED_WORK = 2**26
MOST_TRACED_SHARDS = 4
# Fewer rows than these make the sum of the gradients cost as much as the gradients.
LEAST_ROWS = 48


def n_shards(
    n_rows: int, work: int, n_parameters: int, *, is_traced: bool = False
) -> int:
    """Into how many shards a batch is cut, a power of two.

    Parameters
    ----------
    n_rows : int
    work : int
        Multiplications of a row.
    n_parameters : int
    is_traced : bool, default=False
        Whether autograd computes the gradient.
    """
    least = LEAST_TRACED_WORK if is_traced else LEAST_WORK
    most = MOST_TRACED_SHARDS if is_traced else MOST_SHARDS
    least = max(least, LEAST_ROWS * n_parameters)
    fitting = min(most, n_rows * work // least, n_rows)
    return 2 ** (fitting.bit_length() - 1) if fitting > 1 else 1


class Shard:
    """What rows of a batch have of their own.

    Attributes
    ----------
    generator : torch.Generator
    grad : Tensor of shape (n_parameters,)
        For a gradient of autograd.
    gradients : dict of Parameter to Tensor
        Views of it.
    """

    def __init__(self, flat: FlatParameters):
        self._flat = flat
        self.generator = Generator(flat.grad.device)
        self._replica: Replica | None = None

    @cached_property
    def grad(self) -> Tensor:
        return torch.zeros_like(self._flat.grad)

    @cached_property
    def gradients(self) -> dict[nn.Parameter, Tensor]:
        return self._flat.gradients_in(self.grad)

    def replica_of(self, module: nn.Module) -> Any:
        """A module of this shard's own, in step with the one that is trained."""
        if self._replica is None:
            self._replica = Replica(module)
        self._replica.follow()
        return self._replica.module

    def fill(self, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        """Gradients, with respect to these parameters, of a loss of the replica."""
        assert self._replica is not None
        gradients = self._replica.gradients(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            own = self.gradients[parameter]
            if gradient is None:
                own.zero_()
            else:
                own.copy_(gradient)

    def forget(self) -> None:
        """Make the replica anew: the module may have become another."""
        self._replica = None


class Shards:
    """The shards of a module's batches.

    Parameters
    ----------
    module : Module
        ``is_rowwise`` and ``row_group`` are as of `SteppedModule`; batches of modules
        without them are never cut.
    flat : FlatParameters
    generator : torch.Generator
        Each step, the shards' generators get seeds from it.
    place : slice, optional
        Of the flat buffer, where not all gradients are filled.
    is_traced : bool, default=True
        Whether autograd computes the gradients.
    """

    def __init__(
        self,
        module: Any,
        flat: FlatParameters,
        generator: Generator,
        place: slice | None = None,
        *,
        is_traced: bool = True,
    ):
        self._is_traced = is_traced
        self._flat = flat
        self._generator = generator
        self._place = slice(0, len(flat.grad)) if place is None else place
        self._parts = stretches(self._place)
        is_cut = getattr(module, "is_rowwise", False) and flat.grad.device.type == "cpu"
        self._work = row_work(module) if is_cut else 0
        self._group = module.row_group if is_cut else 1
        self._shards: list[Shard] = []

    def number(self, batch: Sequence[Any]) -> int:
        """How many shards a batch has."""
        if not self._work or not batch:
            return 1
        n_parameters = self._place.stop - self._place.start
        n_rows = batch[0].shape[-2]
        fitting = n_shards(n_rows, self._work, n_parameters, is_traced=self._is_traced)
        # Groups of rows stay together.
        n_groups = n_rows // self._group
        while fitting > 1 and fitting > n_groups:
            fitting //= 2
        return fitting

    def each(
        self,
        batch: Sequence[Any],
        number: int,
        compute: Callable[[Shard, Sequence[Any], float], Any],
    ) -> list:
        """What is computed of the shards of a batch, on several threads.

        Parameters
        ----------
        batch : sequence of Tensor or None
            Rows, their weights and other rows that belong to them.
        number : int
            Of shards.
        compute : callable
            Of a shard, its rows and the share that their mean has in the batch's.
        """
        while len(self._shards) < number:
            self._shards.append(Shard(self._flat))
        shape = (number,)
        seeds = torch.randint(
            2**62, shape, generator=self._generator, dtype=torch.int64, device="cpu"
        ).tolist()
        calls = []
        for index, seed in enumerate(seeds):
            shard = self._shards[index]
            shard.generator.manual_seed(seed)
            rows, share = self._part(batch, index, number)
            calls.append(partial(compute, shard, rows, share))
        return together(calls)

    def run(
        self,
        batch: Sequence[Any],
        number: int,
        fill: Callable[[Shard, Sequence[Any], float], Tensor],
    ) -> Tensor:
        """Fill the gradients of a batch; its loss.

        Parameters
        ----------
        batch, number
            As of `each`.
        fill : callable
            ``fill(shard, rows, share)`` fills the shard's gradient from these rows,
            whose mean has this share in the batch's, and returns their part of the
            loss.
        """
        losses = self.each(batch, number, fill)
        grads = [shard.grad for shard in self._shards[:number]]
        together([partial(_add, self._flat.grad, grads, p) for p in self._parts])
        return torch.stack(losses).sum()

    def forget(self) -> None:
        """Look at the module anew: it may have been changed."""
        for shard in self._shards:
            shard.forget()

    def _part(self, batch: Sequence[Any], index: int, number: int):
        """Rows of one shard, and their share."""
        n_rows = batch[0].shape[-2]
        rows = self._rows(index, number, n_rows)
        part = [
            None if t is None else t[..., rows] if at == 1 else t[..., rows, :]
            for at, t in enumerate(batch)
        ]
        return part, (rows.stop - rows.start) / n_rows

    def _rows(self, index: int, number: int, n_rows: int) -> slice:
        n_groups = n_rows // self._group
        start, stop = (i * n_groups // number * self._group for i in (index, index + 1))
        return slice(start, stop if index < number - 1 else n_rows)


@torch.no_grad()
def _add(out: Tensor, grads: list[Tensor], part: slice) -> None:
    """The sum of stretches of gradients, added as a tree."""
    parts = [grad[part] for grad in grads]
    while len(parts) > 2:
        for one, other in zip(parts[::2], parts[1::2], strict=True):
            one.add_(other)
        parts = parts[::2]
    torch.add(*parts, out=out[part])
