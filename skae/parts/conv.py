"""The convolutional architecture: strided convolutions down, transposed ones up.

`Conv` holds hyperparameters and builds a `ConvCodec`, which holds weights. The decoder
mirrors the encoder layer by layer, so every size comes back exactly. Layers whose
stride is their kernel cut the image into patches, which are matrix products: several
times faster on a CPU than overlapping windows.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Architecture, Codec
from skae.parts.dense import joined

__all__ = [
    "Conv",
    "ConvCodec",
    "Down",
    "Layer",
    "Up",
    "Window",
    "channel_groups",
    "images",
]


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


class Conv(Architecture):
    """Convolutional encoder and mirrored decoder.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, default=(64,)
        Channels of the strided layers, from the image to the code.
    kernel_size, stride : int, default=4
        Of the strided layers.
    n_residual_layers : int, default=1
        3 x 3 layers on the smallest feature map that add to their input, in the encoder
        and as many in the decoder.
    output_kernel_size : int, optional
        Odd. The decoder's last strided layer then has the channels of its first one,
        and a convolution of the full image follows, as in textbooks.
    activation : str, default="relu"
        Key of `skae.parts.activations.ACTIVATIONS`.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.conv import Conv
    >>> codec = Conv((1, 28, 28)).build(784, 32, generator=torch.Generator())
    >>> codec.encode(torch.zeros(5, 784)).shape
    torch.Size([5, 32])
    >>> codec.code_shape
    (64, 7, 7)
    """

    sample_shape: tuple[int, ...]
    data = "images"

    def __init__(
        self,
        sample_shape,
        channels=(64,),
        kernel_size=4,
        stride=4,
        n_residual_layers=1,
        output_kernel_size=None,
        activation="relu",
    ):
        self.sample_shape = sample_shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.n_residual_layers = n_residual_layers
        self.output_kernel_size = output_kernel_size
        self.activation = activation

    def build(
        self,
        n_features: int,
        n_components: int | None,
        *,
        generator: Generator,
        n_outputs: int | None = None,
        n_raw: int | None = None,
        n_context: int = 0,
    ) -> "ConvCodec":
        """Draw the weights of a codec.

        Parameters
        ----------
        n_features : int
            The product of ``sample_shape``.
        n_components : int or None
            Width of the code; None keeps the feature map.
        generator : torch.Generator
            On the CPU.
        n_outputs : int, optional
            What the encoder gives, if not n_components.
        n_raw : int, optional
            What the decoder gives, if not n_features: a multiple of it.
        n_context : int, default=0
            Width of the context, which joins the feature map on its way to the code,
            and the code. Needs n_components.

        Raises
        ------
        ValueError
            When the image is too small for the layers, or the widths do not fit.
        """
        per_feature, rest = divmod(n_raw or n_features, n_features)
        if rest or (n_components is None and (n_outputs or n_context)):
            raise ValueError(
                f"Conv can not build a codec of n_components={n_components!r} with "
                f"n_outputs={n_outputs!r}, n_raw={n_raw!r} and n_context={n_context}: "
                "a drawn code needs n_components, and the decoder gives a whole number "
                "of outputs for each pixel."
            )
        codec = ConvCodec(self, n_components, n_outputs, n_context, per_feature)
        gain = ACTIVATIONS[self.activation].gain
        for layer in codec.modules():
            if isinstance(layer, Layer):
                layer.reset(generator, gain)
        return codec

    def unit_groups(self, n_features: int) -> np.ndarray:
        """The pixels of a channel."""
        return channel_groups(self.sample_shape)


class ConvCodec(Codec):
    """Encoder and decoder made of convolutions.

    Shape
    -----
    ``encode`` maps ``(batch, n_channels * height * width)`` to
    ``(batch, n_outputs)`` and ``decode`` maps ``(batch, n_components)`` back; both also
    take a context ``(batch, n_context)``.

    Parameters
    ----------
    conv : Conv
    n_components : int or None
    n_outputs : int, optional
    n_context : int, default=0
    per_feature : int, default=1
        Outputs of the decoder for each value of a pixel.

    Attributes
    ----------
    code_shape : tuple
        Shape of the smallest feature map.
    """

    code_activation = "identity"
    code_shape: tuple[int, ...]

    def __init__(
        self,
        conv: Conv,
        n_components: int | None,
        n_outputs: int | None = None,
        n_context: int = 0,
        per_feature: int = 1,
    ):
        super().__init__()
        self.sample_shape = tuple(conv.sample_shape)
        n_channels, *sizes = self.sample_shape
        kernel, stride = conv.kernel_size, conv.stride
        self.activation = conv.activation
        self.per_feature = per_feature
        widths = [n_channels, *conv.channels]
        # Each transposed layer has as many channels as the layer it undoes; without an
        # output layer the last one makes the image.
        undone = [n_channels * per_feature, *widths[1:-1]]
        if conv.output_kernel_size:
            undone = widths[1:]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        stack = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            windows = [Window.over(size, kernel, stride) for size in sizes]
            self.down.append(Down(before, after, windows))
            stack.append(windows)
            sizes = [window.output for window in windows]
        self.code_shape = (widths[-1], *sizes)
        deep = before = widths[-1]
        for windows, after in zip(reversed(stack), reversed(undone), strict=True):
            self.up.append(Up(before, after, windows))
            before = after
        self.output = None
        if conv.output_kernel_size:
            n_out = n_channels * per_feature
            self.output = Same(before, n_out, conv.output_kernel_size)
        n_residual = range(conv.n_residual_layers)
        self.encoder_residuals = nn.ModuleList(Same(deep, deep, 3) for _ in n_residual)
        self.decoder_residuals = nn.ModuleList(Same(deep, deep, 3) for _ in n_residual)
        n_map = math.prod(self.code_shape)
        self.n_components = n_components or n_map
        self.to_code = self.from_code = None
        if n_components is not None:
            self.to_code = Full(n_map + n_context, n_outputs or n_components)
            self.from_code = Full(n_components + n_context, n_map)

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [layer.weight for layer in self.modules() if isinstance(layer, Layer)]

    def last_parameters(self) -> list[nn.Parameter]:
        """Of the layer that gives the code, and of the one that gives the image.

        Raises
        ------
        ValueError
            When the code is the feature map itself.
        """
        if self.to_code is None:
            raise ValueError(
                "init='pca' can not be combined with n_components=None, a feature map "
                "as the code; give n_components or use init='random'."
            )
        image = self.up[-1] if self.output is None else self.output
        return [*self.to_code.parameters(), *image.parameters()]

    @torch.no_grad()
    def start_at_mean(self, raw: Tensor) -> None:
        """By the biases of the image, one a channel."""
        image: Any = self.up[-1] if self.output is None else self.output
        image.weight.zero_()
        per_pixel = raw.view(self.sample_shape[0], -1, self.per_feature)
        # The outputs of one value are channels side by side.
        image.bias.copy_(per_pixel.mean(1).flatten())

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """h for flat images x in model units; z, where it is not drawn from h."""
        act = ACTIVATIONS[self.activation].forward
        h = images(x, self.sample_shape)
        for down in self.down:
            h = act(down(h))
        for residual in self.encoder_residuals:
            h = h + act(residual(h))
        h = h.flatten(1)
        return h if self.to_code is None else self.to_code(joined(h, context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output, flat images, for codes z."""
        act = ACTIVATIONS[self.activation].forward
        h = z if self.from_code is None else act(self.from_code(joined(z, context)))
        h = images(h, self.code_shape)
        for residual in self.decoder_residuals:
            h = h + act(residual(h))
        for index, up in enumerate(self.up):
            h = act(h) if index else h
            h = up(h)
        if self.output is not None:
            h = self.output(act(h))
        if self.per_feature > 1:
            # The outputs of one value lie side by side.
            h = h.unflatten(1, (-1, self.per_feature)).permute(0, 1, 3, 4, 2)
        return h.flatten(1)


class Layer(nn.Module):
    """Weights and biases; the former start as N(0, gain / fan_in)."""

    def __init__(self, shape: tuple[int, ...], n_out: int, fan_in: float):
        super().__init__()
        self.fan_in = fan_in
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(n_out))

    @torch.no_grad()
    def reset(self, generator: Generator, gain: float) -> None:
        """Draw the weights anew."""
        draw = torch.randn(self.weight.shape, generator=generator)
        self.weight.copy_(draw * (gain / self.fan_in) ** 0.5)
        self.bias.zero_()


class Down(Layer):
    """Strided convolution.

    Shape
    -----
    ``(batch, n_in, height, width)`` to ``(batch, n_out, *outputs of the windows)``.
    """

    def __init__(self, n_in: int, n_out: int, windows: list[Window]):
        kernel = [window.kernel for window in windows]
        super().__init__((n_out, n_in, *kernel), n_out, n_in * math.prod(kernel))
        self.windows = windows

    def forward(self, x: Tensor) -> Tensor:
        high, wide = self.windows
        if high.extra or wide.extra:
            x = F.pad(x, (0, wide.extra, 0, high.extra))
        if _in_patches(self.windows):
            shape = (high.output, high.kernel, wide.output, wide.kernel)
            patches = x.reshape(*x.shape[:2], *shape).permute(0, 2, 4, 1, 3, 5)
            patches = patches.reshape(-1, self.weight[0].numel())
            h = torch.addmm(self.bias, patches, self.weight.flatten(1).mT)
            return h.view(-1, high.output, wide.output, h.shape[1]).permute(0, 3, 1, 2)
        stride = [window.stride for window in self.windows]
        padding = [window.padding for window in self.windows]
        return F.conv2d(x, self.weight, self.bias, stride, padding)


class Up(Layer):
    """Transposed convolution that undoes the shapes of a `Down` with these windows."""

    def __init__(self, n_in: int, n_out: int, windows: list[Window]):
        kernel = [window.kernel for window in windows]
        overlap = math.prod(window.kernel / window.stride for window in windows)
        super().__init__((n_in, n_out, *kernel), n_out, n_in * overlap)
        self.windows = windows

    def forward(self, h: Tensor) -> Tensor:
        high, wide = self.windows
        n_in, n_out = self.weight.shape[:2]
        if _in_patches(self.windows):
            rows = h.permute(0, 2, 3, 1).reshape(-1, n_in)
            bias = self.bias.repeat_interleave(high.kernel * wide.kernel)
            patches = torch.addmm(bias, rows, self.weight.flatten(1))
            shape = (high.output, wide.output, n_out, high.kernel, wide.kernel)
            x = patches.view(-1, *shape).permute(0, 3, 1, 4, 2, 5)
            x = x.reshape(len(h), n_out, high.size + high.extra, -1)
        else:
            x = F.conv_transpose2d(
                h,
                self.weight,
                self.bias,
                [window.stride for window in self.windows],
                [window.padding for window in self.windows],
                [window.left_over for window in self.windows],
            )
        return x[:, :, : high.size, : wide.size]


class Same(Layer):
    """Convolution that keeps the size of the image."""

    def __init__(self, n_in: int, n_out: int, kernel: int):
        super().__init__((n_out, n_in, kernel, kernel), n_out, n_in * kernel**2)
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


class Full(Layer):
    """Fully connected layer between the feature map and the code."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__((n_in, n_out), n_out, n_in)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)


def channel_groups(shape) -> np.ndarray:
    """The channel of each value of a flat image, shape (n_features,)."""
    n_channels, *sizes = shape
    return np.repeat(np.arange(n_channels), math.prod(sizes))


def _in_patches(windows: list[Window]) -> bool:
    return all(window.kernel == window.stride for window in windows)


def images(x: Tensor, shape: tuple) -> Tensor:
    """Flat rows as images that are stored channels last, which convolutions prefer."""
    n_channels, *sizes = shape
    if n_channels == 1:
        return x.reshape(-1, *sizes, 1).permute(0, 3, 1, 2)
    images = x.reshape(-1, *shape)
    return images.contiguous(memory_format=torch.channels_last)
