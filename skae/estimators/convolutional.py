"""`ConvAE`: the convolutional autoencoder, for images."""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skae.estimators.base import BaseAutoencoder
from skae.estimators.denoising import Denoising
from skae.estimators.naming import Parts, noise_of, part_of
from skae.estimators.shaped import Images, channel_widths
from skae.estimators.validation import is_black_and_white
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Likelihood
from skae.parts.conv import Conv
from skae.parts.likelihoods import LIKELIHOODS
from skae.training.defaults import defaults_for_anchored_images, defaults_for_images

__all__ = ["ConvAE"]


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
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the weights, per unit of learning rate. Raise it
        against overfitting.
    batch_size : "auto" or int, default="auto"
        Samples a training step.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW; it rises over the first 5% of the steps and falls
        as a cosine.
    max_iter : int, default=None
        Epochs, passes over the training samples. None takes as many as suit the shape
        of X.
    early_stopping : bool, default=True
        Hold out samples to choose the weights of the best epoch and to stop. False
        trains on all samples and keeps the epoch of the lowest training loss.
    validation_fraction : float, default=0.15
        Share of the samples held out, 1,000 at most.
    n_iter_no_change : int, default=10
        Evaluations without improvement by ``tol`` after which training stops.
    tol : float, default=1e-4
        Relative improvement of the held-out loss that counts.
    warm_start : bool, default=False
        Continue from the previous fit's weights.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    callbacks : list of skorch callbacks, default=None
        Notified by the training loop. The learning rate follows the estimator's own
        schedule, and there is no dataset: LRScheduler and EpochScoring are refused.
    verbose : int, default=0
        One shows a progress bar and leaves a line on how the training went.
    random_state : int, RandomState or None, default=None
        Decides everything random.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    sample_shape_ : tuple (n_channels, height, width)
    code_shape_ : tuple (n_channels, height, width)
        Shape of the smallest feature map.
    net_ : Module
        The trained torch module; it sees centred and scaled rows.
    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.
    n_iter_ : int
        Epochs of training, also of those that led to this fit.
    epochs_ : ndarray of shape (n_evaluations,)
        When the losses below were noted, in epochs and fractions of them.
    loss_curve_ : list of float
        Training loss at each evaluation, nats per sample of the scaled rows.
    validation_scores_ : list of float or None
        Minus the held-out loss at each evaluation; None without held-out samples.
    pca_ratio_ : float
        Held-out loss of the model kept over that of the start as PCA; 1 where PCA is
        kept. Only when the model started as PCA and rows were held out.
    pca_t_ : float
        t of the held-out rows' gain over PCA, which decided. Likewise.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

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

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        **Denoising._noise_constraints,
        "sample_shape": [tuple, list, np.ndarray, None],
        "channels": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "stride": [Interval(Integral, 1, None, closed="left")],
        "n_residual_layers": [Interval(Integral, 0, None, closed="left")],
        "output_kernel_size": [Interval(Integral, 1, None, closed="left"), None],
        "init": [StrOptions({"pca", "random"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "likelihood": [
            StrOptions({"auto", *LIKELIHOODS}),
            HasMethods(["nll", "mean"]),
        ],
    }

    def __init__(
        self,
        sample_shape=None,
        *,
        channels=(64,),
        kernel_size=4,
        stride=4,
        n_residual_layers=1,
        output_kernel_size=None,
        n_components=None,
        init="pca",
        noise=None,
        noise_level=0.5,
        activation="relu",
        likelihood="auto",
        alpha="auto",
        batch_size="auto",
        learning_rate_init="auto",
        max_iter=None,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        device="auto",
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.sample_shape = sample_shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.n_residual_layers = n_residual_layers
        self.output_kernel_size = output_kernel_size
        self.n_components = n_components
        self.init = init
        self.noise = noise
        self.noise_level = noise_level
        self.activation = activation
        self.likelihood = likelihood
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

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
