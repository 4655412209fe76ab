"""`VariationalAE`: the variational autoencoder.

What it shares with `ConditionalVAE`, the model's parts and the bound of the likelihood,
is `Variational`.
"""

from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
)
from sklearn.utils.validation import _check_sample_weight

from skae.estimators.architectures import architecture_of
from skae.estimators.base import BaseAutoencoder
from skae.estimators.generative import Generative, seeded
from skae.estimators.parameters import (
    WIDTHS,
    at_least,
    choice,
    estimator,
    parameter,
    share,
)
from skae.estimators.sample_shape import Images, channel_widths
from skae.fitting.defaults import defaults_for_variational
from skae.fitting.resolve import Parts, hidden_widths, part_of
from skae.models.elbo import importance_weighted_bound
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Likelihood
from skae.parts.conv import Conv
from skae.parts.dense import Dense
from skae.parts.likelihoods import LIKELIHOODS, LearnedGaussian
from skae.parts.priors import StandardNormal
from skae.statistics.code_density import CodeDensity

__all__ = ["Variational", "VariationalAE"]

# Patches, the fastest convolutions.
_KERNEL = 4
# Variance of a unit's mean over rows (Burda et al. 2015, section 5).
_ACTIVE = 0.01
_WATCHED_ROWS = 10_000


@estimator
class Variational(Generative, Images, BaseAutoencoder):
    """A code with a Gaussian posterior and a standard normal prior.

    Parameters
    ----------
    n_components : int, default=10
        Width of the code.
    likelihood : {"gaussian", "bernoulli"} or likelihood part, default="gaussian"
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
    code_density : {"prior", "mixture"}, default="prior"
        Where ``sample`` draws codes: the standard normal prior, or mixtures of
        Gaussians fitted to the codes of the training rows,
        whose samples are more like them (Ghosh et al. 2020, arXiv 1903.12436).
    n_importance_samples : int, default=50
        Draws for ``score_samples``, whose bound of the likelihood they tighten.
    architecture : {"dense", "conv"} or architecture part, default="dense"
        "conv" is for images: see ``sample_shape``. Of the parts of `skae.parts.dense`
        and `skae.parts.conv` all choices can be made.
    sample_shape : tuple (n_channels, height, width), default=None
        Shape of images that come as flat rows, for ``architecture="conv"``. Images may
        also come as arrays (n_samples, height, width) or
        (n_samples, n_channels, height, width), for either architecture.
    hidden_layer_sizes : int or tuple of int, default=(256,)
        Widths between the input and the code; the decoder mirrors them. For
        ``architecture="dense"``.
    channels : int or tuple of int, default=(64,)
        Channels of the strided layers, from the image to the code. For
        ``architecture="conv"``.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers. "identity" makes a dense model linear:
        probabilistic PCA.
    """

    n_components: int = parameter(10, at_least(1), positional=True)
    noise_variance: Any = parameter(
        "shared", choice("shared", "per_feature"), at_least(0, Real, closed="neither")
    )
    beta: float = parameter(1.0, at_least(0, Real))
    kl_warmup: float = parameter(0.0, share("left"))
    code_density: str = parameter("prior", choice("prior", "mixture"))
    n_importance_samples: int = parameter(50, at_least(1))
    architecture: Any = parameter(
        "dense", choice("dense", "conv"), tuple, list, HasMethods(["build"])
    )
    sample_shape: Any = parameter(None, tuple, list, np.ndarray, None)
    hidden_layer_sizes: Any = parameter((256,), *WIDTHS)
    channels: Any = parameter((64,), at_least(1), tuple, list)
    activation: str = parameter("relu", choice(*ACTIVATIONS))

    # Share of the rows whose context is hidden from the encoder in training.
    _hidden_context = 0.0

    def _parts(self, X) -> Parts:
        architecture = self._architecture()
        return Parts(
            architecture=architecture,
            n_components=None if architecture.decides_width else self.n_components,
            defaults=defaults_for_variational,
            likelihood=self._likelihood(),
            prior=StandardNormal(self.beta),
            kl_warmup=self.kl_warmup,
            init=self._init,
            columns_apart=True,
            hidden_context=self._hidden_context,
        )

    def _architecture(self):
        named = {"dense": self._dense, "conv": self._conv}
        return architecture_of(
            self.architecture, named, self._given_shape, self.n_features_in_
        )

    def _dense(self):
        hidden = hidden_widths(self.hidden_layer_sizes, self.activation)
        return Dense(hidden, self.activation)

    def _conv(self):
        kernel, stride = self._windows(_KERNEL, _KERNEL)
        channels = channel_widths(self.channels)
        shape = self._resolved_shape()
        return Conv(shape, channels, kernel, stride, activation=self.activation)

    def _likelihood(self):
        if self.likelihood == "gaussian":
            return LearnedGaussian(self.noise_variance)
        likelihood = part_of(self.likelihood, Likelihood, LIKELIHOODS)
        # With the constants that a density has.
        is_unit = likelihood.is_least_squares
        return LearnedGaussian(1.0) if is_unit else likelihood

    def _after(self, fitting):
        super()._after(fitting)
        if self.sample_shape is not None or self._given_shape is not None:
            self.sample_shape_ = self._resolved_shape()
        self._bound_seed = seeded(self.random_state).initial_seed()
        self.__dict__.pop("noise_variance_", None)
        std = self.net_.likelihood.noise_std()
        if std is not None:
            variance = (std.detach().cpu().double().numpy() * self._units.scale) ** 2
            self.noise_variance_ = variance if len(variance) > 1 else variance.item()
        self._watch_codes(fitting)

    def _watch_codes(self, fitting):
        """See which units of the code are used, and where codes are."""
        random = check_random_state(self.random_state)
        n_samples = fitting.X.shape[0]
        n_watched = min(n_samples, _WATCHED_ROWS)
        weight = fitting.weight
        watched = np.sort(
            random.choice(n_samples, n_watched, replace=False)
            if weight is None
            else random.choice(n_samples, n_watched, p=weight / weight.sum())
        )
        rows = fitting.X[watched]
        context = None if fitting.context is None else fitting.context[watched]
        mean = self._encoded_as(rows, context).astype(np.float64)
        self.active_units_ = mean.var(axis=0) > _ACTIVE
        # In partial_fit an earlier batch may have had what this one has not.
        earlier = getattr(self, "_density", None) if self._optimizer_state else None
        self._density = None
        if self.code_density == "mixture":
            std = self._encoded_as(rows, context, scale=True)
            codes = mean + std * random.normal(size=mean.shape)
            kinds, n_kinds = self._kinds(context), self._n_kinds()
            found = CodeDensity.of(codes, kinds, n_kinds, random)
            self._density = found.completed(earlier)

    def _n_kinds(self):
        """Classes that a code's density depends on."""
        return 1

    def _kinds(self, context):
        """Number of the class of each row, where a code's density depends on it."""
        return None

    def _drawn_codes(self, n_samples, generator, context=None):
        if self._density is None:
            return super()._drawn_codes(n_samples, generator)
        random = np.random.RandomState(generator.initial_seed())
        return self._density.draw(n_samples, self._kinds(context), random)

    def _encoded_as(self, rows, context=None, *, scale=False):
        """Location, or scale, of the posterior of validated rows."""
        prior = self.net_.prior
        moment = prior.scale if scale else prior.location

        def encode(x, *told):
            h = self.net_.codec.encode(x, *told)
            return moment(h).cpu().double()

        return self._map_known(rows, context, encode, self.n_components_)

    def _bounds(self, rows, context=None):
        """Importance-weighted bound of each validated row, in nats of X's units."""
        shape = self.n_importance_samples, self.n_components_
        generator = torch.Generator().manual_seed(self._bound_seed)
        epsilon = torch.randn(shape, generator=generator, dtype=torch.float32)
        epsilon = epsilon.to(self._device)
        change = self._units.columns.log().sum()

        def bound(x, *told):
            found = importance_weighted_bound(self.net_, x, epsilon, *told)
            return found.cpu().double()[:, None] - change

        return self._map_known(rows, context, bound, 1, dtype=np.float64)[:, 0]

    def _mean(self, scores, sample_weight):
        """Weighted mean of scores of rows."""
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, scores, dtype=np.float64, ensure_non_negative=True
            )
        return float(np.average(scores, weights=sample_weight))


@estimator
class VariationalAE(Variational):
    """Variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114).

    The encoder gives a normal distribution of the code, of which one draw is decoded;
    the objective is the evidence lower bound, in nats per sample summed over features.
    Codes follow a standard normal distribution, so that decoded draws from it are new
    samples.

    Parameters
    ----------
    init : {"pca", "random"}, default="random"
        Start as probabilistic PCA plus a correction by the network, or from random
        weights.

    Attributes
    ----------
    active_units_ : ndarray of bool of shape (n_components_,)
        Whether the mean of a unit varies over training samples by more than 0.01.
    noise_variance_ : float or ndarray of shape (n_features,)
        Of the Gaussian likelihood, in X's units squared.
    sample_shape_ : tuple (n_channels, height, width)
        Only for images.
    pca_ratio_ : float
        Held-out loss of the model kept over that of the start as PCA; 1 where PCA is
        kept. Only when the model started as PCA and rows were held out.
    pca_t_ : float
        t of the held-out rows' gain over PCA, which decided. Likewise.

    See Also
    --------
    ConditionalVAE : Told what to draw.
    sklearn.decomposition.PCA : Its ``score`` is what the linear model reaches.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import VariationalAE
    >>> X = load_digits().data / 16
    >>> vae = VariationalAE(likelihood="bernoulli", random_state=0).fit(X)
    >>> vae.sample(5).shape
    (5, 64)
    >>> mean, std = vae.transform(X, return_std=True)
    >>> std.shape
    (1797, 10)
    """

    init: str = parameter("random", choice("pca", "random"))

    @property
    def _init(self):
        return self.init

    def transform(self, X, return_std=False):
        """Encode samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        return_std : bool, default=False

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components_)
            Mean of the code's posterior.
        std : ndarray of shape (n_samples, n_components_)
            Its standard deviation. Only if ``return_std``.
        """
        rows = self._rows(X)
        mean = self._encoded(rows)
        return (mean, self._encoded_as(rows, scale=True)) if return_std else mean

    def score_samples(self, X):
        """Bound of the log-likelihood of each sample.

        The importance-weighted one (Burda et al. 2015, arXiv 1509.00519) of
        ``n_importance_samples`` draws, the same in every call; of a single draw it
        estimates the evidence lower bound.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Nats per sample; of the density of X for a Gaussian likelihood. Higher is
            more likely.
        """
        return self._bounds(self._judged_rows(X))

    def score(self, X, y=None, sample_weight=None):
        """Mean bound of the log-likelihood, see ``score_samples``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        score : float
            Nats per sample, comparable with ``PCA.score``.
        """
        scores = self.score_samples(X)
        return self._mean(scores, sample_weight)
