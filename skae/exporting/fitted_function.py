"""`FittedFunction`: a method of a fitted estimator as a module, and several in a row.

This is what ``to_torch`` returns and what is exported to ONNX. It joins two ends, a
body and perhaps a condition; what they compute is theirs.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Chain", "FittedFunction"]


class FittedFunction(nn.Module):
    """A method of a fitted estimator, from X's units to X's units.

    Parameters
    ----------
    input : Module
        End with ``to_model``.
    body : Module
        ``body(x)``, or ``body(x, context)`` with a condition.
    output : Module
        End with ``to_user``; that of the input where samples keep their shape.
    condition : Module, optional
        Encodes y, shape ``(batch, n_context)``.

    Attributes
    ----------
    example_inputs : tuple of Tensor
        A few samples around the training mean, and their y.

    Shape
    -----
    X : ``(batch, *sample_shape)`` or flat, float32 or float64; y : ``(batch,)`` or
    ``(batch, n_outputs)``. Rows that are not all numbers, or whose y is no class of the
    fit, come back as NaN. Results for integers are float64, as the estimator's.

    Raises
    ------
    TypeError
        When X or y is no tensor.
    ValueError
        When X has another shape than in training, or y is missing or not taken.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import torch
    >>> from skae import AutoencoderTransformer
    >>> X = load_iris().data
    >>> ae = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(X)
    >>> encode = ae.to_torch("transform")
    >>> encode(torch.from_numpy(X[:5])).shape
    torch.Size([5, 2])
    """

    example_inputs: tuple[Tensor, ...] = ()

    def __init__(
        self,
        input: nn.Module,
        body: nn.Module,
        output: nn.Module,
        condition: nn.Module | None = None,
    ):
        super().__init__()
        self.input: Any = input
        self.body: Any = body
        self.output: Any = output
        self.condition: Any = condition

    @property
    def requires_y(self) -> bool:
        """Whether y is required."""
        return self.condition is not None and self.body.requires_context

    def forward(self, X: Tensor, y: Tensor | None = None) -> Tensor:
        _check_tensor(X, "X")
        x = self.input.to_model(X).to(self._dtype)
        shape = X.shape[1:] if self.input is self.output else None
        is_valid = self.input.is_valid(x)
        inputs = [x]
        if self.condition is None:
            _check_without(y)
        elif y is not None:
            _check_tensor(y, "y")
            inputs.append(self.condition(y).to(x.dtype))
            has_class = inputs[1].any(1)
            is_valid = has_class if is_valid is None else is_valid & has_class
        dtype = X.dtype if X.is_floating_point() else torch.float64
        out = self.output.to_user(self.body(*inputs), dtype, shape)
        if is_valid is None or not out.is_floating_point():
            return out
        is_valid = is_valid.reshape(-1, *[1] * (out.ndim - 1))
        return torch.where(is_valid, out, torch.full_like(out, torch.nan))

    @property
    def _dtype(self) -> torch.dtype:
        """Of the body, in which it computes."""
        tensors = (*self.body.parameters(), *self.body.buffers())
        return next(tensor.dtype for tensor in tensors if tensor.is_floating_point())


class Chain(nn.Module):
    """Fitted functions, each of the result of the one before."""

    example_inputs: tuple[Tensor, ...] = ()
    condition = None
    requires_y = False

    def __init__(self, functions: Iterator[nn.Module] | list[nn.Module]):
        super().__init__()
        self.functions: Any = nn.ModuleList(functions)

    @property
    def input(self) -> Any:
        """The end of the first."""
        return self.functions[0].input

    @property
    def output(self) -> Any:
        """The end of the last."""
        return self.functions[-1].output

    def forward(self, X: Tensor, y: Tensor | None = None) -> Tensor:
        _check_without(y)
        for function in self.functions:
            X = function(X)
        return X


def _check_tensor(value, name: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a tensor; got {type(value).__name__}. Pass "
            f"torch.as_tensor({name}), or call the estimator's method with arrays."
        )


def _check_without(y) -> None:
    if y is not None:
        raise ValueError(
            "y was passed, but this model was fitted without a condition; leave out y."
        )
