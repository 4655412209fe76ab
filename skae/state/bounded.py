"""A bound on the memory of each result of torch.

Used to try out what came from a file: numbers in it, such as the padding of a
convolution, may ask for any amount of memory, and shapes may broadcast to any size.
Sizes are estimated before each operation.
"""

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["Bounded", "TooLargeError"]

_ITEM = 8
_MAKE = {"zeros", "ones", "empty", "rand", "randn", "eye", "arange", "randperm"}
_MAKE |= {"linspace", "logspace", "normal", "randint", "full"}
_MAKE |= {f"new_{name}" for name in ("zeros", "ones", "empty", "full")}
_MULTIPLY = {"matmul", "__matmul__", "mm", "bmm"}
# These take the second of them transposed.
_TRANSPOSED = {"linear", "cdist"}
_REPEAT = {"repeat", "tile", "repeat_interleave", "one_hot"}
# Of a given size, for each channel of each sample.
_RESIZE = "adaptive_", "upsample", "interpolate", "fold", "max_unpool"


class TooLargeError(MemoryError):
    """An operation that was not carried out, as its result would be too large.

    Attributes
    ----------
    n_bytes : int
        Of the result, about.
    """

    def __init__(self, name: str, n_bytes: int, most: int):
        super().__init__(f"{name} would give {n_bytes} bytes, and {most} are allowed")
        self.n_bytes = n_bytes


class Bounded(TorchFunctionMode):
    """Context in which operations of this thread give no more bytes than these.

    Parameters
    ----------
    n_bytes : int

    Raises
    ------
    TooLargeError
        In the place of the operation.

    Examples
    --------
    >>> import torch
    >>> from skae.state.bounded import Bounded
    >>> with Bounded(1000):
    ...     torch.zeros(100).sum()
    tensor(0.)
    """

    def __init__(self, n_bytes: int):
        super().__init__()
        self._most = n_bytes

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        kwargs = kwargs or {}
        n_bytes = _ITEM * _n_entries(func, name, [*args, *kwargs.values()], kwargs)
        if n_bytes > self._most:
            raise TooLargeError(name, n_bytes, self._most)
        return func(*args, **kwargs)


def _n_entries(func, name: str, values: list, kwargs: dict) -> int:
    """About how many entries an operation gives, if they may be many."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if name in _MAKE:
        sizes = values[:1] if name.endswith("full") else values
        return math.prod(filter(None, _whole(sizes)))
    if not tensors:
        return 0
    if name in _REPEAT:
        return tensors[0].numel() * math.prod(_whole(values))
    if name == "pad":
        return _padded(tensors[0].shape, list(_whole(values[1:2])))
    if func is F.unfold:
        return _unfolded(tensors[0], values)
    if name.startswith("conv"):
        return _convolved(tensors, _Steps(name, values, kwargs))
    if name.startswith(_RESIZE):
        factor = math.prod(abs(float(each)) for each in _scales(name, kwargs))
        return int(tensors[0].numel() * max(1, math.prod(_whole(values)), factor))
    if name == "local_response_norm":
        return tensors[0].numel() * (1 + max(_whole(values), default=1))
    if name == "index_select" and len(tensors) > 1:
        x, index = tensors[:2]
        return x.numel() * index.numel() // max(1, min(x.shape, default=1))
    if name in _MULTIPLY | _TRANSPOSED and len(tensors) > 1:
        return _multiplied(*tensors[:2], name in _TRANSPOSED)
    return _broadcast([tuple(each.shape) for each in tensors])


def _multiplied(x: Tensor, weight: Tensor, is_transposed: bool) -> int:
    left, right = tuple(x.shape), tuple(weight.shape)
    columns = right[-2 if is_transposed else -1 :][:1] if len(right) > 1 else ()
    return math.prod((*left[-2:-1], *columns)) * _broadcast([left[:-2], right[:-2]])


def _unfolded(x: Tensor, values: list) -> int:
    """Windows of images, for any arguments after the first."""
    largest = max(_whole(values[1:2]), default=1)
    padding = max(_whole(values[2:]), default=0)
    return x.numel() * largest**2 * (1 + 2 * padding) ** 2


def _whole(values) -> Iterator[int]:
    """The sizes among arguments."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _whole(value)
        elif type(value) is int:
            yield abs(value)


def _padded(shape: tuple[int, ...], pads: list[int]) -> int:
    sizes = list(shape)
    for axis, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=False)):
        if axis < len(sizes):
            sizes[-1 - axis] += before + after
    return math.prod(sizes)


class _Steps:
    """Stride and padding of a convolution, as the largest numbers along any axis."""

    def __init__(self, name: str, values: list, kwargs: dict):
        largest = [max(_whole([value]), default=1) for value in values[3:]]
        largest = [*largest, 1, 1, 1, 1, 1]
        self.is_transposed = "transpose" in name
        self.stride = max(_whole([kwargs.get("stride", largest[0])]), default=1)
        others = [kwargs[key] for key in ("padding", "output_padding") if key in kwargs]
        self.padding = max(_whole([*others, *largest[1:3]]), default=0)


def _convolved(tensors: list[Tensor], steps: _Steps) -> int:
    if len(tensors) < 2:
        return 0
    x, weight = tensors[:2]
    n_axes = max(0, weight.ndim - 2)
    sizes = x.shape[x.ndim - n_axes :]
    factor = steps.stride if steps.is_transposed else 1
    spatial = math.prod(size * factor + 2 * steps.padding for size in sizes)
    return x.shape[0] * max(weight.shape[:2], default=1) * spatial


def _scales(name: str, kwargs: dict) -> list:
    scale = kwargs.get("scale_factor") if name == "interpolate" else None
    if scale is None:
        return []
    return list(scale) if isinstance(scale, list | tuple) else [scale] * 3


def _broadcast(shapes: list[tuple]) -> int:
    if len(set(shapes)) == 1:
        return math.prod(shapes[0])
    try:
        return math.prod(np.broadcast_shapes(*shapes))
    except ValueError:
        # Arguments of which only one is like the result.
        return max(map(math.prod, shapes))
