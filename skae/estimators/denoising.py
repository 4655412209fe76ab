"""`DenoisingAE`, and what all estimators that learn to remove noise share.

`Denoising` adds ``denoise`` and training from pairs of noisy and clean samples to any
autoencoder; the noise itself is a corruption part.
"""

from numbers import Real
from typing import Any

import torch
from scipy import sparse

from skae.checks.rows import shape_of, target_rows
from skae.estimators.architectures import AnyArchitecture
from skae.estimators.base import BaseAutoencoder
from skae.estimators.parameters import PCAStart, at_least, choice, estimator, parameter
from skae.fitting.defaults import DEFAULTS, defaults_from_random
from skae.fitting.resolve import noise_of, penalties_of
from skae.parts.corruption import CORRUPTIONS
from skae.rows.chunks import chunks

__all__ = ["Denoising", "DenoisingAE"]


@estimator
class Denoising(BaseAutoencoder):
    """Training on noisy samples whose clean versions are the targets.

    Parameters
    ----------
    noise : {"gaussian", "masking", "salt_and_pepper"}, corruption part or None, \
default=None
        Noise to be learned to remove, drawn afresh in every training step: Gaussian
        noise on every feature; features set to zero at random; features set to their
        smallest or largest training value at random; none. A part is called as
        ``corruption(x, generator)``; those of `skae.parts.corruption` take absolute
        units and ranges too.
    noise_level : float, default=0.5
        Standard deviation of the Gaussian noise in standard deviations of each feature,
        else the share of the features in [0, 1]. Ignored if ``noise`` is None or a
        part.
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
        """
        return super().fit(X, y, sample_weight)

    def partial_fit(self, X, y=None, sample_weight=None):
        """
        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Clean samples, or noisy ones with ``y``, as in ``fit``.
        y : array-like of X's shape, default=None
        """
        return super().partial_fit(X, y, sample_weight)

    def score(self, X, y=None, sample_weight=None):
        """Fraction of the variance of clean samples that is reconstructed (R2).

        One minus the squared error over the squared distance to the training mean,
        both summed over samples and features.

        Parameters
        ----------
        y : array-like of X's shape, default=None
            The clean version of each sample, as in ``fit``; X itself where left out.
        """
        if y is None or _is_labels(y):
            return super().score(X, y, sample_weight)
        rows = self._rows(X)
        clean = self._targets(y, rows.shape)
        squares = []
        for part in chunks(*rows.shape):
            block = clean[part]
            block = block.toarray() if sparse.issparse(block) else block.copy()
            rebuilt = torch.from_numpy(self._reconstructed(rows[part]))
            squares.append(self._squares(rebuilt, torch.from_numpy(block)))
        return self._explained(torch.cat(squares).numpy(), rows, sample_weight)

    def denoise(self, X, out=None):
        """Clean noisy samples.

        Parameters
        ----------
        out : array of shape (n_samples, n_features), optional
            Where flat rows are written, as in ``transform``.

        Returns
        -------
        X_clean : ndarray of shape (n_samples, n_features)
            In X's units and dtype. With ``out``, that.
        """
        return self.reconstruct(X, out)

    @property
    def _takes_noise(self):
        # Noisy rows of pairs may have any range.
        return getattr(self, "_has_pairs", True) or super()._takes_noise

    def _targets(self, y, shape):
        if y is None or _is_labels(y):
            return None
        names = getattr(y, "columns", None)
        fitted = getattr(self, "feature_names_in_", None)
        if names is not None and fitted is not None and list(names) != list(fitted):
            raise ValueError(
                f"The columns of y, {list(names)}, must be those of X, {list(fitted)}."
            )
        rows = self._flattened(y, reset=False, name="y")
        return target_rows(rows, shape, allow_nan=self._allows_nan, like=y)


@estimator
class DenoisingAE(AnyArchitecture, PCAStart, Denoising):
    """Dense autoencoder that learns to remove noise (Vincent et al. 2010, JMLR 11).

    The input is corrupted afresh in every training step and the target stays clean, so
    the code has to hold what tells samples from noise. It may be wider than the data.

    Parameters
    ----------
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers and, with ``init="random"``, of the code.

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

    noise: Any = parameter("gaussian")
    init: str = parameter("random")

    def _parts(self, X):
        is_random = self.init == "random"
        architecture = self._architecture(self.activation if is_random else "identity")
        defaults = DEFAULTS[architecture.data]
        if architecture.data == "tables" and is_random:
            defaults = defaults_from_random
        return self._parts_of(
            X,
            architecture,
            defaults,
            init=self.init,
            columns_apart=is_random,
            corruption=noise_of(self.noise, self.noise_level),
            penalties=penalties_of(self.penalty),
        )


def _is_labels(y) -> bool:
    """Whether y is one-dimensional; a list of arrays is a list of samples."""
    if isinstance(y, list | tuple):
        return len(y) == 0 or len(shape_of(y[0], "y")) == 0
    return len(shape_of(y, "y")) < 2
