"""Samples in a grid, and strips between two."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

from skae import AdversarialAE, ConditionalVAE, VariationalAE
from skae.inspection import InterpolationDisplay, SampleDisplay
from skae.inspection.drawing import new_axes

pytest.importorskip("matplotlib")

X = np.random.default_rng(0).normal(5.0, 2.0, size=(60, 12))
NAMES = [f"feature {number}" for number in range(12)]


@pytest.fixture(scope="module")
def fitted():
    return AdversarialAE(max_iter=2, random_state=0).fit(X)


def bar_heights(ax):
    (bars,) = ax.collections
    return [path.vertices[1, 1] for path in bars.get_paths()]


def heights(axes):
    return np.array([bar_heights(ax) for ax in axes])


def test_the_grid_shows_what_the_estimator_samples(fitted):
    display = SampleDisplay.from_estimator(fitted, 6, random_state=3)
    expected = fitted.sample(6, random_state=3)
    np.testing.assert_allclose(heights(display.axes_.flat[:6]), expected)
    assert display.axes_.shape == (2, 3)
    assert display.figure_ is display.axes_[0, 0].figure


def test_without_a_seed_the_estimators_own_decides(fitted):
    display = SampleDisplay.from_estimator(fitted, 3)
    np.testing.assert_array_equal(display.samples, fitted.sample(3))


def test_sample_shape_makes_images(fitted):
    display = SampleDisplay.from_estimator(fitted, 7, sample_shape=(3, 4))
    assert display.samples.shape == (7, 1, 3, 4)
    assert display.axes_.shape == (3, 3)
    assert [len(ax.images) for ax in display.axes_.flat] == [1] * 7 + [0] * 2
    assert not display.axes_.flat[-1].axison


def test_samples_that_are_images_are_drawn_as_such():
    images = X.reshape(60, 3, 4)
    vae = VariationalAE(2, max_iter=1, random_state=0, sample_shape=(1, 3, 4))
    display = SampleDisplay.from_estimator(vae.fit(images), 4)
    assert display.kind == "image"
    assert display.samples.shape == (4, 1, 3, 4)


def test_columns_can_be_chosen(fitted):
    display = SampleDisplay.from_estimator(fitted, 6, n_columns=6)
    assert display.axes_.shape == (1, 6)


def test_names_are_written_below_each_column():
    frame = pd.DataFrame(X, columns=NAMES)
    ae = AdversarialAE(max_iter=1, random_state=0).fit(frame)
    display = SampleDisplay.from_estimator(ae, 5, n_columns=3)
    display.figure_.canvas.draw()
    for ax in display.axes_.flat[[2, 3, 4]]:
        assert [label.get_text() for label in ax.get_xticklabels()] == NAMES
        assert ax.xaxis.get_tick_params()["labelbottom"]


def test_scikit_learns_mixtures_can_be_drawn():
    mixture = GaussianMixture(2, random_state=0).fit(X)
    display = SampleDisplay.from_estimator(mixture, 4)
    assert display.samples.shape == (4, 12)


def test_y_is_written_above():
    display = SampleDisplay(samples=X[:4], y=["a", "b", "a", "b"]).plot()
    assert [ax.get_title() for ax in display.axes_.flat] == ["a", "b", "a", "b"]


def test_y_reaches_conditional_estimators():
    vae = ConditionalVAE(2, max_iter=1, random_state=0).fit(X, np.arange(60) % 3)
    y = [0, 1, 2, 0]
    display = SampleDisplay.from_estimator(vae, 4, y=y)
    np.testing.assert_array_equal(display.samples, vae.sample(4, y=y))
    assert [ax.get_title() for ax in display.axes_.flat] == ["0", "1", "2", "0"]
    strip = InterpolationDisplay.from_estimator(vae, X[0], X[1], n_steps=3, y=2)
    np.testing.assert_allclose(strip.steps[0], vae.interpolate(X[0], X[1], 3, y=2))


def test_samples_are_drawn_on_passed_axes(fitted):
    axes = new_axes(1, 4)
    display = SampleDisplay.from_estimator(fitted, 4, axes=axes)
    assert display.axes_.flat[0] is axes[0]
    with pytest.raises(ValueError, match="hold 5, one for each sample drawn"):
        SampleDisplay.from_estimator(fitted, 5, axes=axes)


@pytest.mark.parametrize(
    "draw",
    [
        lambda model: SampleDisplay.from_estimator(model),
        lambda model: InterpolationDisplay.from_estimator(model, X[0], X[1]),
    ],
)
def test_estimators_need_the_method(draw):
    with pytest.raises(ValueError, match=r"need an estimator with .*; PCA has none"):
        draw(PCA(2).fit(X))
    with pytest.raises(NotFittedError):
        draw(AdversarialAE())


def test_strips_hold_both_samples_and_the_way_between(fitted):
    display = InterpolationDisplay.from_estimator(fitted, X[0], X[1], n_steps=4)
    assert display.axes_.shape == (1, 6)
    drawn = heights(display.axes_[0])
    np.testing.assert_allclose(drawn[[0, -1]], X[:2])
    np.testing.assert_allclose(drawn[1:-1], fitted.interpolate(X[0], X[1], 4))


def test_several_pairs_are_several_strips(fitted):
    draw = InterpolationDisplay.from_estimator
    display = draw(fitted, X[:3], X[3:6], n_steps=2, method="linear", kind="bar")
    assert display.axes_.shape == (3, 4)
    expected = fitted.interpolate(X[2], X[5], 2, method="linear")
    np.testing.assert_allclose(display.steps[2], expected)


def test_frames_and_their_rows_keep_their_names():
    frame = pd.DataFrame(X, columns=NAMES)
    ae = AdversarialAE(max_iter=1, random_state=0).fit(frame)
    draw = InterpolationDisplay.from_estimator
    one = draw(ae, frame.iloc[0], frame.iloc[1], n_steps=2)
    two = draw(ae, frame.iloc[:2], frame.iloc[1:3], n_steps=2)
    np.testing.assert_allclose(one.steps[0], two.steps[0])


def test_pairs_that_do_not_match_are_named(fitted):
    draw = InterpolationDisplay.from_estimator
    with pytest.raises(ValueError, match="one sample each, or as many; got 2 and 3"):
        draw(fitted, X[:2], X[:3])
    with pytest.raises(ValueError, match=r"a must be one sample .* got shape \(\)"):
        draw(fitted, 3.0, X[0])
    with pytest.raises(ValueError, match="n_steps must be an integer of at least 2"):
        draw(fitted, X[0], X[1], n_steps=1)
    with pytest.raises(ValueError, match=r"shape \(1, 4\), one for each sample drawn"):
        draw(fitted, X[0], X[1], n_steps=2, axes=new_axes(1, 3))


def test_y_is_for_those_that_take_it(fitted):
    with pytest.raises(ValueError, match="y=3 is for conditional estimators"):
        SampleDisplay.from_estimator(fitted, 3, y=3)


@pytest.mark.parametrize("n_columns", [0, 1.5])
def test_columns_are_counted(fitted, n_columns):
    with pytest.raises(ValueError, match="n_columns must be a positive int"):
        SampleDisplay.from_estimator(fitted, 3, n_columns=n_columns)
