"""One flat buffer for all parameters of a module, and one for their gradients.

The optimiser, the shards of a step and the snapshot then make one call each whatever
the number of layers. Parameters stay ordinary `nn.Parameter` objects: they are views.
Nothing here chooses how they are updated.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["FlatGroup", "FlatParameters", "stretches"]

# Parameters that a thread works on at a time: far more than a call costs.
STRETCH = 2**17


class FlatGroup(NamedTuple):
    """A stretch of the buffer that an optimiser of its own moves.

    Attributes
    ----------
    data, grad : Tensor of shape (n_parameters,)
    decayed : Tensor
        The leading part of ``data`` that is under weight decay.
    place : slice
        Where the stretch lies in the buffer.
    parameters : list of Parameter
        In their order in the buffer.
    """

    data: Tensor
    grad: Tensor
    decayed: Tensor
    place: slice
    parameters: list[nn.Parameter]


class FlatParameters:
    """Views of a module's parameters and gradients in two flat tensors.

    Parameters
    ----------
    module : Module
        Its trainable parameters are moved into the buffer in place.
    decayed : iterable of Parameter, default=()
        Those under weight decay; they come first in the buffer, or in their group.
    groups : sequence of iterables of Parameter, optional
        Parameters that lie side by side, each in one group; all are one group where
        left out.

    Attributes
    ----------
    parameters : list of Parameter
        In their order in the buffer.
    data, grad : Tensor of shape (n_parameters,)
    decayed : Tensor
        The leading part of ``data``, of the first group.
    groups : list of FlatGroup
    """

    def __init__(
        self,
        module: nn.Module,
        decayed: Iterable[nn.Parameter] = (),
        groups: Sequence[Iterable[nn.Parameter]] | None = None,
    ):
        decay = {id(p): p for p in decayed if p.requires_grad}
        ordered = []
        for group in [module.parameters()] if groups is None else groups:
            trained = {id(p): p for p in group if p.requires_grad}
            # In the order in which decayed ones came.
            first = [p for key, p in decay.items() if key in trained]
            ordered.append((first, [p for k, p in trained.items() if k not in decay]))
        self.parameters = [p for parts in ordered for part in parts for p in part]
        self._lay_out(self.parameters)
        self.groups: list[FlatGroup] = []
        start = 0
        for first, rest in ordered:
            n_decayed = sum(p.numel() for p in first)
            place = slice(start, start + n_decayed + sum(p.numel() for p in rest))
            data = self.data[place]
            decayed_part, own = data[:n_decayed], [*first, *rest]
            stretch = FlatGroup(data, self.grad[place], decayed_part, place, own)
            self.groups.append(stretch)
            start = place.stop
        self.decayed = self.groups[0].decayed

    @torch.no_grad()
    def _lay_out(self, parameters: list[nn.Parameter]) -> None:
        """Move values and gradients into the buffers, in their order in memory."""
        self._by_columns = {id(p): _by_columns(p) for p in parameters}
        in_memory = self._in_memory(parameters, parameters)
        self.data = torch.cat([p.reshape(-1) for p in in_memory])
        self.grad = torch.zeros_like(self.data)
        start = 0
        for parameter, stored in zip(parameters, in_memory, strict=True):
            place = slice(start, start + parameter.numel())
            views = [flat[place].view(stored.shape) for flat in (self.data, self.grad)]
            if stored is not parameter:
                views = [view.mT for view in views]
            parameter.data, parameter.grad = views
            start = place.stop

    def _in_memory(
        self, tensors: Sequence[Tensor], parameters: list[nn.Parameter]
    ) -> list[Tensor]:
        """Those that belong to the parameters, in the buffer's order of entries."""
        turned = zip(tensors, parameters, strict=True)
        return [t.mT if self._by_columns[id(p)] else t for t, p in turned]

    def gradients_in(self, buffer: Tensor) -> dict[nn.Parameter, Tensor]:
        """Views of a tensor of ``data``'s shape, as gradients lie in ``grad``."""
        views = {}
        for parameter in self.parameters:
            start = parameter.storage_offset() - self.data.storage_offset()
            views[parameter] = buffer.as_strided(
                parameter.shape, parameter.stride(), buffer.storage_offset() + start
            )
        return views

    def backward(self, loss: Tensor, group: FlatGroup | None = None) -> None:
        """Fill ``grad`` with the gradient of a loss, summed over its entries.

        Parameters
        ----------
        loss : Tensor
        group : FlatGroup, optional
            One of ``groups``, to fill its gradient only.
        """
        grad = self.grad if group is None else group.grad
        parameters = self.parameters if group is None else group.parameters
        ones = torch.ones_like(loss)
        if self.data.device.type == "cpu":
            # In C++ throughout; elsewhere each parameter would cost a launch.
            grad.zero_()
            loss.backward(ones, inputs=None if group is None else parameters)
            return
        gradients = torch.autograd.grad(loss, parameters, ones, materialize_grads=True)
        parts = [part.reshape(-1) for part in self._in_memory(gradients, parameters)]
        torch.cat(parts, out=grad)

    def like(self, values: dict[nn.Parameter, float] | None) -> Tensor | None:
        """A tensor of ``data``'s shape with each parameter's value, one where none."""
        if values is None:
            return None
        parts = [
            self.data.new_full((p.numel(),), values.get(p, 1.0))
            for p in self.parameters
        ]
        return torch.cat(parts)


def stretches(place: slice) -> list[slice]:
    """A place in a flat buffer, cut into parts for threads if it is large."""
    n_parts = max(1, (place.stop - place.start) // STRETCH)
    starts = [place.start + STRETCH * number for number in range(n_parts)]
    ends = [*starts[1:], place.stop]
    return [slice(*ends) for ends in zip(starts, ends, strict=True)]


def _by_columns(parameter: Tensor) -> bool:
    return (
        parameter.ndim > 1
        and not parameter.is_contiguous()
        and parameter.mT.is_contiguous()
    )
