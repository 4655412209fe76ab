"""`ConvAE`: the convolutional autoencoder, for images."""

from typing import Any

from sklearn.utils._param_validation import HasMethods

from skae.checks.rows import is_black_and_white
from skae.estimators.architectures import Images, channel_widths
from skae.estimators.denoising import Denoising
from skae.estimators.parameters import PCAStart, at_least, choice, estimator, parameter
from skae.fitting.defaults import defaults_for_anchored_images, defaults_for_images
from skae.fitting.resolve import noise_of
from skae.parts.activations import ACTIVATIONS
from skae.parts.conv import Conv
from skae.parts.likelihoods import LIKELIHOODS

__all__ = ["ConvAE"]


@estimator
class ConvAE(Images, PCAStart, Denoising):
    """Convolutional autoencoder for images.

    Takes arrays of shape ``(n_samples, n_channels, height, width)``, of shape
    ``(n_samples, height, width)`` for one channel, or images as flat rows with
    ``sample_shape``, and gives reconstructions back in the shape in which images came.
    Codes are flat. Any height and width comes back exactly.

    Parameters
    ----------
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
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of all layers but the output, and but a code of n_components.
    init : {"auto", "pca", "random"}, default="auto"
        Start as PCA plus a correction by the network, of which held-out images decide
        how much is kept, or from random weights; without ``n_components`` there is no
        PCA to start as. "auto" is "pca" where the model does not denoise.
    likelihood : {"auto", "gaussian", "bernoulli", "student_t"} or likelihood part, \
default="auto"
        How reconstructions are judged: squared error, or cross-entropy for targets in
        [0, 1]. "auto" is the latter for pixels in [0, 1] of which at least half are
        black or white, nearly, where the model denoises or its code is short: it then
        leaves less error by squared error too. Photographs, and feature maps as codes,
        which hold nearly all of an image, get squared error.

    Attributes
    ----------
    code_shape_ : tuple (n_channels, height, width)
        Shape of the smallest feature map.

    See Also
    --------
    DenoisingAE : The dense one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import ConvAE
    >>> images = load_digits().images
    >>> ae = ConvAE(kernel_size=2, stride=2, noise="gaussian", max_iter=5)
    >>> ae.set_params(random_state=0).fit(images[:1500]).denoise(images[1500:]).shape
    (297, 8, 8)
    """

    n_components: Any = parameter(None, at_least(1), None, positional=True)
    kernel_size: int = parameter(4, at_least(1))
    stride: int = parameter(4, at_least(1))
    n_residual_layers: int = parameter(1, at_least(0))
    output_kernel_size: Any = parameter(None, at_least(1), None)
    init: str = parameter("auto", choice("auto", "pca", "random"))
    activation: str = parameter("relu", choice(*ACTIVATIONS))
    likelihood: Any = parameter(
        "auto", choice("auto", *LIKELIHOODS), HasMethods(["nll", "mean"])
    )

    def _parts(self, X):
        shape = self._resolved_shape()
        self._check_images(X)
        kernel, stride = self._windows(self.kernel_size, self.stride)
        if self.output_kernel_size is not None and self.output_kernel_size % 2 == 0:
            raise ValueError(
                "output_kernel_size must be odd, so that the image keeps its size; got "
                f"{self.output_kernel_size}."
            )
        anchored = self._starts_as_pca()
        conv = Conv(
            shape,
            channel_widths(self.channels),
            kernel,
            stride,
            self.n_residual_layers,
            self.output_kernel_size,
            self.activation,
            "both" if anchored else "code",
        )
        return self._parts_of(
            X,
            conv,
            defaults_for_anchored_images if anchored else defaults_for_images,
            init="pca" if anchored else "random",
            columns_apart=not anchored,
            corruption=noise_of(self.noise, self.noise_level),
        )

    def _targets(self, y, shape):
        clean = super()._targets(y, shape)
        self._has_pairs = clean is not None
        return clean

    @property
    def _denoises(self):
        return self.noise is not None or self._has_pairs

    def _starts_as_pca(self):
        if self.init == "auto":
            return self.n_components is not None and not self._denoises
        if self.init == "pca" and self.n_components is None:
            raise ValueError(
                "init='pca' needs n_components, the width of the code; without it the "
                "code is a feature map, which PCA does not have. Set n_components, or "
                "leave out init."
            )
        return self.init == "pca"

    def _likelihood(self, X):
        if isinstance(self.likelihood, str) and self.likelihood == "auto":
            is_short = self.n_components is not None
            is_bernoulli = (self._denoises or is_short) and is_black_and_white(X)
            return LIKELIHOODS["bernoulli" if is_bernoulli else "gaussian"]()
        return super()._likelihood(X)

    def _after(self, fitting):
        super()._after(fitting)
        self.sample_shape_ = self.net_.sample_shape
        self.code_shape_ = self.net_.codec.code_shape
