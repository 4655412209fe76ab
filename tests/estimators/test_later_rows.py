"""Rows that come after the first fit, and differ from its rows."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from skae import GAN, AutoencoderTransformer, ConvAE, DenoisingAE, VariationalAE

ESTIMATORS = {
    "linear": AutoencoderTransformer(8, max_iter=2),
    "denoising": DenoisingAE(8, max_iter=2),
    "variational": VariationalAE(8, max_iter=2),
    "images as PCA": ConvAE(8, max_iter=2),
    "images": ConvAE(max_iter=2),
    "dense GAN": GAN(max_iter=2, early_stopping=False),
    "conv GAN": GAN(architecture="conv", channels=8, max_iter=2),
    "style GAN": GAN(architecture="style", channels=4, max_iter=2),
}


def chunks(estimator):
    """Digits whose left half is empty at first."""
    later = load_digits().images[:200] / 16
    first = later[:60].copy()
    first[:, :, :4] = 0
    if isinstance(estimator, AutoencoderTransformer | DenoisingAE):
        return first.reshape(60, -1), later.reshape(200, -1)
    return first, later


def left_half(estimator, X):
    if isinstance(estimator, GAN):
        made = estimator.sample(50)
    else:
        made = estimator.reconstruct(X)
    return made.reshape(-1, 8, 8)[:, :, :4]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_columns_constant_in_the_first_rows_are_learned_from_later_ones(name, warm):
    estimator = clone(ESTIMATORS[name]).set_params(random_state=0, warm_start=warm)
    first, later = chunks(estimator)
    step = estimator.fit if warm else estimator.partial_fit
    step(first)
    assert np.all(left_half(estimator, first) == 0)
    step(first)
    assert np.all(left_half(estimator, first) == 0)
    for _ in range(1 if warm else 3):
        step(later)
    assert np.std(left_half(estimator, later), axis=0).mean() > 0.005


def test_a_column_that_varies_late_gets_a_unit_where_columns_have_their_own():
    random = np.random.default_rng(0)
    X = random.standard_normal((200, 3)) * [1.0, 1000.0, 50_000.0]
    first = X[:100].copy()
    first[:, 2] = 7.0
    vae = VariationalAE(3, beta=0.01, learning_rate_init=0.01, random_state=0)
    for rows in (first, *[X] * 20):
        vae.partial_fit(rows)
    assert vae.units_.scale[2] == np.abs(X[:, 2] - 7.0).max()
    rebuilt = vae.reconstruct(X)[:, 2]
    assert np.corrcoef(rebuilt, X[:, 2])[0, 1] > 0.5


def test_rows_without_the_later_columns_leave_the_units_as_they_are():
    first = chunks(ESTIMATORS["images"])[0]
    gan = GAN(architecture="conv", channels=4, random_state=0).partial_fit(first)
    units = gan.units_
    assert gan.partial_fit(first[:30]).units_ is not None
    assert np.array_equal(gan.units_.constant, units.constant, equal_nan=True)
