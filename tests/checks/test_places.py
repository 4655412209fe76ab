"""Errors name entries as users index them in the samples that they pass."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skae import (
    GAN,
    AEOutlierDetector,
    ConditionalVAE,
    ConvAE,
    DenoisingAE,
    RecurrentAE,
    VariationalAE,
)
from skae.checks.places import place_of
from skae.parts.conv import Conv

COLOURS = np.random.default_rng(0).random((12, 3, 8, 8))
GREYS = COLOURS[:, 0]
Y = np.arange(12) % 2
BRIEF = {"max_iter": 1, "random_state": 0}


@pytest.mark.parametrize(
    ("like", "expected"),
    [
        (None, "X[3, 85]"),
        (np.zeros((5, 192)), "X[3, 85]"),
        (COLOURS, "X[3, 1, 2, 5]"),
        (COLOURS.tolist(), "X[3, 1, 2, 5]"),
        ([np.zeros((40 + n, 3)) for n in range(5)], "X[3][28, 1]"),
        ([np.zeros(90 + n) for n in range(5)], "X[3][85]"),
        ([[0] * (90 + n) for n in range(5)], "X[3, 85]"),
    ],
)
def test_places_are_those_of_the_samples(like, expected):
    assert place_of(3, 85, "X", like) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("estimator", "X", "y"),
    [
        (ConvAE(**BRIEF), COLOURS, None),
        (VariationalAE(architecture="conv", **BRIEF), GREYS, None),
        (ConditionalVAE(**BRIEF), GREYS, Y),
        (GAN(architecture="conv", **BRIEF), COLOURS, None),
        (DenoisingAE(2, architecture=Conv((1, 8, 8)), **BRIEF), GREYS, None),
        (AEOutlierDetector(estimator=ConvAE(**BRIEF), random_state=0), COLOURS, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_not_finite_are_named_by_image_and_pixel(
    estimator, X, y, value
):
    wrong, place = X.copy(), (3, 1, 2, 5) if X.ndim == 4 else (3, 2, 5)
    wrong[place] = value
    message = rf"X\[{', '.join(map(str, place))}\] is {value}"
    with pytest.raises(ValueError, match=message):
        estimator.fit(wrong, y)
    if hasattr(estimator, "partial_fit"):
        with pytest.raises(ValueError, match=message):
            estimator.partial_fit(wrong, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, y)
    with pytest.raises(ValueError, match=message):
        estimator.score_samples(wrong)


def test_flat_rows_and_targets_are_indexed_as_they_came():
    X = GREYS.reshape(12, -1).copy()
    X[3, 21] = np.nan
    with pytest.raises(ValueError, match=r"X\[3, 21\] is nan"):
        ConvAE(sample_shape=(1, 8, 8), **BRIEF).fit(X)
    with pytest.raises(ValueError, match=r"y\[3, 2, 5\] is nan"):
        ConvAE(**BRIEF).fit(GREYS, X.reshape(GREYS.shape))


def test_steps_of_sequences_are_named():
    sequences = [np.random.default_rng(n).random((4 + n, 3)) for n in range(5)]
    sequences[2][3, 1] = np.inf
    ae = RecurrentAE(2, **BRIEF)
    for estimator in (ae, AEOutlierDetector(estimator=ae, random_state=0)):
        with pytest.raises(ValueError, match=r"X\[2\]\[3, 1\] is inf") as caught:
            estimator.fit(sequences)
        assert str(caught.value).count("The first one") == 1
