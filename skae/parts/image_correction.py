"""A convolutional map from images to images, which starts at zero.

`ConvCodec` puts one on the images that PCA encodes and one on those that it decodes:
weights are shared by all places, so that little data is enough for them, whatever the
size of the image.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from skae.parts.activations import ACTIVATIONS
from skae.parts.image_windows import images
from skae.parts.layers import Down, Same, Up, strided

__all__ = ["ImageCorrection"]

# Of a patch, in pixels.
_SIDE = 4


class ImageCorrection(nn.Module):
    """Patches to feature maps, 3 x 3 layers that add to their input, and back.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    n_maps : int
        Channels of the feature map.
    n_layers : int
        3 x 3 layers.
    activation : str

    Shape
    -----
    ``(batch, n_features)`` to ``(batch, n_features)``.
    """

    def __init__(
        self,
        sample_shape: Sequence[int],
        n_maps: int,
        n_layers: int,
        activation: str,
    ):
        super().__init__()
        self.sample_shape = tuple(sample_shape)
        self.activation = activation
        n_channels, *full = self.sample_shape
        side = min([_SIDE, *(size for size in full if size > 1)])
        (windows,), sizes = strided(full, 1, side, side)
        self.down = Down(n_channels, n_maps, windows)
        self.layers = nn.ModuleList(
            Same(n_maps, n_maps, 3, sizes) for _ in range(n_layers)
        )
        self.up = Up(n_maps, n_channels, windows)

    def forward(self, x: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation].forward
        h = act(self.down(images(x, self.sample_shape)))
        for layer in self.layers:
            h = h + act(layer(h))
        return self.up(h).flatten(1)

    def last_parameters(self) -> list[nn.Parameter]:
        """At zero they make it return zero."""
        return list(self.up.parameters())
