"""What one training step is: batches become gradients, gradients move parameters.

`Trainer` builds a `Step` when a training begins and calls it for every batch. The loop,
the schedule and what is kept of a round are the trainer's; a step knows none of them.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from skae.training.flat_parameters import FlatGroup, FlatParameters
from skae.training.optimizer import FlatAdamW
from skae.training.shards import Shard, Shards
from skae.training.terms import Term, fill

__all__ = [
    "AutogradGradient",
    "FormulaGradient",
    "GroupGradient",
    "Step",
    "Update",
    "gradient_of",
]

# Named parameters whose gradients are there, before the optimiser takes them.
Watch = Callable[[list[tuple[str, nn.Parameter]]], None]


Rows = Sequence[Any]


class AutogradGradient:
    """Callable that fills the flat gradients of a module's ``batch_loss``.

    Parameters
    ----------
    module : Module
    flat : FlatParameters
    generator : torch.Generator
    """

    def __init__(self, module: Any, flat: FlatParameters, generator: Generator):
        self.module = module
        self.flat = flat
        self.generator = generator
        self.shards = Shards(module, flat, generator)

    def __call__(self, *batch) -> Tensor:
        """The loss of a batch, summed over members."""
        number = self.shards.number(batch)
        if number > 1:
            return self.shards.run(batch, number, self._fill)
        loss = self.module.batch_loss(*batch, generator=self.generator)
        self.flat.backward(loss)
        return loss.detach().sum()

    def forget(self) -> None:
        """The module may have been changed between two steps."""
        self.shards.forget()

    def _fill(self, shard: Shard, rows: Rows, share: float) -> Tensor:
        module = shard.replica_of(self.module)
        loss = module.batch_loss(*rows, generator=shard.generator)
        loss = loss * share
        shard.fill(loss, self.flat.parameters)
        return loss.detach().sum()


class FormulaGradient:
    """Callable that fills the flat gradients by the module's own formula.

    Parameters
    ----------
    module : Module
        With ``gradient(generator)``, see `Trainer`.
    whole : callable
        The formula for batches that are not cut.
    flat : FlatParameters
    generator : torch.Generator
    """

    def __init__(
        self,
        module: Any,
        whole: Callable[..., Tensor],
        flat: FlatParameters,
        generator: Generator,
    ):
        self.module = module
        self.whole = whole
        self.shards = Shards(module, flat, generator, is_traced=False)
        self._of_shards: dict[Shard, Any] = {}

    def __call__(self, *batch) -> Tensor:
        """The loss of a batch, summed over members."""
        number = self.shards.number(batch)
        if number == 1:
            return self.whole(*batch)
        losses, terms = zip(*self.shards.each(batch, number, self._of), strict=True)
        fill(list(chain.from_iterable(terms)))
        return torch.stack(losses).sum()

    def _of(self, shard: Shard, rows: Rows, share: float) -> tuple[Tensor, list[Term]]:
        own = self._of_shards.get(shard)
        if own is None:
            own = self._of_shards[shard] = self.module.gradient(shard.generator)
        return own.terms_of(share, *rows)


class GroupGradient:
    """Callable that fills the gradients of one group from the group's own loss.

    Parameters
    ----------
    module : Module
        With ``group_loss(name, *batch, generator)`` and, where it is ``is_rowwise``,
        ``row_loss`` of some rows of a batch, which follows ``begin_update(name)``.
    name : str
    flat : FlatParameters
    group : FlatGroup
        The stretch of the flat buffers that holds the parameters.
    generator : torch.Generator
    """

    def __init__(
        self,
        module: Any,
        name: str,
        flat: FlatParameters,
        group: FlatGroup,
        generator: Generator,
    ):
        self.module = module
        self.name = name
        self.flat = flat
        self.group = group
        self.generator = generator
        self.shards = Shards(module, flat, generator, group.place)

    def __call__(self, *batch) -> Tensor:
        """The loss of a batch."""
        number = self.shards.number(batch)
        if number > 1:
            self.module.begin_update(self.name)
            return self.shards.run(batch, number, self._fill)
        loss = self.module.group_loss(self.name, *batch, generator=self.generator)
        self.flat.backward(loss, self.group)
        return loss.detach()

    def forget(self) -> None:
        """The module may have been changed between two steps."""
        self.shards.forget()

    def _fill(self, shard: Shard, rows: Rows, share: float) -> Tensor:
        module = shard.replica_of(self.module)
        loss = module.row_loss(self.name, *rows, generator=shard.generator)
        loss = loss * share
        shard.fill(loss, self.group.parameters)
        return loss.detach()


def gradient_of(
    module: Any, flat: FlatParameters, generator: Generator, *, autograd: bool
) -> Callable[..., Tensor]:
    """What fills the flat gradients: the module's own formula, or autograd."""
    whole = None if autograd else module.gradient(generator)
    if whole is None:
        return AutogradGradient(module, flat, generator)
    return FormulaGradient(module, whole, flat, generator)


class Update(NamedTuple):
    """One gradient and the move that the optimiser makes of it.

    Attributes
    ----------
    name : str
        Of the sum that its losses are added to.
    gradient : callable
        Takes a batch, fills the gradients of the parameters and returns the loss,
        summed over members.
    optimizer : FlatAdamW
    parameters : iterable of Parameter
        Those that are moved.
    """

    name: str
    gradient: Callable[..., Tensor]
    optimizer: FlatAdamW
    parameters: Iterable[nn.Parameter]


class Step:
    """A training step: its updates, one after the other, on the same batch.

    Parameters
    ----------
    module : Module
    updates : sequence of Update
    """

    def __init__(self, module: nn.Module, updates: Sequence[Update]):
        self.module = module
        self.updates = list(updates)

    def __call__(
        self, batch: tuple, sums: dict[str, Tensor], watch: Watch | None = None
    ) -> Tensor:
        """Move the parameters; the loss of the last update.

        Parameters
        ----------
        batch : tuple
        sums : dict of str to Tensor of shape ()
            The loss of each update is added to that of its name.
        watch : callable, optional
            Gets the named parameters of each update once their gradients are there.
        """
        for update in self.updates:
            if watch is not None:
                # A callback may have changed anything in the module.
                self.forget()
            loss = update.gradient(*batch)
            if watch is not None:
                watch(self._named(update.parameters))
            update.optimizer.step()
            sums[update.name] += loss
        return loss

    def forget(self) -> None:
        """Drop what was made of the module: it may have been changed."""
        for update in self.updates:
            forget = getattr(update.gradient, "forget", None)
            if forget is not None:
                forget()

    def close(self, *, report: bool) -> None:
        """After the last step: nothing here."""

    def cleared(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Zeros for the sums of a round, in the memory of earlier sums."""
        zero = self.updates[0].optimizer.flat.data.new_zeros
        return {
            each.name: sums[each.name].zero_() if each.name in sums else zero(())
            for each in self.updates
        }

    def _named(self, parameters: Iterable[nn.Parameter]):
        own = {id(parameter) for parameter in parameters}
        return [
            named for named in self.module.named_parameters() if id(named[1]) in own
        ]
