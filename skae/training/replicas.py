"""Replicas of a module: one for each thread that runs autograd.

A replica has parameters of its own that lie in the memory of the module's, so that
passes beside one another share no node of autograd: with shared ones, threads may wait
for one another for ever. `skae.training.shards` makes them; nothing here knows losses.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Replica"]

_PLAIN = type(None), bool, int, float, str, Tensor


class Replica:
    """A copy of a module with the same weights and buffers, in the same memory.

    Parameters
    ----------
    module : Module
        Its tensors are shared. Of all else, `follow` takes over the numbers, words and
        tensors that are attributes of modules; the rest is as it was when the replica
        was made.

    Attributes
    ----------
    module : Module
        The copy.
    """

    module: Any

    def __init__(self, module: nn.Module):
        shared: dict[int, Any] = {}
        for part in module.modules():
            own = [*vars(part).values(), *part.buffers(recurse=False)]
            shared |= {id(value): value for value in own if isinstance(value, Tensor)}
        self._leaves = {p: nn.Parameter(p.detach()) for p in module.parameters()}
        shared |= {id(p): leaf for p, leaf in self._leaves.items()}
        self.module = copy.deepcopy(module, shared)
        self._pairs = list(zip(module.modules(), self.module.modules(), strict=True))

    def follow(self) -> None:
        """Take over where the module's weights lie, and the state of its parts."""
        for parameter, leaf in self._leaves.items():
            leaf.data = parameter.data
            leaf.requires_grad_(parameter.requires_grad)
        for part, copied in self._pairs:
            own = vars(part).items()
            vars(copied).update({k: v for k, v in own if isinstance(v, _PLAIN)})

    def gradients(
        self, loss: Tensor, parameters: Iterable[nn.Parameter]
    ) -> list[Tensor | None]:
        """Of the replica's loss; None for parameters that it does not depend on.

        Parameters
        ----------
        loss : Tensor
            Summed over its entries.
        parameters : iterable of Parameter
            Of the module.
        """
        leaves = [self._leaves[parameter] for parameter in parameters]
        trained = [leaf for leaf in leaves if leaf.requires_grad]
        gradients = torch.autograd.grad(
            loss, trained, torch.ones_like(loss), allow_unused=True
        )
        found = dict(zip(map(id, trained), gradients, strict=True))
        return [found.get(id(leaf)) for leaf in leaves]
