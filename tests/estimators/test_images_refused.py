"""Images that no estimator of images takes, and short codes of few pixels."""

import numpy as np
import pytest

from skae import GAN, ConditionalVAE, ConvAE, VariationalAE

IMAGE_ESTIMATORS = [
    ConvAE(4, max_iter=1),
    ConvAE(max_iter=1),
    VariationalAE(2, max_iter=1),
    VariationalAE(2, architecture="dense", max_iter=1),
    ConditionalVAE(2, max_iter=1),
    *(
        GAN(architecture=name, channels=4, max_iter=1)
        for name in ("conv", "progressive", "style")
    ),
]


def fit(estimator, X):
    y = None if isinstance(estimator, ConvAE) else np.arange(len(X)) % 2
    estimator.fit(X, y)


@pytest.mark.parametrize("n_channels", [2, 3])
@pytest.mark.parametrize("estimator", IMAGE_ESTIMATORS, ids=repr)
def test_images_with_their_channels_last_are_refused(estimator, n_channels):
    X = np.random.default_rng(0).random((9, 16, 16, n_channels))
    with pytest.raises(ValueError, match="channels last; channels come first"):
        fit(estimator, X)


@pytest.mark.parametrize("estimator", IMAGE_ESTIMATORS, ids=repr)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 16, 24), (16, 24, 3), (20, 24, 4)])
def test_one_colour_photograph_is_refused(estimator, shape, dtype):
    X = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    where = "first" if shape[0] == 3 else "last"
    with pytest.raises(ValueError, match=f"one image with its channels {where}"):
        fit(estimator, X)


@pytest.mark.parametrize("shape", [(3, 16, 24), (16, 24, 3)])
def test_grey_images_of_such_shapes_are_taken_as_the_message_says(shape):
    X = np.random.default_rng(0).random(shape)
    vae = VariationalAE(2, sample_shape=(1, *shape[1:]), max_iter=1, random_state=0)
    assert vae.fit(X).reconstruct(X).shape == X.shape
    gan = GAN(max_iter=1, random_state=0).fit(X[:, None])
    assert gan.sample(2).shape == (2, 1, *shape[1:])


def test_few_small_images_are_no_photograph():
    X = np.random.default_rng(0).random((3, 8, 8))
    assert VariationalAE(2, max_iter=1).fit(X).sample_shape_ == (1, 8, 8)


@pytest.mark.parametrize("estimator", IMAGE_ESTIMATORS, ids=repr)
def test_images_that_are_all_the_same_are_refused(estimator):
    X = np.tile(np.random.default_rng(0).random((8, 8)), (20, 1, 1))
    with pytest.raises(ValueError, match="20 images that are all the same"):
        fit(estimator, X)


def test_codes_may_be_wider_than_small_images():
    X = np.random.default_rng(0).random((30, 3, 8, 8)).cumsum(-1).cumsum(-2)
    ae = ConvAE(200, channels=4, max_iter=1, random_state=0).fit(X)
    assert ae.transform(X).shape == (30, 200)
    assert np.isfinite(ae.reconstruct(X)).all()
