"""What all autoencoders share once fitted: coding, decoding, scoring, pickling.

Subclasses implement ``fit`` and set the fitted attributes that `BaseAutoencoder` lists;
everything below validates X once and then works on chunks of rows.
"""

import copy

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
)

from skae.estimators.callbacks import CallbackSupport
from skae.estimators.validation import fitted_rows
from skae.training.batches import map_rows

__all__ = ["BaseAutoencoder"]


class BaseAutoencoder(
    CallbackSupport, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Fitted autoencoders.

    Attributes
    ----------
    net_ : Autoencoder
        The torch module, which sees x = (X - center) / scale.
    n_components_ : int
    _units : Units
        The center and scale above.
    """

    def transform(self, X):
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components_)
            Codes, in X's units and dtype.
        """
        X = fitted_rows(self, X)
        scale = self._units.scale

        def encode(x):
            return self.net_.codec.encode(x).cpu().double() * scale

        return self._map_rows(X, encode, self.n_components_)

    def inverse_transform(self, Z):
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components_)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Reconstructions, in X's units and Z's dtype.
        """
        check_is_fitted(self)
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self.n_components_:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but the codes of this "
                f"{type(self).__name__} have n_components_={self.n_components_}."
            )

        def decode(z):
            return self._to_x(self.net_.codec.decode(z))

        zero = np.zeros(self.n_components_)
        return self._map_rows(
            Z, decode, self.n_features_in_, center=zero, scale=self._units.scale
        )

    def reconstruct(self, X):
        """Encode and decode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features)
            In X's units and dtype.
        """
        X = fitted_rows(self, X)
        return self._map_rows(X, self._reconstruct, self.n_features_in_)

    def score_samples(self, X):
        """Log-likelihood of each row given its code, up to a constant.

        For a Gaussian likelihood this is minus half the squared reconstruction error,
        summed over features, in X's units squared; for a Bernoulli one minus the
        cross-entropy in nats.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher is better reconstructed.
        """
        X = fitted_rows(self, X)
        square = self._units.scale**2

        def nll(x):
            return -self.net_.nll(x).cpu().double()[:, None] * square

        return self._map_rows(X, nll, 1, dtype=np.float64)[:, 0]

    def score(self, X, y=None, sample_weight=None):
        """Fraction of the variance that the reconstruction keeps (R2).

        One minus the squared error over the squared distance to the training mean,
        both summed over rows and features: on training rows of a linear autoencoder
        this is the sum of PCA's ``explained_variance_ratio_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        score : float
            At most 1; 0 is what the mean would reach.
        """
        X = fitted_rows(self, X)
        mean = torch.as_tensor(self.mean_)

        def errors(x):
            rows = self._to_x_scale(x.cpu().double())
            lost = (self._reconstruct(x) - rows) / self._units.scale
            spread = (rows - mean) / self._units.scale
            return torch.stack([lost.square().sum(1), spread.square().sum(1)], dim=1)

        parts = self._map_rows(X, errors, 2, dtype=np.float64)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
            parts = parts * weight[:, None]
        lost, spread = parts.sum(axis=0)
        if spread == 0:
            return 1.0 if lost == 0 else 0.0
        return float(1 - lost / spread)

    @property
    def _n_features_out(self):
        return self.n_components_

    @property
    def _device(self):
        return next(self.net_.parameters()).device

    def _to_x(self, raw):
        return self._to_x_scale(self.net_.likelihood.mean(raw).cpu().double())

    def _to_x_scale(self, x):
        center = torch.as_tensor(self._units.center)
        return x * self._units.scale + center

    def _reconstruct(self, x):
        return self._to_x(self.net_.codec.decode(self.net_.codec.encode(x)))

    def _map_rows(self, X, function, width, *, center=None, scale=None, dtype=None):
        """Apply a function of scaled rows to chunks of X.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_columns)
        function : callable
            Maps a tensor (batch, n_columns) to a tensor (batch, width).
        width : int
        center, scale : optional
            Instead of the estimator's units.
        dtype : optional
            Of the result; X's when left out.
        """
        center = self._units.center if center is None else center
        scale = self._units.scale if scale is None else scale
        parameter = next(self.net_.parameters())
        out = np.empty((X.shape[0], width), dtype=X.dtype if dtype is None else dtype)

        def to_model(block):
            # Sums follow the memory layout, which frames and slices bring along.
            scaled = np.ascontiguousarray((block - center) / scale)
            return torch.from_numpy(scaled).to(parameter.dtype)

        return map_rows(X, to_model, function, out, parameter.device)

    def __getstate__(self):
        state = super().__getstate__()
        net = state.get("net_")
        if net is not None and self._device.type != "cpu":
            state = {**state, "net_": copy.deepcopy(net).cpu()}
        return {key: value for key, value in state.items() if key != "_trainer"}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
