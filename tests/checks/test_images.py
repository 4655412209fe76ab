"""Images in other units than the ones of a model are named."""

import warnings

import numpy as np
import pytest

from skae.checks.images import check_range, warn_of_units

IMAGES = np.random.default_rng(0).random((5, 64))


@pytest.mark.parametrize(
    ("X", "value_range", "is_bytes"),
    [
        (255 * IMAGES, (0, 255), False),
        (0 * IMAGES, (0, 255), False),
        (np.round(IMAGES), (0, 255), True),
        # Resized ones overshoot.
        (1.3 * IMAGES - 0.15, (0, 1), False),
        (0.01 * IMAGES, (0, 1), False),
    ],
)
def test_images_of_the_range_pass(X, value_range, is_bytes):
    check_range(X, value_range, is_bytes=is_bytes)


@pytest.mark.parametrize(
    ("X", "value_range"),
    [
        (IMAGES, (0, 255)),
        (2 * IMAGES - 1, (0, 255)),
        (255 * IMAGES, (0, 1)),
        (2 * IMAGES - 1, (0, 1)),
    ],
)
def test_both_ranges_are_named(X, value_range):
    match = rf"X ranges from {X.min():.4g} to .* from 0 to {value_range[1]}\."
    with pytest.raises(ValueError, match=match):
        check_range(X, value_range)


def test_units_a_model_without_a_range_are_compared_with_its_own():
    X = 2 * IMAGES - 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for similar in (X, 3 * X, IMAGES, 0 * X):
            warn_of_units(similar, X.mean(0), X.std(0))
    for other in (255 * IMAGES, X / 255):
        with pytest.warns(UserWarning, match="X ranges from .* have the mean"):
            warn_of_units(other, X.mean(0), X.std(0))
