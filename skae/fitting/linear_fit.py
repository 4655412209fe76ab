"""Linear autoencoders: PCA's axes from training, and a codec of such axes.

`Fit` calls these where its model is linear; the codec is in float64, and its codes are
principal components.
"""

import copy
import warnings
from functools import reduce

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skae.parts.base import Codec
from skae.parts.dense import DenseCodec
from skae.statistics.linear_autoencoder import fit_linear, rotated
from skae.statistics.pca import PCAResult, moments, principal

__all__ = ["collapsed", "linear_codec", "train_linear"]

_MAX_ITER = 2000


def train_linear(
    X,
    n_components: int | float,
    weight: np.ndarray | None,
    random_state: np.random.RandomState,
    *,
    tied: bool,
    max_iter: int | None,
) -> tuple[np.ndarray, PCAResult, dict]:
    """Gradient descent on the covariance from random weights.

    Returns
    -------
    encoder : ndarray of shape (n_features, n_components)
    result : PCAResult
        Whose axes are the decoder.
    curves : dict
        Fitted attributes that describe the training.
    """
    result = moments(X, weight, covariance=True)
    if n_components < 1:
        axes = principal(X, n_components, weight, random_state).axes
        n_components = axes.shape[1]
    limit = max_iter or _MAX_ITER
    encoder, decoder, losses = fit_linear(
        result,
        n_components,
        tied=tied,
        random_state=random_state,
        max_iter=limit,
    )
    n_iter = len(losses)
    converged = n_iter < limit
    if not converged:
        warnings.warn(
            f"The linear autoencoder did not converge in max_iter={limit} "
            "iterations. Raise max_iter.",
            ConvergenceWarning,
            stacklevel=4,
        )
    curves = {
        "n_iter_": n_iter,
        "epochs_": np.arange(1.0, n_iter + 1),
        "loss_curve_": losses,
        "_kept_round": n_iter,
        "_stop_reason": "converged" if converged else "stopped at max_iter",
    }
    return *rotated(encoder, decoder, result), curves


def collapsed(
    codec: Codec, X, weight: np.ndarray | None
) -> tuple[np.ndarray, PCAResult]:
    """A deep linear codec as one matrix each way, turned to principal axes."""
    codec = copy.deepcopy(codec).dense_layers().cpu().double().requires_grad_(False)
    encoder, decoder = (
        reduce(torch.matmul, [weight for weight, _ in layers])
        for layers in (codec.encoder_layers(), codec.decoder_layers())
    )
    encoder = codec.input_scale[:, None] * encoder
    result = moments(X, weight, covariance=True)
    return rotated(encoder.numpy(), decoder.numpy(), result)


def linear_codec(result: PCAResult, encoder: np.ndarray | None = None) -> DenseCodec:
    """PCA, or an encoder with the axes as its decoder, as a codec in float64."""
    encoder = result.axes if encoder is None else encoder
    codec = DenseCodec([*encoder.shape], "identity").double()
    with torch.no_grad():
        codec.encoder_weights[0].copy_(torch.from_numpy(encoder.copy()))
        codec.decoder_weights[0].copy_(torch.from_numpy(result.axes.T.copy()))
    return codec
