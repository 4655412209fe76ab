"""The linear autoencoder, trained by gradient on the covariance.

For identity activations the mean squared error depends on the rows only through their
covariance C, so each step costs products of the size of C whatever the number of rows.
The loss is minimised by L-BFGS from random weights; at its minimum the weights span
PCA's subspace (Baldi and Hornik 1989) and `rotated` turns them to the principal axes.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.extmath import svd_flip

from skae.statistics.linear_algebra import eigh, inverse, orthonormal, product
from skae.statistics.pca import Moments, PCAResult

__all__ = ["fit_linear", "rotated"]

# Iterations after which the columns are rescaled.
_STAGES = (10, 15, 25, 100, 10_000)


def fit_linear(
    moments: Moments,
    n_components: int,
    *,
    tied: bool,
    random_state: np.random.RandomState,
    max_iter: int,
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Minimise tr (I - E D)^T C (I - E D) over encoder E and decoder D.

    Tied weights put E = D^T. Untied, E is the least-squares encoder of D at every step
    (variable projection, Golub and Pereyra 1973), which leaves a problem in D alone.
    Each stage rescales the columns of D^T by the deviation of their codes, after
    turning them to be uncorrelated: directions of large and of small variance then
    converge alike.

    Parameters
    ----------
    moments : Moments
        With the covariance C.
    n_components : int
    tied : bool
    random_state : RandomState
    max_iter : int

    Returns
    -------
    encoder : ndarray of shape (n_features, n_components)
    decoder : ndarray of shape (n_components, n_features)
    losses : list of float
        Mean squared error per entry after each iteration, relative to the variance.
    """
    covariance: Any = moments.covariance
    trace = moments.variance.sum()
    n_features = len(moments.variance)
    width = min(n_components, n_features)
    padding = ((0, 0), (0, n_components - width))
    if trace == 0:
        zeros = np.zeros((n_features, n_components))
        return zeros, zeros.T, [0.0]
    # Frobenius norm, by an estimate that does not need the entries.
    probes = np.random.RandomState(0).standard_normal((n_features, 30))
    scale = np.sqrt(30) / np.sqrt(np.square(_times(covariance, probes)).sum())
    c, trace = covariance * scale, trace * scale
    w = random_state.standard_normal((n_features, width)) / np.sqrt(n_features)
    objective = _tied_loss if tied else _untied_loss
    losses: list[float] = []
    stretch = np.ones(width)
    for stage in _STAGES:
        n_iter = min(stage, max_iter - len(losses))
        if n_iter <= 0:
            break
        w, converged = _descend(objective, w, stretch, c, trace, n_iter, losses)
        if converged:
            break
        w, stretch = _balanced(w, c)
    decoder = np.pad(w, padding).T
    encoder = w if tied else product(w, inverse(product(w.T, w)))
    return np.pad(encoder, padding), decoder, losses


def _descend(objective, w, stretch, c, trace, n_iter, losses):
    """L-BFGS on w / stretch; the new w and whether the gradient has vanished."""

    def loss_and_gradient(flat):
        loss, gradient = objective(flat.reshape(w.shape) * stretch, c)
        return loss, (gradient * stretch).ravel()

    def record(intermediate_result):
        losses.append(1 + intermediate_result.fun / trace)

    result = minimize(
        loss_and_gradient,
        (w / stretch).ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=record,
        options={
            "maxiter": n_iter,
            "maxfun": 2 * n_iter + 20,
            "maxcor": 10,
            "ftol": 1e-15,
            "gtol": (3e-5 if objective is _tied_loss else 3e-6) / np.sqrt(w.size),
        },
    )
    return result.x.reshape(w.shape) * stretch, result.success


def _balanced(w, c):
    """w with uncorrelated codes, and one over their deviations."""
    variance, turn = eigh(product(w.T, _times(c, w)))
    floor = 1e-6 * variance[-1]
    return product(w, turn), 1 / np.sqrt(np.maximum(variance, floor))


def _tied_loss(w, c):
    """tr C is left out; gradient of -2 tr W'CW + tr W'CW W'W."""
    cw, gram = _times(c, w), product(w.T, w)
    projected = product(w.T, cw)
    loss = np.sum(projected * gram) - 2 * np.trace(projected)
    gradient = product(cw, gram - 2 * np.eye(len(gram))) + product(w, projected)
    return loss, 2 * gradient


def _untied_loss(w, c):
    """tr C is left out; gradient of -tr (W'W)^-1 W'CW, the encoder projected out."""
    cw, inverted = _times(c, w), inverse(product(w.T, w))
    mixed = product(inverted, product(w.T, cw))
    return -np.trace(mixed), 2 * product(product(w, mixed) - cw, inverted)


def _times(covariance, w):
    """The covariance, which need not be formed, times w."""
    formed = isinstance(covariance, np.ndarray)
    return product(covariance, w) if formed else covariance @ w


def rotated(
    encoder: np.ndarray, decoder: np.ndarray, moments: Moments
) -> tuple[np.ndarray, PCAResult]:
    """The same linear map with decorrelated codes along orthonormal axes.

    Unregularised training finds PCA's subspace in arbitrary coordinates (Kunin et al.
    2019, arXiv 1901.08168). The rotation leaves every reconstruction as it was and puts
    the axes in the order of the variance of their codes, with PCA's signs.

    Returns
    -------
    encoder : ndarray of shape (n_features, n_components)
    result : PCAResult
        Its axes are the decoder, and its variances those of the codes.
    """
    basis, mixing = orthonormal(decoder.T)
    missing = (0, encoder.shape[1] - basis.shape[1])
    encoder = product(encoder, mixing.T)
    spread = product(encoder.T, _times(moments.covariance, encoder))
    variance, turn = eigh(spread)
    turn = turn[:, ::-1]
    axes, signed = svd_flip(product(basis, turn), product(encoder, turn).T)
    result = PCAResult(
        **vars(moments),
        axes=np.pad(axes, ((0, 0), missing)),
        axis_variance=np.pad(np.maximum(variance[::-1], 0), missing),
    )
    return np.pad(signed.T, ((0, 0), missing)), result
