"""sample_weight of any magnitude, and rows that outweigh all others."""

import numpy as np
import pytest

from skae.checks.weights import check_balance, training_weights

X = np.zeros((5, 2))


def relative(weight, min_rows=2):
    weight = training_weights(weight, X[: len(weight)], min_rows)
    return weight / weight.mean()


@pytest.mark.parametrize("scale", [1e-300, 1e-7, 3.0, 1e300])
def test_only_ratios_count(scale):
    weight = np.array([1.0, 2.0, 0.0, 0.3, 5.0])
    np.testing.assert_allclose(relative(scale * weight), weight / weight.mean())


def test_ordinary_weights_keep_all_their_digits():
    weight = np.random.default_rng(0).random(5)
    np.testing.assert_array_equal(relative(weight), weight / weight.mean())


@pytest.mark.parametrize("heavy", [1e200, 1e307])
def test_beside_a_heavy_row_the_others_keep_their_ratios(heavy):
    found = relative([1.0, 2.0, heavy, 3.0, 0.0])
    np.testing.assert_allclose(found[[1, 3]] / found[0], [2, 3])
    assert 1e11 < found[2] / found[0] < 1e13
    assert found[4] == 0


def test_beside_several_heavy_rows_the_others_are_no_zeros_in_float32():
    found = relative([1.0, 2.0, 1.7e308, 1.7e308, 5e-324])
    assert (found.astype(np.float32) ** 2 > 0).all()


def test_rows_of_some_weight_are_counted():
    with pytest.raises(ValueError, match="positive for 2 of the rows .* is for 1"):
        training_weights([0, 0, 1, 0, 0], X, 2)
    assert training_weights([7.0], X[:1], 1) > 0
    with pytest.raises(ValueError, match="[Nn]egative"):
        training_weights([1, 1, -1, 1, 1], X, 2)


@pytest.mark.parametrize("heavy", [1e6, 1e12, 1e200, 1.7e308])
def test_one_row_of_nearly_all_weight_is_refused(heavy):
    with pytest.raises(ValueError, match="sample_weight gives one row at least"):
        check_balance(relative([1.0, 1.0, heavy, 1.0, 1.0]))


@pytest.mark.parametrize(
    "weight", [None, np.ones(1), np.array([1.0, 1e9, 1e9]), np.array([1.0, 1000.0])]
)
def test_other_weights_are_taken(weight):
    check_balance(weight)
