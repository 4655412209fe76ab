"""Conditions that samples of a GAN cannot follow are refused, or warned of."""

import numpy as np
import pytest

from skae import GAN
from skae.fitting.gan_training import apportioned

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.arange(60) % 3


def gan(**parameters):
    return GAN(hidden_layer_sizes=4, max_iter=1, random_state=0, **parameters)


@pytest.mark.parametrize("y", [np.zeros(60, int), ["a"] * 60, np.full(60, 0.5)])
def test_one_condition_for_all_rows_is_warned_of(y):
    with pytest.warns(UserWarning, match="y is the same for all rows") as caught:
        model = gan().fit(X, y)
    places = {each.filename for each in caught if each.category is UserWarning}
    assert places == {__file__}
    assert model.sample(2, y=y[0]).shape == (2, 3)


def test_whole_numbers_that_are_no_classes_are_warned_of():
    with pytest.warns(UserWarning, match=r"60 classes for 60 rows.* y \+ 0.5"):
        gan().fit(X, np.arange(60))
    model = gan().fit(X, np.arange(60) + 0.5)
    assert not hasattr(model, "classes_")
    gan().fit(X[:6], np.arange(6))


def test_y_of_a_model_without_conditions_is_refused():
    model = gan().fit(X)
    for call in (
        lambda: model.sample(2, y=1),
        lambda: model.score(X, Y),
        lambda: model.score_samples(X, Y),
        lambda: model.discriminate(X, Y),
    ):
        with pytest.raises(ValueError, match="GAN was fitted without y; leave it out"):
            call()


def test_classes_without_rows_so_far_are_warned_of():
    model = gan().partial_fit(X[:20], Y[:20] % 2, classes=[0, 1, 2])
    with pytest.warns(UserWarning, match=r"classes \[2\], of which no call") as caught:
        model.sample(3, y=[0, 2, 2])
    assert {each.filename for each in caught} == {__file__}
    model.sample(3, y=[0, 1, 1])
    model.partial_fit(X[20:40], np.full(20, 2))
    model.sample(3, y=2)


def test_classes_are_drawn_as_all_chunks_have_had_them():
    model = gan().partial_fit(X[:10], np.arange(10) % 2, classes=[0, 1, 2])
    model.partial_fit(X[10:40], np.full(30, 2))
    np.testing.assert_allclose(model._context.shares, [0.125, 0.125, 0.75])
    weighted = gan().partial_fit(
        X[:10], np.arange(10) % 2, np.full(10, 3.0), classes=[0, 1, 2]
    )
    weighted.partial_fit(X[10:40], np.full(30, 2))
    np.testing.assert_allclose(weighted._context.shares, [0.25, 0.25, 0.5])


def test_every_class_is_trained_on():
    context = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    index, out = np.array([0, 3, 1]), np.array([2, 4, 5, 6])
    index, out = apportioned(index, out, context)
    assert list(index) == [0, 3, 1, 2, 5]
    assert list(out) == [4, 6]
    # Nothing else could be held out.
    alone = apportioned(np.array([0, 1]), np.array([2]), context)
    assert [list(each) for each in alone] == [[0, 1], [2]]
    numbers = np.random.default_rng(0).normal(size=(7, 2))
    assert list(apportioned(np.arange(4), np.arange(4, 7), numbers)[1]) == [4, 5, 6]
    assert apportioned(np.arange(7), None, context)[1] is None
