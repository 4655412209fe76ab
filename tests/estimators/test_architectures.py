"""Samples with a shape of their own: which axis holds the channels."""

import numpy as np
import pytest

from skae import GAN, ConditionalVAE, ConvAE, RecurrentAE, VariationalAE

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"max_iter": 1, "random_state": 0, "channels": 2}
LAST = [(28, 28, 1), (32, 32, 3), (32, 32, 4), (16, 24, 3), (45, 69, 3), (6, 6, 1)]
FIRST = [
    (3, 32, 32),
    (1, 28, 28),
    (8, 4, 4),
    (4, 4, 4),
    (64, 4, 4),
    (1, 9, 4),
    (20, 1, 4),
]


def estimators():
    return [
        ConvAE(kernel_size=2, stride=1, **QUICK),
        ConvAE(kernel_size=3, stride=2, **QUICK),
        ConvAE(**QUICK),
        GAN(2, architecture="conv", **QUICK),
        VariationalAE(2, architecture="conv", **QUICK),
        ConditionalVAE(2, architecture="conv", **QUICK),
    ]


def images(shape):
    X = np.random.default_rng(0).random((12, *shape))
    return X, np.arange(12) % 2


@pytest.mark.parametrize("shape", LAST, ids=str)
@pytest.mark.parametrize("estimator", estimators(), ids=repr)
def test_channels_that_come_last_are_refused_with_the_axis_to_move(estimator, shape):
    message = r"channels come first: np.moveaxis\(X, -1, 1\)"
    with pytest.raises(ValueError, match=message):
        estimator.fit(*images(shape))
    assert not hasattr(estimator, "net_")


@pytest.mark.parametrize("shape", FIRST, ids=str)
def test_channels_that_come_first_are_taken(shape):
    X, _ = images(shape)
    fitted = ConvAE(kernel_size=2, stride=1, **QUICK).fit(X)
    assert fitted.sample_shape_ == shape
    assert GAN(2, architecture="conv", **QUICK).fit(X).sample_shape_ == shape


def test_moved_channels_are_taken():
    X, _ = images((12, 12, 3))
    fitted = ConvAE(kernel_size=2, stride=2, **QUICK).fit(np.moveaxis(X, -1, 1))
    assert fitted.sample_shape_ == (3, 12, 12)


def test_a_shape_that_is_stated_is_believed():
    X, _ = images((16, 16, 4))
    asked = ConvAE(sample_shape=(16, 16, 4), kernel_size=2, stride=2, **QUICK)
    assert asked.fit(X).sample_shape_ == (16, 16, 4)


def test_dense_models_take_any_order_of_axes_that_is_stated():
    X, _ = images((8, 8, 3))
    model = VariationalAE(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0)
    fitted = model.set_params(sample_shape=(8, 8, 3)).fit(X)
    assert fitted.reconstruct(X).shape == X.shape


@pytest.mark.parametrize("shape", [(1, 8, 8), [1, 8, 8]], ids=["tuple", "list"])
@pytest.mark.parametrize("estimator", [ConvAE, RecurrentAE, VariationalAE])
def test_a_shape_in_the_place_of_n_components_is_refused(estimator, shape):
    X = np.random.default_rng(0).random((12, 64))
    with pytest.raises(ValueError, match="n_components comes first; write sample_shap"):
        estimator(shape).fit(X)
    with pytest.raises(ValueError, match="n_components comes first; write sample_shap"):
        estimator(shape).partial_fit(X)
