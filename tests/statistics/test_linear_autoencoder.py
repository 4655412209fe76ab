"""The linear autoencoder by gradient: its gradient, its minimum, its rotation."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.optimize import check_grad

from skae.statistics.linear_autoencoder import (
    _tied_loss,
    _untied_loss,
    fit_linear,
    rotated,
)
from skae.statistics.pca import Moments

D, K = 7, 3


def covariance(n_features=D, seed=0):
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((n_features, 3 * n_features))
    return np.diag(np.arange(1.0, n_features + 1)) @ mixing @ mixing.T / n_features


def symmetric(seed=0):
    c = covariance(seed=seed)
    return c @ c.T / np.trace(c @ c.T)


def moments_of(c):
    """Of centred rows with this covariance."""
    variance = np.diag(c)
    return Moments(mean=0 * variance, unit=1.0, variance=variance, covariance=c)


def trained(c, n_components, tied, seed=0):
    return fit_linear(
        moments_of(c),
        n_components,
        tied=tied,
        random_state=np.random.RandomState(seed),
        max_iter=2000,
    )


def error(encoder, decoder, c):
    departure = np.eye(len(c)) - encoder @ decoder
    return np.trace(departure.T @ c @ departure)


@pytest.mark.parametrize("loss", [_tied_loss, _untied_loss])
def test_gradient_matches_finite_differences(loss):
    c = symmetric()
    start = np.random.default_rng(1).standard_normal(D * K)

    def value(flat):
        return loss(flat.reshape(D, K), c)[0]

    def gradient(flat):
        return loss(flat.reshape(D, K), c)[1].ravel()

    size = np.linalg.norm(gradient(start))
    assert check_grad(value, gradient, start) < 1e-6 * max(1, size)


def test_losses_are_reconstruction_errors_without_their_constant():
    c = symmetric()
    w = np.random.default_rng(1).standard_normal((D, K))
    tied = error(w, w.T, c) - np.trace(c)
    np.testing.assert_allclose(_tied_loss(w, c)[0], tied)
    best = w @ np.linalg.inv(w.T @ w)
    untied = error(best, w.T, c) - np.trace(c)
    np.testing.assert_allclose(_untied_loss(w, c)[0], untied)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_arrives_at_pca(tied, seed):
    c = symmetric(seed)
    encoder, decoder, losses = trained(c, K, tied, seed)
    values, vectors = np.linalg.eigh(c)
    least = values[:-K].sum()
    assert error(encoder, decoder, c) <= least * (1 + 1e-6)
    assert subspace_angles(decoder.T, vectors[:, -K:]).max() < 1e-3
    assert losses[-1] == pytest.approx(least / values.sum(), rel=1e-5)
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("scale", [1e-40, 1e40])
def test_the_scale_does_not_matter(scale):
    c = symmetric()
    values = np.linalg.eigvalsh(c)
    encoder, decoder, _ = trained(scale * c, K, tied=False)
    assert error(encoder, decoder, c) <= values[:-K].sum() * (1 + 1e-6)


def test_nothing_to_learn_gives_zeros():
    encoder, decoder, losses = trained(np.zeros((D, D)), K, tied=True)
    assert not encoder.any()
    assert not decoder.any()
    assert losses == [0.0]


@pytest.mark.parametrize("tied", [False, True])
def test_more_components_than_the_rank_reconstruct_everything(tied):
    basis = np.random.default_rng(0).standard_normal((D, 2))
    c = basis @ basis.T
    encoder, decoder, _ = trained(c, 4, tied)
    assert error(encoder, decoder, c) < 1e-6 * np.trace(c)


@pytest.mark.parametrize("n_components", [K, D + 2])
def test_rotation_leaves_every_reconstruction_as_it_was(n_components):
    c = symmetric()
    random = np.random.default_rng(1)
    encoder = random.standard_normal((D, n_components))
    decoder = random.standard_normal((n_components, D))
    turned, result = rotated(encoder, decoder, moments_of(c))
    components, variance = result.axes.T, result.axis_variance
    assert turned.shape == (D, n_components)
    np.testing.assert_allclose(turned @ components, encoder @ decoder, atol=1e-9)
    kept = min(n_components, D)
    gram = components[:kept] @ components[:kept].T
    np.testing.assert_allclose(gram, np.eye(kept), atol=1e-9)
    codes = turned.T @ c @ turned
    np.testing.assert_allclose(codes, np.diag(variance), atol=1e-9 * variance.max())
    assert (np.diff(variance) <= 0).all()
    largest = np.abs(components[:kept]).argmax(1)
    assert (components[np.arange(kept), largest] > 0).all()
