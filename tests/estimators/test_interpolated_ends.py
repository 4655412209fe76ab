"""Ends of interpolations are in the units that the model was trained in."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skae import AdversarialAE, ConditionalVAE, VariationalAE

IMAGES, Y = load_digits().images[:60] / 16, load_digits().target[:60]
ROWS = IMAGES.reshape(60, -1)
BRIEF = {"max_iter": 1, "random_state": 0, "early_stopping": False}


@pytest.fixture(autouse=True)
def _brief():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("kind", [VariationalAE, ConditionalVAE, AdversarialAE])
def test_a_bernoulli_likelihood_needs_shares(kind):
    model = kind(2, likelihood="bernoulli", **BRIEF).fit(ROWS, Y)
    assert model.interpolate(ROWS[0], ROWS[1], 3).shape == (3, 64)
    with pytest.raises(ValueError, match=r"within \[0, 1\]") as caught:
        model.interpolate(16 * ROWS[0], ROWS[1])
    assert caught.value.__notes__ == ["X stands for a, an argument of interpolate."]
    with pytest.raises(ValueError, match="X stands for b"):
        model.interpolate(ROWS[0], ROWS[1] - 1)


def test_images_of_bytes_are_in_their_range():
    images = (255 * IMAGES).astype(np.uint8)
    model = VariationalAE(2, **BRIEF).fit(images)
    assert model.interpolate(images[0], images[1].astype(float), 3).max() <= 255
    # Black images are bytes too, and dark ones where the dtype says so.
    model.interpolate(np.zeros((8, 8)), images[0] // 100)
    with pytest.raises(ValueError, match="X ranges from 0 to 1, but the training"):
        model.interpolate(images[0], IMAGES[1])
    with pytest.raises(ValueError, match="to 3824, but the training images"):
        model.interpolate(16.0 * images[0], images[1])


def test_other_models_take_any_values():
    model = VariationalAE(2, **BRIEF).fit(ROWS)
    assert np.isfinite(model.interpolate(3 * ROWS[0] - 1, ROWS[1], 3)).all()


def test_rows_to_augment_suit_the_likelihood():
    model = ConditionalVAE(2, likelihood="bernoulli", **BRIEF).fit(ROWS, Y)
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        model.augment(16 * ROWS, Y, 1)
