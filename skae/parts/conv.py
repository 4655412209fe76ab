"""The convolutional architecture: strided convolutions down, transposed ones up.

`Conv` holds hyperparameters and builds a `ConvCodec`, which holds weights. The decoder
mirrors the encoder layer by layer, so every size comes back exactly.
"""

import math
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Generator, Tensor, nn

from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Architecture, Codec
from skae.parts.image_correction import ImageCorrection
from skae.parts.image_windows import images
from skae.parts.layers import (
    Affine,
    Down,
    Layer,
    Same,
    ShiftedUp,
    Up,
    channel_groups,
    in_patches,
    joined,
    strided,
)

__all__ = ["Conv", "ConvCodec"]


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
    correction : {"code", "images", "both"}, default="code"
        What is learned beside PCA's path, where the codec starts beside one: layers by
        way of the code, maps from images to images before PCA encodes them and after it
        has decoded them, which need the least data, or both. From random weights there
        are no such maps.

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
        correction="code",
    ):
        self.sample_shape = sample_shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.n_residual_layers = n_residual_layers
        self.output_kernel_size = output_kernel_size
        self.activation = activation
        self.correction = correction

    def beside_path(self) -> "Conv | None":
        """With maps of images alone."""
        if self.correction != "both":
            return None
        return clone(self).set_params(correction="images")

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
        """Draw the weights of a codec, see `skae.parts.base.Architecture.build`.

        With n_components of None the code is the feature map. A context joins the
        feature map on its way to the code, and the code.

        Raises
        ------
        ValueError
            When the image is too small for the layers, or the widths do not fit.
        """
        per_feature, rest = divmod(n_raw or n_features, n_features)
        if rest or (n_components is None and (n_outputs or n_context)):
            raise ValueError(
                f"Conv cannot build a codec of n_components={n_components!r} with "
                f"n_outputs={n_outputs!r}, n_raw={n_raw!r} and n_context={n_context}: "
                "a drawn code needs n_components, and the decoder gives a whole number "
                "of outputs for each pixel."
            )
        codec = ConvCodec(self, n_components, n_outputs, n_context, per_feature)
        codec.reset(generator)
        return codec

    def unit_groups(self, n_features: int) -> np.ndarray:
        """The pixels of a channel."""
        return channel_groups(self.sample_shape)


class ConvCodec(Codec):
    """Encoder and decoder made of convolutions, as `Conv` builds them.

    The decoder has ``per_feature`` outputs for each value of a pixel. ``code_shape`` is
    the shape of the smallest feature map.
    """

    is_rowwise = True
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
        self.activation = conv.activation
        self.per_feature = per_feature
        n_channels, *full = self.sample_shape
        deep = conv.channels[-1]
        windows, sizes = strided(
            full, len(conv.channels), conv.kernel_size, conv.stride
        )
        self.code_shape = (deep, *sizes)
        self.to_code = self.from_code = None
        n_map = math.prod(self.code_shape)
        self.n_components = n_components or n_map
        if conv.correction != "code":
            maps = self.sample_shape, deep, conv.n_residual_layers, conv.activation
            self.before, self.after = (ImageCorrection(*maps) for _ in range(2))
        if conv.correction != "images":
            self._add_layers(conv, windows, n_channels * per_feature)
        if n_components is None and not conv.output_kernel_size:
            self._add_shifted(windows[0], conv.channels[0], n_channels * per_feature)
        if conv.correction != "images" and n_components is not None:
            self.to_code = Affine(n_map + n_context, n_outputs or n_components)
            self.from_code = Affine(n_components + n_context, n_map)

    def _add_layers(self, conv: Conv, windows, n_image: int) -> None:
        """The strided layers, those that undo them, and those in between."""
        n_channels, *full = self.sample_shape
        deep, *sizes = self.code_shape
        down = [n_channels, *conv.channels]
        self.down = nn.ModuleList(map(Down, down, down[1:], windows))
        # Each transposed layer has the channels of the layer it undoes, or of that
        # one's result where an output layer makes the image.
        up = [*down[:0:-1], n_image]
        if conv.output_kernel_size:
            up = [deep, *down[:0:-1]]
        self.up = nn.ModuleList(map(Up, up, up[1:], reversed(windows)))
        if conv.output_kernel_size:
            self.up.append(Same(up[-1], n_image, conv.output_kernel_size, full))
        residual = range(conv.n_residual_layers)
        self.encoder_residuals = nn.ModuleList(
            Same(deep, deep, 3, sizes) for _ in residual
        )
        self.decoder_residuals = nn.ModuleList(
            Same(deep, deep, 3, sizes) for _ in residual
        )

    def _add_shifted(self, windows, n_in: int, n_image: int) -> None:
        """Patches over the borders of those that make the image, of a feature map."""
        if in_patches(windows) and any(window.kernel > 1 for window in windows):
            self.shifted = ShiftedUp(n_in, n_image, windows)

    def reset(self, generator: Generator) -> None:
        """Draw the weights anew."""
        gain = ACTIVATIONS[self.activation].gain
        for layer in self.modules():
            if isinstance(layer, Layer):
                layer.reset(generator, gain)
        if "shifted" in self._modules:
            # Else pixels of a patch that weigh little keep the largest errors.
            first: Any = self.down[0]
            first.orthogonalize()

    @property
    def by_code(self) -> bool:
        """Whether there are layers by way of the code."""
        return "down" in self._modules

    def correction_of_inputs(self, x: Tensor) -> Tensor | None:
        before = self._modules.get("before")
        return None if before is None else before(x)

    def correction_of_outputs(self, raw: Tensor, scale: Tensor) -> Tensor | None:
        after = self._modules.get("after")
        return None if after is None else after(raw * scale)

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [parameter for parameter in self.parameters() if parameter.ndim > 1]

    def last_parameters(self) -> list[nn.Parameter]:
        """Of the layer that gives the code, and of the one that gives the image.

        Raises
        ------
        ValueError
            When the code is the feature map itself.
        """
        maps = [m for m in self.children() if isinstance(m, ImageCorrection)]
        of_maps = [p for each in maps for p in each.last_parameters()]
        if not self.by_code:
            return of_maps
        if self.to_code is None:
            raise ValueError(
                "init='pca' cannot be combined with n_components=None, a feature map "
                "as the code; give n_components or use init='random'."
            )
        return [*self.to_code.parameters(), *self.up[-1].parameters(), *of_maps]

    @torch.no_grad()
    def start_at_mean(self, raw: Tensor) -> None:
        """By the biases of the image, one a channel."""
        weight, bias = self.up[-1].parameters()
        weight.zero_()
        if "shifted" in self._modules:
            self.shifted.weight.zero_()
        per_pixel = raw.view(self.sample_shape[0], -1, self.per_feature)
        # The outputs of one value are channels side by side.
        bias.copy_(per_pixel.mean(1).flatten())

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if not self.by_code:
            return x.new_zeros(len(x), self.n_components)
        act = ACTIVATIONS[self.activation].forward
        h = images(x, self.sample_shape)
        for down in self.down:
            h = act(down(h))
        for residual in self.encoder_residuals:
            h = h + act(residual(h))
        h = h.flatten(1)
        return h if self.to_code is None else self.to_code(joined(h, context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        if not self.by_code:
            return z.new_zeros(len(z), math.prod(self.sample_shape))
        act = ACTIVATIONS[self.activation].forward
        h = z if self.from_code is None else act(self.from_code(joined(z, context)))
        h = images(h, self.code_shape)
        for residual in self.decoder_residuals:
            h = h + act(residual(h))
        *ups, last = self.up
        for up in ups:
            h = act(up(h))
        shifted = self._modules.get("shifted")
        h = last(h) if shifted is None else last(h) + shifted(h)
        if self.per_feature > 1:
            # The outputs of one value lie side by side.
            h = h.unflatten(1, (-1, self.per_feature)).permute(0, 1, 3, 4, 2)
        return h.flatten(1)
