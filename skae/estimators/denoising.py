"""`DenoisingAE`, and what all estimators that learn to remove noise share.

`Denoising` adds ``denoise`` and training from pairs of noisy and clean samples to any
autoencoder; the noise itself is a corruption part.
"""

from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils._param_validation import HasMethods

from skae.checks.rows import shape_of, target_rows
from skae.estimators.architectures import AnyArchitecture
from skae.estimators.base import BaseAutoencoder
from skae.estimators.parameters import (
    DenseParameters,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.fitting.defaults import DEFAULTS, defaults_from_random
from skae.fitting.resolve import (
    Parts,
    hidden_widths,
    noise_of,
    part_of,
    penalties_of,
)
from skae.parts.base import Likelihood
from skae.parts.corruption import CORRUPTIONS
from skae.parts.dense import Dense
from skae.parts.likelihoods import LIKELIHOODS
from skae.parts.penalties import PENALTIES

__all__ = ["Denoising", "DenoisingAE"]


@estimator
class Denoising:
    """Training on noisy samples whose clean versions are the targets.

    Parameters
    ----------
    noise : str or corruption part, default=None
    noise_level : float, default=0.5
    """

    noise: Any = parameter(None, None, choice(*CORRUPTIONS), callable)
    noise_level: float = parameter(0.5, at_least(0, Real))

    def fit(self, X, y=None, sample_weight=None):
        """Learn to reconstruct clean samples from noisy ones.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Clean samples, corrupted afresh in every training step; with ``y``, noisy
            ones that are taken as they are. At least two.
        y : array-like of X's shape, default=None
            The clean version of each sample. One-dimensional y, labels for the steps
            after this one, is ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; samples of weight zero are left out.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When X, y or a parameter does not fit, before any training.
        FloatingPointError
            When training diverges at every learning rate tried.
        """
        return super().fit(X, y, sample_weight)

    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one epoch on these samples, at a constant learning rate.

        The first call sets the centre, the scale and the start of the model from its
        samples; nothing is held out.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Clean samples, or noisy ones with ``y``, as in ``fit``.
        y : array-like of X's shape, default=None
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When X, y or a parameter does not fit, before any training.
        """
        return super().partial_fit(X, y, sample_weight)

    def score(self, X, y=None, sample_weight=None):
        """Fraction of the variance of clean samples that is reconstructed (R2).

        One minus the squared error over the squared distance to the training mean,
        both summed over samples and features.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of X's shape, default=None
            The clean version of each sample, as in ``fit``; X itself where left out.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        score : float
            At most 1; 0 is what the mean would reach.
        """
        if y is None or _is_labels(y):
            return super().score(X, y, sample_weight)
        rows = self._rows(X)
        clean = self._targets(y, rows.shape)
        clean = clean.toarray() if sparse.issparse(clean) else clean
        rebuilt = self._map_rows(rows, self._reconstruct, rows.shape[1])
        squares = self._squares(
            torch.as_tensor(rebuilt), torch.from_numpy(np.array(clean))
        )
        return self._explained(squares.numpy(), rows, sample_weight)

    def denoise(self, X):
        """Clean noisy samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_clean : ndarray of shape (n_samples, n_features)
            In X's units and dtype.
        """
        return self.reconstruct(X)

    def _targets(self, y, shape):
        if y is None or _is_labels(y):
            return None
        names = getattr(y, "columns", None)
        given = getattr(self, "feature_names_in_", None)
        if names is not None and given is not None and list(names) != list(given):
            raise ValueError(
                f"The columns of y, {list(names)}, must be those of X, {list(given)}."
            )
        y = self._flattened(y, reset=False, name="y")
        return target_rows(y, shape, allow_nan=self._allows_nan)


@estimator
class DenoisingAE(Denoising, AnyArchitecture, DenseParameters, BaseAutoencoder):
    """Dense autoencoder that learns to remove noise (Vincent et al. 2010, JMLR 11).

    The input is corrupted afresh in every training step and the target stays clean, so
    the code has to hold what tells samples from noise. It may be wider than the data.

    Parameters
    ----------
    n_components : int, default=100
        Width of the code.
    noise : {"gaussian", "masking", "salt_and_pepper"}, corruption part or None, \
default="gaussian"
        Gaussian noise on every feature; features set to zero at random; features set to
        their smallest or largest training value at random; none. A part is called as
        ``corruption(x, generator)``; those of `skae.parts.corruption` take absolute
        units and ranges too.
    noise_level : float, default=0.5
        Standard deviation of the Gaussian noise in standard deviations of each feature,
        else the share of the features in [0, 1]. Ignored if ``noise`` is None or a
        part.
    architecture : "dense", (encoder, decoder) or architecture part, default="dense"
        "dense" follows the next three parameters; for the others see
        `AutoencoderTransformer`.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers and, with ``init="random"``, of the code.
    init : {"pca", "random"}, default="random"
        Start from random weights, or as PCA plus a correction by the network.
    penalty : str, penalty part or list of them, default=None
        As in `AutoencoderTransformer`.
    likelihood : {"gaussian", "bernoulli"} or likelihood part, default="gaussian"
        How reconstructions are judged: squared error, or cross-entropy for targets in
        [0, 1].

    Attributes
    ----------
    pca_ratio_ : float
        Held-out loss of the model kept over that of the start as PCA; 1 where PCA is
        kept. Only when the model started as PCA and rows were held out.
    pca_t_ : float
        t of the held-out rows' gain over PCA, which decided. Likewise.

    See Also
    --------
    ConvAE : For images.
    AutoencoderTransformer : Starts as PCA; takes a corruption too.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import DenoisingAE
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = DenoisingAE(64, noise="masking", noise_level=0.25, random_state=0).fit(X)
    >>> ae.transform(X).shape
    (1797, 64)
    """

    n_components: int = parameter(100, at_least(1), positional=True)
    noise: Any = parameter("gaussian")
    architecture: str = parameter(
        "dense", choice("dense"), tuple, list, HasMethods(["build"])
    )
    init: str = parameter("random", choice("pca", "random"))
    penalty: Any = parameter(None, None, choice(*PENALTIES), callable, list, tuple)

    def _parts(self, X):
        self._check_dense_alone(
            hidden_layer_sizes=(), activation="relu", tied_weights=False
        )
        architecture = self._architecture()
        is_fixed = architecture.decides_width
        starts_as_pca = self.init == "pca"
        defaults = DEFAULTS[architecture.data]
        if architecture.data == "tables" and not starts_as_pca:
            defaults = defaults_from_random
        return Parts(
            architecture=architecture,
            n_components=None if is_fixed else self.n_components,
            defaults=defaults,
            init=self.init,
            columns_apart=not starts_as_pca,
            likelihood=part_of(self.likelihood, Likelihood, LIKELIHOODS),
            corruption=noise_of(self.noise, self.noise_level),
            penalties=penalties_of(self.penalty),
        )

    def _dense(self):
        hidden = hidden_widths(self.hidden_layer_sizes, self.activation)
        of_code = self.activation if self.init == "random" else "identity"
        return Dense(hidden, self.activation, self.tied_weights, of_code)


def _is_labels(y) -> bool:
    """Whether y is one-dimensional; a list of arrays is a list of samples."""
    if isinstance(y, list | tuple):
        return len(y) == 0 or len(shape_of(y[0])) == 0
    return len(shape_of(y)) < 2
