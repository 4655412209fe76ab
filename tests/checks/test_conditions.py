"""Classes and numbers as columns."""

import numpy as np
import pytest

from skae.checks.conditions import Classes, Numbers, context_of, encode_conditions


def test_classes_are_one_hot_in_sorted_order():
    found = context_of(["b", "a", "b"])
    np.testing.assert_array_equal(found.encode(["a", "b"]), [[1, 0], [0, 1]])
    assert found.width == 2
    np.testing.assert_allclose(found.shares, [1 / 3, 2 / 3])


def test_numbers_are_standardised_beside_a_column_of_ones():
    y = np.array([[1.5, 2.0], [2.5, 2.0], [3.5, 2.0]])
    found = context_of(y)
    encoded = found.encode(y)
    np.testing.assert_allclose(encoded.mean(axis=0), [0, 0, 1], atol=1e-7)
    np.testing.assert_allclose(encoded[:, 0].std(), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        ([0, 1, 2], Classes),
        ([0.0, 1.0, 1.0], Classes),
        ([True, False, True], Classes),
        (["x", "y", "x"], Classes),
        ([0.5, 1.25, 3.0], Numbers),
        ([[1, 2], [3, 4], [5, 7]], Numbers),
    ],
)
def test_kind_is_read_off_y(y, kind):
    assert isinstance(context_of(y), kind)


@pytest.mark.parametrize(
    ("y", "kind"), [([0, 1, 2], Classes), ([True, False], Classes), ([0.5, 1], Numbers)]
)
def test_objects_are_read_as_what_they_hold(y, kind):
    found = context_of(np.array(y, dtype=object))
    assert isinstance(found, kind)
    expected = context_of(y).encode(y)
    objects = np.array(y, dtype=object)
    np.testing.assert_array_equal(encode_conditions(found, objects, len(y)), expected)


def test_numbers_in_several_columns_of_objects():
    y = np.array([[1, 2], [3, 4]], dtype=object)
    assert isinstance(context_of(y), Numbers)


@pytest.mark.parametrize(
    "y", [["a", None], ["a", np.nan], [1, None], [[1, 2], [3, None]]]
)
def test_every_row_has_a_value(y):
    with pytest.raises(ValueError, match="NaN or None"):
        context_of(y)


def test_marks_that_became_strings_are_refused():
    with pytest.raises(
        ValueError, match=r"strings \['-1'\].* Leave rows without y out"
    ):
        context_of(["a", "b", "-1"])


def test_strings_beside_numbers_are_refused():
    with pytest.raises(ValueError, match="Mix of label input types"):
        context_of(["a", 1])


def test_kind_can_be_said():
    assert isinstance(context_of([0, 1, 2], "numbers"), Numbers)
    assert isinstance(context_of([0.5, 1.5, 0.5], "classes"), Classes)


def test_unseen_class_is_named():
    with pytest.raises(ValueError, match=r"y must be of the classes .* got \[3\]"):
        context_of([0, 1, 2]).encode([0, 3])


def test_other_columns_are_refused():
    with pytest.raises(ValueError, match="y must have the 2 columns"):
        context_of([[0.5, 1], [1, 2]]).encode([0.5, 1.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_there_are_refused(bad):
    with pytest.raises(ValueError, match="NaN|infinity"):
        context_of(np.array([0.5, bad]))


def test_draws_follow_the_training_rows():
    random = np.random.RandomState(0)
    drawn = context_of(["a"] * 3 + ["b"]).draw(4000, random)
    assert abs(np.mean(drawn == "a") - 0.75) < 0.03
    numbers = context_of([0.5, 1.5]).draw(10, random)
    assert set(numbers) == {0.5, 1.5}
    assert numbers.shape == (10,)


@pytest.mark.parametrize("value", ["a", "b"])
def test_a_single_object_holds_for_all(value):
    found = context_of(np.array(["a", "b"], dtype=object))
    single = np.array([value], dtype=object)
    for n_samples in (1, 3):
        encoded = encode_conditions(found, single, n_samples, single=True)
        expected = np.tile(found.encode(np.array([value])), (n_samples, 1))
        np.testing.assert_array_equal(encoded, expected)
