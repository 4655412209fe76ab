"""PCA's path for images: what held-out images choose."""

import numpy as np
import pytest

from skae.fitting.image_start import choose_axes, path_of_all, trial
from skae.statistics.pca import principal
from skae.training.schedule import Schedule

SHAPE = (1, 8, 8)


def textures(n_images, seed=0):
    """Smooth noise, with the same statistics at every pixel."""
    noise = np.random.default_rng(seed).normal(size=(n_images, 13, 13))
    windows = np.lib.stride_tricks.sliding_window_view(noise, (6, 6), axis=(1, 2))
    return windows.mean(axis=(3, 4)).reshape(n_images, -1)


def aligned(n_images):
    """Mixtures of three pictures."""
    rng = np.random.default_rng(0)
    pictures = (rng.random((3, 64)) < 0.3) * 1.0
    noise = 0.01 * rng.normal(size=(n_images, 64))
    return rng.random((n_images, 3)) @ pictures + noise


def chosen(X, weight=None, k=3):
    training, held_out = np.arange(0, 80), np.arange(80, 100)
    pca = principal(X, k, weight)
    start = choose_axes(X, weight, training, held_out, pca, SHAPE, None)
    return pca, start


@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 1.5, 100)])
def test_textures_get_stationary_axes_which_hold_for_others(weight):
    X = textures(100)
    pca, start = chosen(X, weight, k=12)
    assert start.share > 0
    assert start.ratio < 0.97
    path, others = path_of_all(X, weight, pca, start.share, SHAPE), textures(500, 1)

    def error(each):
        x = others - each.mean
        return np.square(x - x @ each.axes @ each.axes.T).mean()

    assert error(path) < 0.99 * error(pca)


def test_aligned_images_keep_pca_of_all():
    X = aligned(100)
    pca, start = chosen(X)
    assert start.share == 0
    assert start.ratio == 1
    assert path_of_all(X, None, pca, start.share, SHAPE) is pca


def test_the_residual_is_that_of_held_out_images():
    X = aligned(100)
    plain = principal(X[:80], 3)
    x = X[80:] - plain.mean
    expected = np.square(x - x @ plain.axes @ plain.axes.T).mean()
    assert chosen(X)[1].residual == pytest.approx(expected, rel=1e-3)


def test_many_images_are_left_to_pca():
    X = aligned(400)
    rows = np.arange(300), np.arange(300, 400)
    assert choose_axes(X, None, *rows, principal(X, 3), SHAPE, None) is None


@pytest.mark.parametrize(("n_steps", "expected"), [(2000, 200), (400, 50), (60, None)])
def test_trials_are_short(n_steps, expected):
    schedule = trial(Schedule(20, n_steps, 64, 0.001))
    assert (schedule and schedule.n_steps) == expected
