"""`VariationalAE`: the variational autoencoder.

What it shares with `ConditionalVAE`, the model's parts and the bound of the likelihood,
is `Variational`.
"""

from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import _check_sample_weight

from skae.estimators.architectures import (
    Images,
    architecture_of,
    channel_widths,
    check_own_parameters,
)
from skae.estimators.base import BaseAutoencoder
from skae.estimators.generative import Generative, seeded
from skae.estimators.parameters import (
    WIDTHS,
    PCAStart,
    at_least,
    choice,
    estimator,
    parameter,
    share,
)
from skae.exporting.ends import Scores
from skae.exporting.fitted_function import FittedFunction
from skae.exporting.functions import Bound
from skae.fitting.defaults import (
    defaults_for_variational,
    defaults_for_variational_images,
)
from skae.fitting.resolve import Parts, hidden_widths
from skae.models.elbo import importance_weighted_bound
from skae.parts.activations import ACTIVATIONS
from skae.parts.conv import Conv
from skae.parts.dense import Dense
from skae.parts.likelihoods import LearnedGaussian
from skae.parts.priors import StandardNormal
from skae.parts.random_numbers import normal_numbers
from skae.rows.devices import product_rows
from skae.statistics.code_density import CodeDensity

__all__ = ["Variational", "VariationalAE", "check_mean_only"]

# Patches, the fastest convolutions.
_KERNEL = 4
# Smaller images have hardly a patch beside another.
_SMALLEST_IMAGE = 8
_HIDDEN = (256,)
# Parameters of some architectures only.
_OWN = {
    "hidden_layer_sizes": ("dense",),
    "channels": ("conv",),
    "activation": ("dense", "conv"),
}
# Variance of a unit's mean over rows (Burda et al. 2015, section 5).
_ACTIVE = 0.01
_MOST_ENCODED_ROWS = 10_000
# Rows that the processor decodes in one product, and the fewest that it encodes.
_DECODED_ROWS, _FEWEST_ROWS = 1024, 16


@estimator
class Variational(Generative, Images, BaseAutoencoder):
    """A code with a Gaussian posterior and a standard normal prior.

    Parameters
    ----------
    likelihood : {"gaussian", "bernoulli", "student_t"} or likelihood part, \
default="gaussian"
        How reconstructions are judged: a normal distribution with a variance of its
        own, or cross-entropy for X in [0, 1].
    noise_variance : {"shared", "per_feature"} or float, default="shared"
        Of the Gaussian likelihood: learned, one for all features or one for each, or
        fixed, in units of the mean variance of the features. A fixed one trades
        reconstruction against the prior, like ``beta``.
    beta : float, default=1.0
        Weight of the divergence from the prior (Higgins et al. 2017, ICLR); above one,
        fewer units of the code are used, and more independently.
    kl_warmup : float, default=0.0
        Share of the training, in [0, 1), over which the weight of the divergence rises
        to beta. Raise it when too few units are active. With it,
        ``early_stopping=False`` keeps the last epoch.
    code_density : {"mixture", "prior"}, default="mixture"
        Where ``sample`` draws codes: a mixture of Gaussians fitted to the codes of the
        training rows, whose samples are more like them (Ghosh et al. 2020, arXiv
        1903.12436), or the standard normal prior.
    n_importance_samples : int, default=50
        Draws for ``score_samples``, whose bound of the likelihood they tighten.
    architecture : {"auto", "dense", "conv"} or architecture part, default="auto"
        "conv" is for images, see ``sample_shape``; "dense" takes them too. "auto" is
        "conv" for images of at least 8 x 8 pixels, unless ``hidden_layer_sizes`` is
        set, and "dense" else. For all choices of layers pass a part, of
        `skae.parts.dense` or `skae.parts.conv`.
    hidden_layer_sizes : int or tuple of int, default=(256,)
        Widths between the input and the code; the decoder mirrors them. For
        ``architecture="dense"``.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers. "identity" makes a dense model linear:
        probabilistic PCA.

    Attributes
    ----------
    active_units_ : ndarray of bool of shape (n_components_,)
        Whether the mean of a unit varies over training samples by more than 0.01.
    noise_variance_ : float or ndarray of shape (n_features,)
        Of the Gaussian likelihood, in X's units squared.
    """

    n_components: Any = parameter(10, positional=True)
    noise_variance: Any = parameter(
        "shared", choice("shared", "per_feature"), at_least(0, Real, closed="neither")
    )
    beta: float = parameter(1.0, at_least(0, Real))
    kl_warmup: float = parameter(0.0, share("left"))
    code_density: str = parameter("mixture", choice("prior", "mixture"))
    n_importance_samples: int = parameter(50, at_least(1))
    architecture: Any = parameter(
        "auto", choice("auto", "dense", "conv"), tuple, list, HasMethods(["build"])
    )
    hidden_layer_sizes: Any = parameter(_HIDDEN, *WIDTHS)
    activation: str = parameter("relu", choice(*ACTIVATIONS))

    def _parts(self, X, init="random", hidden_context=0.0) -> Parts:
        self._check_images(X)
        architecture = self.architecture
        if isinstance(architecture, str) and architecture == "auto":
            architecture = self._suitable()
        else:
            check_own_parameters(self, architecture, _OWN)
        architecture = architecture_of(
            architecture,
            {"dense": self._dense, "conv": self._conv},
            self._input_shape,
            self.n_features_in_,
        )
        is_of_images = architecture.data == "images"
        return self._parts_of(
            X,
            architecture,
            defaults_for_variational_images
            if is_of_images
            else defaults_for_variational,
            prior=StandardNormal(self.beta),
            kl_warmup=self.kl_warmup,
            init=init,
            columns_apart=True,
            hidden_context=hidden_context,
        )

    def _suitable(self):
        """The architecture that "auto" stands for."""
        if not self._has_images or self.hidden_layer_sizes != _HIDDEN:
            return "dense"
        is_small = min(self._resolved_shape()[1:]) < _SMALLEST_IMAGE
        return "dense" if is_small else "conv"

    def _dense(self):
        hidden = hidden_widths(self.hidden_layer_sizes, self.activation)
        return Dense(hidden, self.activation)

    def _conv(self):
        kernel, stride = self._windows(_KERNEL, _KERNEL)
        channels = channel_widths(self.channels)
        shape = self._resolved_shape()
        return Conv(shape, channels, kernel, stride, activation=self.activation)

    def _likelihood(self, X):
        if isinstance(self.likelihood, str) and self.likelihood == "gaussian":
            return LearnedGaussian(self.noise_variance)
        likelihood = super()._likelihood(X)
        # With the constants that a density has.
        is_unit = likelihood.is_least_squares
        return LearnedGaussian(1.0) if is_unit else likelihood

    def _after(self, fitting):
        super()._after(fitting)
        if self._has_images:
            self.sample_shape_ = self._resolved_shape()
        self._bound_seed = seeded(self.random_state).initial_seed()
        self.__dict__.pop("noise_variance_", None)
        std = self.net_.likelihood.noise_std()
        if std is not None:
            variance = (std.detach().cpu().double().numpy() * self.units_.scale) ** 2
            self.noise_variance_ = variance if len(variance) > 1 else variance.item()
        self._describe_codes(fitting)

    def _describe_codes(self, fitting):
        """Set which units of the code are active, and the density of codes."""
        random = check_random_state(self.random_state)
        n_samples = fitting.X.shape[0]
        weight = fitting.weight
        chosen = random.choice(
            n_samples,
            min(n_samples, _MOST_ENCODED_ROWS),
            replace=weight is not None,
            p=None if weight is None else weight / weight.sum(),
        )
        chosen.sort()
        rows = fitting.X[chosen]
        condition = None if fitting.context is None else fitting.context[chosen]
        mean = self._encoded(rows, condition=condition).astype(np.float64)
        self.active_units_ = mean.var(axis=0) > _ACTIVE
        # A chunk of partial_fit may lack classes that an earlier one had.
        earlier = getattr(self, "_density", None) if self.optimizer_state_ else None
        self._density = None
        if self.code_density == "mixture":
            std = self._posterior_std(rows, condition)
            codes = mean + std * random.normal(size=mean.shape)
            labels = self._labels(condition)
            n_classes = 1 if labels is None else condition.shape[1]
            density = CodeDensity.of(codes, labels, n_classes, random)
            self._density = density.completed(earlier)

    def _labels(self, condition):
        """Number of each row's class, or None without classes."""
        return None

    def _drawn_codes(self, n_samples, generator, condition):
        if self._density is None:
            return super()._drawn_codes(n_samples, generator, condition)
        random = np.random.RandomState(generator.initial_seed())
        return self._density.draw(n_samples, self._labels(condition), random)

    def _posterior(self, rows, condition, return_std):
        mean = self._encoded(rows, condition=condition)
        return (mean, self._posterior_std(rows, condition)) if return_std else mean

    def _posterior_std(self, rows, condition):
        def std(x, *condition):
            h = self.net_.codec.encode(x, *condition)
            return self.net_.prior.scale(h).cpu().double()

        return self._map_rows(rows, std, self.n_components_, condition)

    def _bounds(self, rows, condition=None, n_draws=None):
        """Importance-weighted bound of each validated row, in nats of X's units.

        By the first ``n_draws`` draws; all where left out.
        """
        epsilon = self._bound_draws()[:n_draws].to(self._device)
        change = self.units_.columns.log().sum()

        def bound(x, *condition):
            bounds = importance_weighted_bound(self.net_, x, epsilon, *condition)
            return bounds.cpu().double()[:, None] - change

        n_rows = None
        if self._device.type == "cpu":
            # Each row is decoded once a draw; products of whole ones fit the cache.
            n_rows = 2 ** (_DECODED_ROWS // len(epsilon)).bit_length() // 2
            n_rows = min(max(n_rows, _FEWEST_ROWS), product_rows(self._device))
        bounds = self._map_rows(
            rows,
            bound,
            1,
            condition,
            dtype=np.float64,
            draws=True,
            n_rows=n_rows,
        )
        return bounds[:, 0]

    def _bound_draws(self):
        """Standard normal numbers, the same for all rows and in every call."""
        shape = self.n_importance_samples, self.n_components_
        generator = torch.Generator("cpu").manual_seed(self._bound_seed)
        return normal_numbers(shape, generator)

    def _exports(self):
        functions = super()._exports()
        rows, body = functions["score_samples"].input, functions["score_samples"].body
        scores = FittedFunction(rows, self._bound(body.net), Scores())
        return {**functions, "score_samples": scores}

    def _bound(self, net, n_draws=None) -> Bound:
        """The bound of a module that is exported."""
        return Bound(net, self._bound_draws()[:n_draws], self.units_.columns)

    def score(self, X, y=None, sample_weight=None):
        """Mean bound of the log-likelihood, see ``score_samples``.

        Returns
        -------
        score : float
            Nats per sample, comparable with ``PCA.score``.
        """
        scores = self._score_samples(X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, scores, dtype=np.float64, ensure_non_negative=True
            )
        return float(np.average(scores, weights=sample_weight))


@estimator
class VariationalAE(PCAStart, Variational):
    """Variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114).

    The encoder gives a normal distribution of the code, of which one draw is decoded;
    the objective is the evidence lower bound, in nats per sample summed over features.
    Codes follow a standard normal distribution, so that decoded draws from it are new
    samples.

    See Also
    --------
    ConditionalVAE : Told what to draw.
    sklearn.decomposition.PCA : Its ``score`` is what the linear model reaches.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import VariationalAE
    >>> X = load_digits().data / 16
    >>> vae = VariationalAE(likelihood="bernoulli", max_iter=10, random_state=0)
    >>> vae.fit(X).sample(5).shape
    (5, 64)
    >>> mean, std = vae.transform(X, return_std=True)
    >>> std.shape
    (1797, 10)
    """

    init: str = parameter("random")

    def _parts(self, X):
        return super()._parts(X, init=self.init)

    def transform(self, X, return_std=False, out=None):
        """Encode samples.

        Parameters
        ----------
        return_std : bool, default=False
        out : array of shape (n_samples, n_components_), optional
            Where the means are written, as in `AutoencoderTransformer.transform`.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components_)
            Mean of the code's posterior.
        std : ndarray of shape (n_samples, n_components_)
            Its standard deviation. Only if ``return_std``.
        """
        rows = self._rows(X)
        if out is None:
            return self._posterior(rows, None, return_std)
        check_mean_only(return_std)
        return self._into(out, rows, self._encoded)

    def score_samples(self, X):
        """Bound of the log-likelihood of each sample.

        The importance-weighted one (Burda et al. 2015, arXiv 1509.00519) of
        ``n_importance_samples`` draws, the same in every call; of a single draw it
        estimates the evidence lower bound.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Nats per sample; of the density of X for a Gaussian likelihood. Higher is
            more likely.
        """
        return self._score_samples(X)

    def _score_samples(self, X, y=None):
        return self._bounds(self._judged_rows(X))


def check_mean_only(return_std) -> None:
    """Raise where there is one ``out`` for two results."""
    if return_std:
        raise ValueError(
            "out takes the means alone; set return_std=False, or leave out out."
        )
