"""Layers that codecs, critics and generators share: dense, and strided ones of images.

`affine` is the dense layer as a function and `Affine` the module that holds its
weights. `Down` and `Up` are a strided convolution and the transposed one that brings
its sizes back exactly. Where the stride is the kernel they cut the image into patches,
which are matrix products: several times faster on a CPU than overlapping windows.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.image_windows import doubling, halving
from skae.parts.random_numbers import normal_numbers
from skae.rows.few_rows import FEW_ROWS
from skae.rows.tensors import SINGLE

__all__ = [
    "Affine",
    "Down",
    "Layer",
    "Same",
    "ShiftedUp",
    "Up",
    "Window",
    "affine",
    "channel_groups",
    "copy_member",
    "in_patches",
    "joined",
    "product",
    "row_work",
    "strided",
    "widest",
]

# Products of other widths take up rows one by one in kernels of their own.
_STEADY_WIDTH = 16


class Layer(nn.Module):
    """Weights and biases; the former start as N(0, gain / fan_in).

    ``n_uses`` says how many products of a row each weight takes part in.
    """

    n_uses = 1

    def __init__(self, shape: tuple[int, ...], n_out: int, fan_in: float):
        super().__init__()
        self.fan_in = fan_in
        self.weight = nn.Parameter(torch.zeros(shape, **SINGLE))
        self.bias = nn.Parameter(torch.zeros(n_out, **SINGLE))

    @torch.no_grad()
    def reset(self, generator: Generator, gain: float) -> None:
        """Draw the weights anew."""
        draw = normal_numbers(self.weight.shape, generator)
        self.weight.copy_(draw * (gain / self.fan_in) ** 0.5)
        self.bias.zero_()


class Affine(Layer):
    """Fully connected layer, ``(batch, n_in)`` to ``(batch, n_out)``."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True):
        super().__init__((n_in, n_out), n_out, n_in)
        self.bias.requires_grad_(bias)  # It stays zero without.

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias)


class Same(Layer):
    """Convolution that keeps the size of the image, which is ``sizes``."""

    def __init__(self, n_in: int, n_out: int, kernel: int, sizes: Sequence[int]):
        super().__init__((n_out, n_in, kernel, kernel), n_out, n_in * kernel**2)
        self.padding = kernel // 2
        self.n_uses = math.prod(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


class Window(NamedTuple):
    """How a layer's kernel moves along one axis of the image.

    Attributes
    ----------
    size : int
        Of the image.
    kernel, stride : int
    padding : int
        Zeros before and after the image.
    extra : int
        Zeros after it, so that no pixel is left out.
    output : int
        Positions of the kernel.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    extra: int
    output: int

    @classmethod
    def over(cls, size: int, kernel: int, stride: int) -> "Window":
        """The window of a kernel over an axis.

        Raises
        ------
        ValueError
            When the axis is shorter than the kernel, or pixels between two positions
            would never be seen.
        """
        if size == 1:
            return cls(1, 1, 1, 0, 0, 1)
        if stride > kernel:
            raise ValueError(
                f"stride={stride} must not exceed kernel_size={kernel}: pixels between "
                "two windows would never be seen."
            )
        padding = (kernel - stride + 1) // 2
        room = size + 2 * padding - kernel
        if room < 0:
            raise ValueError(
                f"kernel_size={kernel} with stride={stride} needs at least "
                f"{kernel - 2 * padding} pixels; this axis has {size} left."
            )
        missing = room % stride
        extra = stride - missing if missing > padding else 0
        return cls(size, kernel, stride, padding, extra, (room + extra) // stride + 1)

    @property
    def left_over(self) -> int:
        """Pixels that the transposed layer has to add at the end."""
        return (self.size + self.extra + 2 * self.padding - self.kernel) % self.stride


Windows = Sequence[Window]


def strided(
    sizes: Sequence[int], n_layers: int, kernel: int, stride: int
) -> tuple[list[Windows], list[int]]:
    """Windows of successive strided layers, and the sizes that the last one leaves."""
    sizes, stack = list(sizes), list[Windows]()
    for _ in range(n_layers):
        stack.append([Window.over(size, kernel, stride) for size in sizes])
        sizes = [window.output for window in stack[-1]]
    return stack, sizes


class Down(Layer):
    """Strided convolution.

    Shape
    -----
    ``(batch, n_in, height, width)`` to ``(batch, n_out, *outputs of the windows)``.
    """

    def __init__(self, n_in: int, n_out: int, windows: Windows):
        kernel = [window.kernel for window in windows]
        super().__init__((n_out, n_in, *kernel), n_out, n_in * math.prod(kernel))
        self.windows = windows
        self.n_uses = math.prod(window.output for window in windows)

    @property
    def n_values(self) -> int:
        """Values of a sample in the output."""
        return self.weight.shape[0] * math.prod(w.output for w in self.windows)

    @torch.no_grad()
    def orthogonalize(self) -> None:
        """Make the filters an orthogonal matrix (Saxe et al. 2014, arXiv 1312.6120).

        Where there are as many as pixels in a window, all of these then weigh the same,
        and so do all patterns of them. The mean square of the weights is kept.
        """
        u, s, v = torch.linalg.svd(self.weight.flatten(1), full_matrices=False)
        self.weight.copy_((s.square().mean().sqrt() * (u @ v)).view_as(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        high, wide = self.windows
        if high.extra or wide.extra:
            x = F.pad(x, (0, wide.extra, 0, high.extra))
        if in_patches(self.windows):
            shape = (high.output, high.kernel, wide.output, wide.kernel)
            patches = x.reshape(*x.shape[:2], *shape).permute(0, 2, 4, 1, 3, 5)
            patches = patches.reshape(-1, self.weight[0].numel())
            h = torch.addmm(self.bias, patches, self.weight.flatten(1).mT)
            return h.view(-1, high.output, wide.output, h.shape[1]).permute(0, 3, 1, 2)
        if self.training and self.weight.shape[1] == 1 and _are_halving(self.windows):
            return halving(x, self.weight, self.bias)
        stride = [window.stride for window in self.windows]
        padding = [window.padding for window in self.windows]
        return F.conv2d(x, self.weight, self.bias, stride, padding)


class Up(Layer):
    """Transposed convolution that undoes the shapes of a `Down` with these windows."""

    def __init__(self, n_in: int, n_out: int, windows: Windows):
        kernel = [window.kernel for window in windows]
        overlap = math.prod(window.kernel / window.stride for window in windows)
        super().__init__((n_in, n_out, *kernel), n_out, n_in * overlap)
        self.windows = windows
        self.n_uses = math.prod(window.output for window in windows)

    @property
    def n_values(self) -> int:
        """Values of a sample in the output."""
        return self.weight.shape[1] * math.prod(w.size + w.extra for w in self.windows)

    def forward(self, h: Tensor) -> Tensor:
        high, wide = self.windows
        n_in, n_out = self.weight.shape[:2]
        if in_patches(self.windows):
            rows = h.permute(0, 2, 3, 1).reshape(-1, n_in)
            bias = self.bias.repeat_interleave(high.kernel * wide.kernel)
            patches = torch.addmm(bias, rows, self.weight.flatten(1))
            shape = (high.output, wide.output, n_out, high.kernel, wide.kernel)
            x = patches.view(-1, *shape).permute(0, 3, 1, 4, 2, 5)
            x = x.reshape(h.shape[0], n_out, high.size + high.extra, -1)
        elif self.training and n_out == 1 and _are_halving(self.windows):
            x = doubling(h, self.weight) + self.bias
        else:
            stride = [window.stride for window in self.windows]
            padding = [window.padding for window in self.windows]
            left_over = [window.left_over for window in self.windows]
            x = F.conv_transpose2d(
                h, self.weight, self.bias, stride, padding, left_over
            )
        return x[:, :, : high.size, : wide.size]


class ShiftedUp(Up):
    """`Up` of patches that lie half a patch further, over the borders of the others.

    Each is made of the mean of the features of the patches that it overlaps; beyond the
    image they are zero.

    Parameters
    ----------
    n_in, n_out : int
    windows : Windows
        Of the patches that are not shifted.
    """

    def __init__(self, n_in: int, n_out: int, windows: Windows):
        super().__init__(n_in, n_out, [_with_one_more(window) for window in windows])
        self.image = [window.size for window in windows]

    def forward(self, h: Tensor) -> Tensor:
        is_shifted = [window.kernel > 1 for window in self.windows]
        around = [1 + shifted for shifted in is_shifted]
        between = F.avg_pool2d(h, around, 1, [int(shifted) for shifted in is_shifted])
        top, left = (window.kernel // 2 for window in self.windows)
        high, wide = self.image
        return super().forward(between)[:, :, top : top + high, left : left + wide]


def _with_one_more(window: Window) -> Window:
    """The window of patches over an axis that is one patch longer."""
    size, kernel = (window.output + 1) * window.kernel, window.kernel
    return window if kernel == 1 else Window.over(size, kernel, kernel)


def in_patches(windows: Windows) -> bool:
    """Whether windows cut the image into patches that do not overlap."""
    return all(window.kernel == window.stride for window in windows)


def _are_halving(windows: Windows) -> bool:
    """Whether `halving` has these windows."""
    return all(
        (window.kernel, window.stride, window.padding) == (4, 2, 1)
        and not window.extra
        and not window.left_over
        for window in windows
    )


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias, see `product`.

    Shape
    -----
    x : ``(..., batch, n_in)``; weight : ``(..., n_in, n_out)``; bias : ``(...,
    n_out)``.
    """
    if x.ndim == weight.ndim == 2:
        if _is_unsteady(x, weight):
            return product(x, weight) + bias
        return torch.addmm(bias, x, weight)
    if x.ndim == weight.ndim == 3:
        return torch.baddbmm(bias.unsqueeze(1), x, weight)
    return x @ weight + (bias if weight.ndim == 2 else bias.unsqueeze(-2))


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight; without gradients, a row's result does not depend on its place."""
    if x.ndim == weight.ndim == 2 and _is_unsteady(x, weight):
        n_out = weight.shape[1]
        padded = F.pad(weight, (0, -n_out % _STEADY_WIDTH)).contiguous()
        return (x @ padded)[:, :n_out]
    return x @ weight


def _is_unsteady(x: Tensor, weight: Tensor) -> bool:
    """Whether the last bits of a row of the product may depend on its place.

    Of few rows the copy of the weights would take longest; `fewest_rows` tries whether
    they are steady without.
    """
    if torch.compiler.is_compiling():
        # An exported graph takes any number of rows.
        return False
    if x.size(0) <= FEW_ROWS or torch.is_grad_enabled() or weight.device.type != "cpu":
        return False
    return weight.shape[1] % _STEADY_WIDTH > 0 or not weight.is_contiguous()


def joined(x: Tensor, context: Tensor | None) -> Tensor:
    """Rows with their context in columns after their own."""
    return x if context is None else torch.cat([x, context], dim=-1)


def channel_groups(shape) -> np.ndarray:
    """The channel of each value of a flat image, shape (n_features,)."""
    n_channels, *sizes = shape
    return np.repeat(np.arange(n_channels), math.prod(sizes))


def widest(module: nn.Module, *widths: int) -> int:
    """The most values of a row that a layer holds, or these widths.

    A layer with ``n_values`` says how many it has; of others the weights' sides count.
    """
    of_layers = (getattr(layer, "n_values", 1) for layer in module.modules())
    of_weights = (max(p.shape, default=1) for p in module.parameters())
    return max(*widths, *of_layers, *of_weights)


def row_work(module: nn.Module) -> int:
    """Multiplications of a row by the weights of a module, of all members."""
    return sum(
        parameter.numel() * getattr(layer, "n_uses", 1)
        for layer in module.modules()
        for parameter in layer.parameters(recurse=False)
    )


@torch.no_grad()
def copy_member(whole: nn.Module, index: int, member: nn.Module) -> None:
    """Copy the parameters at an index of the leading axis into a module without it."""
    for own, stacked in zip(member.parameters(), whole.parameters(), strict=True):
        own.copy_(stacked[index])
