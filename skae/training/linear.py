"""The linear autoencoder, trained by gradient on the covariance.

For identity activations the mean squared error depends on the rows only through their
covariance C, so each step costs products of the size of C whatever the number of rows.
The loss is minimised by L-BFGS from random weights; at its minimum the weights span
PCA's subspace (Baldi and Hornik 1989) and `rotated` turns them to the principal axes.
"""

import numpy as np
from scipy import linalg
from scipy.optimize import minimize

__all__ = ["fit_linear", "rotated"]


def fit_linear(
    covariance: np.ndarray,
    n_components: int,
    *,
    tied: bool,
    random_state: np.random.RandomState,
    max_iter: int,
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Minimise tr (I - E D)^T C (I - E D) over encoder E and decoder D.

    Tied weights put D = E^T. Untied, D is the least-squares decoder of E at every step
    (variable projection, Golub and Pereyra 1973), which leaves a problem in E alone.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
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
    n_features = len(covariance)
    total = np.trace(covariance)
    if total == 0:
        zeros = np.zeros((n_features, n_components))
        return zeros, zeros.T, [0.0]
    c = covariance / np.linalg.norm(covariance, 2)
    start = random_state.standard_normal((n_features, n_components))
    start /= np.sqrt(n_features)
    objective = _tied_loss if tied else _untied_loss
    scale = np.trace(c)
    losses: list[float] = []

    def loss_and_gradient(flat):
        loss, gradient = objective(flat.reshape(start.shape), c)
        return loss, gradient.ravel()

    result = minimize(
        loss_and_gradient,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: losses.append(
            1 + intermediate_result.fun / scale
        ),
        options={
            "maxiter": max_iter,
            "maxfun": 2 * max_iter,
            "maxcor": 8,
            "ftol": 1e-13,
            "gtol": 1e-6,
        },
    )
    encoder = result.x.reshape(start.shape)
    decoder = encoder.T if tied else _least_squares_decoder(encoder, c)
    return encoder, decoder, losses


def _tied_loss(w, c):
    """tr C is left out; gradient of -2 tr W'CW + tr W'CW W'W."""
    cw, gram = c @ w, w.T @ w
    projected = w.T @ cw
    loss = np.sum(projected * gram) - 2 * np.trace(projected)
    return loss, 2 * cw @ (gram - 2 * np.eye(len(gram))) + 2 * w @ projected


def _untied_loss(w, c):
    """tr C is left out; by the envelope theorem D counts as constant."""
    cw = c @ w
    decoder = _least_squares_decoder(w, c, cw)
    loss = -np.sum(decoder * cw.T)
    return loss, 2 * cw @ (decoder @ decoder.T) - 2 * c @ decoder.T


def _least_squares_decoder(w, c, cw=None):
    cw = c @ w if cw is None else cw
    code_covariance = w.T @ cw
    # More components than the rank leave a singular code covariance.
    ridge = 1e-13 * np.trace(code_covariance) + np.finfo(float).tiny
    code_covariance[np.diag_indices_from(code_covariance)] += ridge
    return linalg.solve(code_covariance, cw.T, assume_a="pos", check_finite=False)


def rotated(
    encoder: np.ndarray, decoder: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same linear map with decorrelated codes along orthonormal axes.

    Unregularised training finds PCA's subspace in arbitrary coordinates (Kunin et al.
    2019, arXiv 1901.08168). The rotation leaves every reconstruction as it was and puts
    the axes in the order of the variance of their codes, with PCA's signs.

    Returns
    -------
    encoder : ndarray of shape (n_features, n_components)
    components : ndarray of shape (n_components, n_features)
    variance : ndarray of shape (n_components,)
        Of the codes.
    """
    n_features, n_components = encoder.shape
    basis, mixing = linalg.qr(decoder.T, mode="economic")
    encoder = encoder @ mixing.T
    variance, turn = linalg.eigh(encoder.T @ covariance @ encoder)
    turn = turn[:, ::-1]
    components = (basis @ turn).T
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    signs = np.where(signs == 0, 1, signs)
    missing = n_components - len(components)
    pad = ((0, missing), (0, 0))
    return (
        np.pad(encoder @ turn * signs, pad[::-1]),
        np.pad(components * signs[:, None], pad),
        np.pad(np.maximum(variance[::-1], 0), (0, missing)),
    )
