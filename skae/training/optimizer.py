"""One flat buffer for all parameters of a module, and AdamW on it.

The optimiser, the moving average and the snapshot then cost one call each whatever the
number of layers. Parameters stay ordinary `nn.Parameter` objects: they are views.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["FlatAdamW", "FlatGroup", "FlatParameters"]

# Of AdamW.
_EPSILON = 1e-8
# torch.optim calls the same kernel after 30 us of bookkeeping. It is private, so a
# version of torch may come without.
_fused_adamw = getattr(torch, "_fused_adamw_", None)


class FlatGroup(NamedTuple):
    """A stretch of the buffer that an optimiser of its own moves.

    Attributes
    ----------
    data, grad : Tensor of shape (n_parameters,)
    decayed : Tensor
        The leading part of ``data`` that is under weight decay.
    place : slice
        Where the stretch lies in the buffer.
    """

    data: Tensor
    grad: Tensor
    decayed: Tensor
    place: slice


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
            stretch = FlatGroup(data, self.grad[place], data[:n_decayed], place)
            self.groups.append(stretch)
            start = place.stop
        self.decayed = self.groups[0].decayed

    @torch.no_grad()
    def _lay_out(self, parameters: list[nn.Parameter]) -> None:
        """Move values and gradients into the buffers, in their order in memory."""
        self._by_columns = [_by_columns(p) for p in parameters]
        in_memory = self._in_memory(parameters)
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

    def _in_memory(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Those that belong to the parameters, in the buffer's order of entries."""
        turned = zip(tensors, self._by_columns, strict=True)
        return [t.mT if by_columns else t for t, by_columns in turned]

    def slopes_in(self, buffer: Tensor) -> dict[nn.Parameter, Tensor]:
        """Views of a tensor of ``data``'s shape, as gradients lie in ``grad``."""
        views = {}
        for parameter in self.parameters:
            start = parameter.storage_offset() - self.data.storage_offset()
            views[parameter] = buffer.as_strided(
                parameter.shape, parameter.stride(), buffer.storage_offset() + start
            )
        return views

    def backward(self, loss: Tensor) -> None:
        """Fill ``grad`` with the gradient of a loss, summed over its entries."""
        slope = torch.ones_like(loss)
        if self.data.device.type == "cpu":
            # In C++ throughout; elsewhere each parameter would cost a launch.
            self.grad.zero_()
            loss.backward(slope)
            return
        gradients = torch.autograd.grad(
            loss, self.parameters, slope, materialize_grads=True
        )
        parts = [part.reshape(-1) for part in self._in_memory(gradients)]
        torch.cat(parts, out=self.grad)

    def like(self, values: dict[nn.Parameter, float] | None) -> Tensor | None:
        """A tensor of ``data``'s shape with each parameter's value, one where none."""
        if values is None:
            return None
        parts = [
            self.data.new_full((p.numel(),), values.get(p, 1.0))
            for p in self.parameters
        ]
        return torch.cat(parts)


def _by_columns(parameter: Tensor) -> bool:
    return (
        parameter.ndim > 1
        and not parameter.is_contiguous()
        and parameter.mT.is_contiguous()
    )


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
        self.restart(1.0)

    def restart(self, factor: float) -> None:
        """Forget the moments and go on from the current weights at lr * factor."""
        self.factor = factor
        self.step_count = 0
        self._first = torch.zeros_like(self.flat.data)
        self._second = torch.zeros_like(self.flat.data)
        self._step = self.flat.data.new_zeros(())
        self.average.copy_(self.flat.data)

    def rate(self) -> float:
        """Learning rate of the coming step."""
        if self.constant:
            return self.lr * self.factor
        warm = max(1, round(0.05 * self.n_steps))
        if self.step_count < warm:
            return self.lr * self.factor * (self.step_count + 1) / warm
        kept = max(warm, round(self.plateau * self.n_steps))
        done = (self.step_count - kept) / max(1, self.n_steps - kept)
        done = min(1.0, max(0.0, done))
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * self.factor * (0.001 + 0.999 * cosine)

    def step(self) -> None:
        """One update from ``flat.grad``."""
        rate = self.rate()
        before = None if self.shares is None else self.flat.data.clone()
        if self.weight_decay:
            self.flat.decayed.mul_(1 - rate * self.weight_decay)
        self._adam(rate)
        if before is not None and self.shares is not None:
            torch.lerp(before, self.flat.data, self.shares, out=self.flat.data)
        self.step_count += 1
        # A growing window first: early averages would otherwise remember the start.
        decay = min(self.ema_decay, self.step_count / (self.step_count + 9))
        self.average.lerp_(self.flat.data, 1 - decay)

    @property
    def averages(self) -> bool:
        """Whether the average is not the last weights."""
        return self.ema_decay > 0

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
        self._step.fill_(state["n_steps"])
        self.factor = state["factor"] if state["lr"] == self.lr else 1.0

    def _adam(self, rate: float) -> None:
        """Adam's step from the gradient."""
        self._step += 1
        if _fused_adamw is None:
            self._plain_adam(rate)
            return
        _fused_adamw(
            [self.flat.data],
            [self.flat.grad],
            [self._first],
            [self._second],
            [],
            [self._step],
            lr=rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _plain_adam(self, rate: float) -> None:
        """Kingma and Ba 2015, algorithm 1."""
        beta1, beta2 = self.betas
        grad, number = self.flat.grad, self.step_count + 1
        self._first.lerp_(grad, 1 - beta1)
        self._second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        spread = (self._second / (1 - beta2**number)).sqrt_().add_(_EPSILON)
        self.flat.data.addcdiv_(self._first, spread, value=-rate / (1 - beta1**number))
