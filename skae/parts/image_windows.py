"""Windows of 4 x 4, every two pixels, between images of few channels and feature maps.

`halving` is the convolution that halves sizes and `doubling` the transposed one. On a
CPU, kernels of convolutions that end in one channel or three take as long as those that
end in 32, so those are products of matrices here. Each of the two functions is the
gradient of the other. `images` orders the memory of flat rows as convolutions like it.
Layers call them; nothing here knows layers.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

__all__ = ["FEW_CHANNELS", "doubling", "halving", "images"]

FEW_CHANNELS = 4
_KERNEL, _STRIDE, _PADDING = 4, 2, 1


def halving(image: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Feature maps of images.

    Shape
    -----
    image : ``(batch, n_channels, height, width)``, of even sizes; weight : ``(n_maps,
    n_channels, 4, 4)``; bias : ``(n_maps,)``; returned ``(batch, n_maps, height / 2,
    width / 2)``
    """
    if _is_plain(image):
        return F.conv2d(image, weight, bias, _STRIDE, _PADDING)
    return _Halving.apply(image, weight, bias)


def doubling(h: Tensor, weight: Tensor) -> Tensor:
    """Images of feature maps.

    Shape
    -----
    h : ``(batch, n_maps, height, width)``; weight : ``(n_maps, n_channels, 4, 4)``;
    returned ``(batch, n_channels, 2 height, 2 width)``
    """
    if _is_plain(h):
        return F.conv_transpose2d(h, weight, None, _STRIDE, _PADDING)
    return _Doubling.apply(h, weight)


def images(x: Tensor, shape: tuple) -> Tensor:
    """Flat rows as images that are stored channels last, which convolutions prefer."""
    n_channels, *sizes = shape
    if n_channels == 1:
        return x.reshape(-1, *sizes, 1).permute(0, 3, 1, 2)
    return x.reshape(-1, *shape).contiguous(memory_format=torch.channels_last)


def _is_plain(x: Tensor) -> bool:
    """Whether the convolutions of torch are to do it."""
    return x.device.type != "cpu" or torch.compiler.is_compiling()


class _Halving(Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(image, weight)
        # Of one channel, torch takes both orders of the memory for the other one.
        image = images(image.flatten(1), tuple(image.shape[1:]))
        return F.conv2d(image, weight, bias, _STRIDE, _PADDING)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        of_image, of_weight, of_bias = ctx.needs_input_grad
        return (
            doubling(gradient, weight) if of_image else None,
            _weight_gradient(image, gradient, weight) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
        )


class _Doubling(Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight)
        n_rows, n_maps, height, width = h.shape
        pixels = h.permute(0, 2, 3, 1).reshape(-1, n_maps)
        windows = (pixels @ weight.flatten(1)).view(n_rows, height * width, -1)
        sizes = _STRIDE * height, _STRIDE * width
        return F.fold(windows.mT, sizes, _KERNEL, padding=_PADDING, stride=_STRIDE)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, weight = ctx.saved_tensors
        of_maps, of_weight = ctx.needs_input_grad
        return (
            halving(gradient, weight) if of_maps else None,
            _weight_gradient(gradient, h, weight) if of_weight else None,
        )


def _weight_gradient(image: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """Of the sum of ``halving(image, weight) * h``, with respect to the weights."""
    pair = [_STRIDE] * 2, [_PADDING] * 2, [1, 1]
    gradients = torch.ops.aten.convolution_backward(
        h, image, weight, None, *pair, False, [0, 0], 1, [False, True, False]
    )
    return gradients[1]
