"""The condition y of conditional models as a tensor, and results without one.

`condition_of` encodes y as `skae.checks.conditions` does; `conditional` makes fitted
functions of a model take it. Classes come as their labels where those are numbers, else
as numbers of the class.
"""

import torch
from torch import Generator, Tensor, nn

from skae.checks.conditions import Classes
from skae.exporting.ends import Labels, float64_copy, standard_normal
from skae.exporting.fitted_function import FittedFunction

__all__ = [
    "Joint",
    "Marginal",
    "OfLikeliest",
    "Unconditioned",
    "condition_of",
    "conditional",
]


def condition_of(context) -> nn.Module:
    """The module that encodes y for a `Classes` or a `Numbers`."""
    is_classes = isinstance(context, Classes)
    return ClassCondition(context) if is_classes else NumberCondition(context)


def conditional(function: FittedFunction, context, without=None) -> FittedFunction:
    """A fitted function that takes y too.

    Parameters
    ----------
    function : FittedFunction
        Its body takes a context.
    context : Classes or Numbers
    without : Module, optional
        Computed of x when y is left out; None where y is required.
    """
    body = OptionalContext(function.body, without)
    return FittedFunction(function.input, body, function.output, condition_of(context))


class ClassCondition(nn.Module):
    """Class labels to one-hot columns; zeros for labels of no class.

    Shape
    -----
    ``(batch,)`` to ``(batch, n_classes)``
    """

    value_shape = ()

    def __init__(self, context: Classes):
        super().__init__()
        self.labels = Labels(context.classes)
        self.width = context.width

    @property
    def classes(self):
        """The labels, in order."""
        return self.labels.classes

    def examples(self, n_samples: int, generator: Generator) -> Tensor:
        """All classes in turn."""
        numbers = torch.arange(n_samples, device="cpu") % self.width
        values = self.labels.values
        return numbers if values is None else values[numbers.to(values.device)]

    def forward(self, y: Tensor) -> Tensor:
        values = self.labels.values
        if values is None:
            values = torch.arange(self.width, device=y.device)
        return (y[:, None] == values).float()


class NumberCondition(nn.Module):
    """Numbers, standardised, and a column of ones.

    Shape
    -----
    ``(batch,)`` or ``(batch, n_outputs)`` to ``(batch, n_outputs + 1)``
    """

    mean: Tensor
    scale: Tensor
    classes = None

    def __init__(self, context):
        super().__init__()
        self.value_shape = context.value_shape
        self.width = context.width
        self.register_buffer("mean", float64_copy(context.mean))
        self.register_buffer("scale", float64_copy(context.scale))

    def examples(self, n_samples: int, generator: Generator) -> Tensor:
        """Numbers around their mean."""
        shape = n_samples, len(self.mean)
        y = standard_normal(shape, generator).to(self.mean) * self.scale + self.mean
        return y if self.value_shape else y[:, 0]

    def forward(self, y: Tensor) -> Tensor:
        y = y if y.ndim > 1 else y[:, None]
        if y.shape[1] != len(self.mean):
            raise ValueError(
                f"y must have the {len(self.mean)} columns of the fit; got "
                f"{y.shape[1]}."
            )
        scaled = (y.double() - self.mean) / self.scale
        return torch.cat([scaled, torch.ones_like(scaled[:, :1])], 1).float()


class OptionalContext(nn.Module):
    """A function of rows and their context, or another one of rows alone."""

    def __init__(self, body: nn.Module, without: nn.Module | None):
        super().__init__()
        self.body = body
        self.without = without

    @property
    def requires_context(self) -> bool:
        """Whether rows alone do not suffice."""
        return self.without is None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is not None:
            return self.body(x, context)
        if self.without is None:
            raise ValueError(
                "y must be passed: this method has no result without a condition."
            )
        return self.without(x)


class Unconditioned(nn.Module):
    """A function at the context of zeros, which stands for no condition."""

    def __init__(self, body: nn.Module, width: int):
        super().__init__()
        self.body = body
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, x.new_zeros(x.shape[0], self.width))


class Joint(nn.Module):
    """Bound of log p(x, y) for each class, ``(batch, n_classes)``.

    Parameters
    ----------
    bound : Module
        ``bound(x, context)``, nats of a row given its class.
    context : Classes
    """

    log_shares: Tensor

    def __init__(self, bound: nn.Module, context: Classes):
        super().__init__()
        self.bound = bound
        self.register_buffer("log_shares", float64_copy(context.shares).log())

    def forward(self, x: Tensor) -> Tensor:
        hot = torch.eye(len(self.log_shares), dtype=x.dtype, device=x.device)
        bounds = [self.bound(x, one.expand(x.shape[0], -1)) for one in hot.unbind()]
        return torch.stack(bounds, 1) + self.log_shares


class Marginal(nn.Module):
    """Bound of log p(x), summed over the classes."""

    def __init__(self, joint: Joint):
        super().__init__()
        self.joint = joint

    def forward(self, x: Tensor) -> Tensor:
        return self.joint(x).logsumexp(1)


class OfLikeliest(nn.Module):
    """A function of rows given their likeliest class."""

    def __init__(self, body: nn.Module, joint: Joint):
        super().__init__()
        self.body = body
        self.joint = joint

    def forward(self, x: Tensor) -> Tensor:
        likeliest = self.joint(x).argmax(1, keepdim=True)
        classes = torch.arange(len(self.joint.log_shares), device=x.device)
        return self.body(x, (likeliest == classes).to(x.dtype))
