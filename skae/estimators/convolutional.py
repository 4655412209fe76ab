"""`ConvAE`: the convolutional autoencoder, for images."""

from typing import Any

import numpy as np
from sklearn.utils._param_validation import HasMethods, StrOptions

from skae.checks.rows import is_black_and_white
from skae.estimators.base import BaseAutoencoder
from skae.estimators.denoising import Denoising
from skae.estimators.parameters import at_least, choice, estimator, parameter
from skae.estimators.sample_shape import Images, channel_widths
from skae.fitting.defaults import defaults_for_anchored_images, defaults_for_images
from skae.fitting.resolve import Parts, noise_of, part_of
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Likelihood
from skae.parts.conv import Conv
from skae.parts.likelihoods import LIKELIHOODS

__all__ = ["ConvAE"]


@estimator
class ConvAE(Denoising, Images, BaseAutoencoder):
    """Convolutional autoencoder for images.

    Takes arrays of shape ``(n_samples, n_channels, height, width)``, of shape
    ``(n_samples, height, width)`` for one channel, or images as flat rows with
    ``sample_shape``, and gives reconstructions back in the shape in which images came.
    Codes are flat. Any height and width comes back exactly.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width), default=None
        Needed for flat rows; without it they are taken as images of one line.
    channels : int or tuple of int, default=(64,)
        Channels of the strided layers, from the image to the code; the decoder mirrors
        them.
    kernel_size : int, default=4
        Of the strided layers. One that equals ``stride`` cuts the image into patches,
        which is much the fastest.
    stride : int, default=4
        Of the strided layers; at most kernel_size.
    n_residual_layers : int, default=1
        3 x 3 layers on the smallest feature map, in the encoder and in the decoder,
        that add to their input.
    output_kernel_size : int, default=None
        Odd size of a last convolution at the full size of the image, as in textbooks;
        None has none. Slow.
    n_components : int, default=None
        Width of the code; None keeps the feature map, flattened: see ``code_shape_``.
    init : {"pca", "random"}, default="pca"
        With n_components: start as PCA plus a correction by the network, of which
        held-out samples decide how much is kept, or from random weights.
    noise : {"gaussian", "masking", "salt_and_pepper"} or corruption part, default=None
        Noise to be learned to remove, drawn afresh in every training step: Gaussian
        noise on every pixel; pixels set to zero at random; pixels set to their smallest
        or largest training value at random. A part is called as
        ``corruption(x, generator)``; those of `skae.parts.corruption` take absolute
        units and ranges too.
    noise_level : float, default=0.5
        Standard deviation of the Gaussian noise in standard deviations of each pixel,
        else the share of the pixels in [0, 1]. Ignored if ``noise`` is None or a part.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of all layers but the output, and but a code of n_components.
    likelihood : {"auto", "gaussian", "bernoulli"} or likelihood part, default="auto"
        How reconstructions are judged: squared error, or cross-entropy for targets in
        [0, 1]. "auto" is the latter for pixels in [0, 1] of which at least half are
        black or white, nearly: such images it also denoises better by squared error.
        Photographs get squared error.

    Attributes
    ----------
    code_shape_ : tuple (n_channels, height, width)
        Shape of the smallest feature map.
    pca_ratio_ : float
        Held-out loss of the model kept over that of the start as PCA; 1 where PCA is
        kept. Only when the model started as PCA and rows were held out.
    pca_t_ : float
        t of the held-out rows' gain over PCA, which decided. Likewise.

    See Also
    --------
    DenoisingAE : The dense one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import ConvAE
    >>> images = load_digits().images
    >>> ae = ConvAE(kernel_size=2, stride=2, noise="gaussian", random_state=0)
    >>> ae.fit(images[:1500]).denoise(images[1500:]).shape
    (297, 8, 8)
    """

    n_components: Any = parameter(None, at_least(1), None, positional=True)
    sample_shape: Any = parameter(None, tuple, list, np.ndarray, None)
    channels: tuple = parameter((64,), at_least(1), tuple, list)
    kernel_size: int = parameter(4, at_least(1))
    stride: int = parameter(4, at_least(1))
    n_residual_layers: int = parameter(1, at_least(0))
    output_kernel_size: Any = parameter(None, at_least(1), None)
    init: str = parameter("pca", choice("pca", "random"))
    activation: str = parameter("relu", choice(*ACTIVATIONS))
    likelihood: Any = parameter(
        "auto", StrOptions({"auto", *LIKELIHOODS}), HasMethods(["nll", "mean"])
    )

    def _parts(self, X):
        shape = self._resolved_shape()
        kernel, stride = self._windows(self.kernel_size, self.stride)
        if self.output_kernel_size is not None and self.output_kernel_size % 2 == 0:
            raise ValueError(
                "output_kernel_size must be odd, so that the image keeps its size; got "
                f"{self.output_kernel_size}."
            )
        conv = Conv(
            shape,
            channel_widths(self.channels),
            kernel,
            stride,
            self.n_residual_layers,
            self.output_kernel_size,
            self.activation,
        )
        anchored = self.init == "pca" and self.n_components is not None
        likelihood = self.likelihood
        if isinstance(likelihood, str) and likelihood == "auto":
            likelihood = "bernoulli" if is_black_and_white(X) else "gaussian"
        return Parts(
            architecture=conv,
            n_components=self.n_components,
            defaults=defaults_for_anchored_images if anchored else defaults_for_images,
            init=self.init,
            columns_apart=not anchored,
            likelihood=part_of(likelihood, Likelihood, LIKELIHOODS),
            corruption=noise_of(self.noise, self.noise_level),
        )

    def _after(self, fitting):
        self.sample_shape_ = self.net_.sample_shape
        self.code_shape_ = self.net_.codec.code_shape
