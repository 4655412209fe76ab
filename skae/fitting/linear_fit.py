"""Linear autoencoders as fitted attributes: PCA itself, or what training arrived at.

`Fit` inherits `LinearModels` and hands over axes; what comes back is a codec in float64
and the attributes that read like PCA's.
"""

import copy
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skae.fitting.pca_start import units_of
from skae.parts.base import Codec
from skae.parts.dense import Dense, DenseCodec
from skae.statistics.linear_autoencoder import fit_linear, rotated
from skae.statistics.pca import Moments, Principal, moments, principal

__all__ = ["LinearModels"]

_LINEAR_ITERATIONS = 2000


class LinearModels:
    """The part of a `Fit` that linear models need."""

    X: Any
    weight: Any
    parts: Any
    estimator: Any
    device: torch.device
    random_state: Any
    n_samples: int
    n_features: int
    _attributes: Any
    _module: Any

    def _fit_linear(self) -> dict:
        """Gradient descent on the covariance from random weights."""
        found = moments(self.X, self.weight, covariance=True)
        n_components = self.parts.n_components
        if n_components < 1:
            of_share = principal(self.X, n_components, self.weight, self.random_state)
            n_components = of_share.axes.shape[1]
        limit = self.estimator.max_iter or _LINEAR_ITERATIONS
        encoder, decoder, losses = fit_linear(
            found.covariance,
            n_components,
            tied=self.parts.architecture.tied_weights,
            random_state=self.random_state,
            max_iter=limit,
        )
        if len(losses) >= limit:
            warnings.warn(
                f"The linear autoencoder did not converge in max_iter={limit} "
                "iterations. Raise max_iter.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return {
            **self._rotated_attributes(encoder, decoder, found),
            "n_iter_": len(losses),
            "epochs_": np.arange(1.0, len(losses) + 1),
            "loss_curve_": losses,
            "_kept_round": len(losses),
            "_stop_reason": "converged"
            if len(losses) < limit
            else "stopped at max_iter",
        }

    def _principal_attributes(self, found: Principal, encoder=None) -> dict:
        """PCA itself, or a rotated linear autoencoder, as a codec in float64."""
        axes = found.axes if encoder is None else encoder
        units = units_of(found)
        dense = Dense((), "identity")
        codec = DenseCodec(dense, self.n_features, axes.shape[1]).double()
        with torch.no_grad():
            codec.encoder_weights[0].copy_(torch.from_numpy(axes.copy()))
            codec.decoder_weights[0].copy_(torch.from_numpy(found.axes.T.copy()))
        # Apple's devices have no float64.
        codec.to("cpu" if self.device.type == "mps" else self.device)
        total, variance = found.variance.sum(), found.axis_variance
        to_sample = self.n_samples / (self.n_samples - 1)
        return {
            **self._attributes(self._module(codec), units, found.mean, 0.0),
            "components_": found.axes.T.copy(),
            "explained_variance_": variance * found.unit**2 * to_sample,
            "explained_variance_ratio_": variance / (total or 1.0),
            "n_iter_": 0,
            "epochs_": np.empty(0),
            "loss_curve_": [],
            "_kept_round": None,
            "validation_scores_": None,
        }

    def _rotated_attributes(self, encoder, decoder, found: Moments) -> dict:
        encoder, components, variance = rotated(encoder, decoder, found.covariance)
        turned = Principal(
            found.mean, found.unit, components.T, variance, found.variance
        )
        return self._principal_attributes(turned, encoder)

    def _collapsed(self, codec: Codec) -> dict:
        """A deep linear codec as one matrix each way, turned to principal axes."""
        codec = copy.deepcopy(codec).dense_layers().cpu().double()
        (first, _), *others = codec.encoder_layers()
        encoder = codec.input_scale[:, None] * first.detach()
        for weight, _ in others:
            encoder = encoder @ weight.detach()
        decoder = torch.eye(encoder.shape[1], dtype=torch.float64)
        for weight, _ in codec.decoder_layers():
            decoder = decoder @ weight.detach()
        found = moments(self.X, self.weight, covariance=True)
        return self._rotated_attributes(encoder.numpy(), decoder.numpy(), found)
