"""8-bit pixels in any dtype: what comes back lies in [0, 255]."""

import numpy as np
import pytest

from skae import GAN, ConditionalVAE, ConvAE, VariationalAE

PIXELS = np.random.default_rng(0).choice([0, 30, 60, 200, 255], (60, 8, 8))
OWN = {"channels": 4, "max_iter": 2, "random_state": 0, "early_stopping": False}
GANS = [GAN(architecture=name, **OWN) for name in ("conv", "progressive", "style")]
GANS += [GAN(hidden_layer_sizes=(8,), **{**OWN, "channels": "auto"})]


def assert_in_range(values):
    assert values.min() >= 0
    assert 200 < values.max() <= 255


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("gan", GANS, ids=repr)
def test_samples_of_gans_are_those_of_shares_times_255(gan, dtype):
    samples = gan.fit(PIXELS.astype(dtype)).sample(20)
    assert_in_range(samples)
    shares = gan.fit((PIXELS / 255).astype(samples.dtype)).sample(20)
    np.testing.assert_allclose(samples / 255, shares, atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
@pytest.mark.parametrize(
    "estimator",
    [
        ConvAE(2, **OWN),
        VariationalAE(2, **OWN),
        VariationalAE(2, hidden_layer_sizes=(8,), **{**OWN, "channels": (64,)}),
        ConditionalVAE(2, **OWN),
    ],
    ids=repr,
)
def test_autoencoders_agree_in_every_dtype(estimator, dtype):
    X, y = PIXELS.astype(dtype), np.arange(len(PIXELS)) % 2
    fitted = estimator.fit(X, None if isinstance(estimator, ConvAE) else y)
    of_class = {"y": [0]} if isinstance(estimator, ConditionalVAE) else {}
    far = fitted.inverse_transform(np.full((1, 2), 1e3), **of_class)
    assert_in_range(far)


def test_other_images_have_no_range():
    for X in (PIXELS // 2, PIXELS - 1, PIXELS + 0.5 * (PIXELS == 30)):
        gan = GAN(architecture="conv", **OWN).fit(X)
        assert not gan.net_.generator.is_confined
    table = PIXELS.reshape(60, -1)
    assert (
        not GAN(hidden_layer_sizes=(8,), max_iter=1)
        .fit(table)
        .net_.generator.is_confined
    )


def test_the_range_holds_for_later_chunks():
    gan = GAN(architecture="conv", **OWN).partial_fit(PIXELS.astype(float))
    assert_in_range(gan.partial_fit(PIXELS.astype(np.uint8)).sample(20))
    with pytest.raises(ValueError, match=r"X must lie in \[0, 255\].* to 300"):
        gan.partial_fit(PIXELS + 300 * (PIXELS == 0))
    masks = GAN(architecture="conv", **OWN).fit(np.uint8(PIXELS > 100))
    assert masks.sample(20).max() <= 1
