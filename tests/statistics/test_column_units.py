"""Columns of different units are told from those of one unit."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skae.statistics.column_units import column_units

random = np.random.default_rng(0)


def units_of(X, groups=None):
    return column_units(
        np.nanvar(X, axis=0), np.nanmin(X, axis=0), np.nanmax(X, axis=0), groups
    )


def pixels(n_samples=300):
    """Ones in the middle of 12 x 12 pixels, next to none at the border."""
    grid = np.linspace(-1, 1, 12)
    share = 0.6 * np.exp(-3 * (grid[:, None] ** 2 + grid**2)).ravel()
    X = 255.0 * (random.random((n_samples, 144)) < share)
    border = share < 0.02
    X[:, border] = 0
    X[0, border] = random.integers(1, 20, border.sum())
    X[:, 0] = 0
    return X


def likert(n_samples=500):
    typical = np.linspace(1.2, 4.8, 12)
    return (typical + 1.3 * random.standard_normal((n_samples, 12))).round().clip(1, 5)


MIXED = {
    "wine": load_wine().data,
    "breast cancer": load_breast_cancer().data,
    "diabetes": load_diabetes(scaled=False).data,
    "a table of metres, grams and yes or no": np.column_stack(
        [
            random.normal(1.7, 0.1, 200),
            random.normal(70_000, 9_000, 200),
            random.random(200) < 0.5,
        ]
    ),
}
ONE_UNIT = {
    "digits": load_digits().data,
    "pixels with a border": pixels(),
    "pixels in [0, 1]": pixels() / 255,
    "yes or no": (random.random((400, 20)) < np.geomspace(0.005, 0.5, 20)) * 1.0,
    "one-hot": np.eye(30)[random.zipf(1.6, 4000).clip(1, 30) - 1],
    "answers from 1 to 5": likert(),
    "standardised": StandardScaler().fit_transform(load_breast_cancer().data),
    "scaled to [0, 1]": MinMaxScaler().fit_transform(load_wine().data),
}


@pytest.mark.parametrize("name", MIXED)
def test_columns_of_different_units_are_measured_by_their_deviations(name):
    X = MIXED[name]
    np.testing.assert_allclose(units_of(X), X.std(axis=0))


@pytest.mark.parametrize("name", ONE_UNIT)
def test_columns_of_one_unit_are_left_as_they_are(name):
    assert units_of(ONE_UNIT[name]) is None


@pytest.mark.parametrize("name", ONE_UNIT)
@pytest.mark.parametrize("change", [lambda X: 1e-3 * X, lambda X: 50 - 7 * X])
def test_another_common_unit_changes_nothing(name, change):
    assert units_of(change(ONE_UNIT[name])) is None


def test_columns_that_do_not_vary_have_no_say_and_the_unit_one():
    X = np.column_stack([load_wine().data, np.full(178, 7e6)])
    units = units_of(X)
    assert units[-1] == 1
    np.testing.assert_allclose(units[:-1], X[:, :-1].std(axis=0))
    standardised = StandardScaler().fit_transform(load_wine().data)
    assert units_of(np.column_stack([standardised, np.full(178, 7e6)])) is None


def test_nothing_varies():
    assert units_of(np.ones((5, 3))) is None


def test_of_two_columns_the_wider_one_does_not_decide():
    X = random.random((200, 2)) * [1, 5000]
    np.testing.assert_allclose(units_of(X), X.std(axis=0))


def test_groups_share_a_unit():
    X = random.standard_normal((300, 6)) * [1, 100, 2, 300, 3, 500]
    groups = np.array([4, 9, 4, 9, 4, 9])
    variance = X.var(axis=0)
    expected = np.sqrt([variance[::2].mean(), variance[1::2].mean()] * 3)
    np.testing.assert_allclose(units_of(X, groups), expected)
    assert units_of(X[:, ::2], groups[::2]) is None


def test_columns_without_an_entry_do_not_matter():
    X = load_wine().data
    variance, low, high = (
        np.append(values, nothing)
        for values, nothing in [
            (X.var(axis=0), 0.0),
            (X.min(axis=0), np.nan),
            (X.max(axis=0), np.nan),
        ]
    )
    units = column_units(variance, low, high)
    np.testing.assert_allclose(units, [*X.std(axis=0), 1.0])
