"""The plane of the code as a map."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skae import AdversarialAE, ConditionalVAE
from skae.inspection import ManifoldDisplay
from skae.inspection.drawing import new_axes

pytest.importorskip("matplotlib")

X = np.random.default_rng(0).normal(5.0, 2.0, size=(60, 12))
draw = ManifoldDisplay.from_estimator


@pytest.fixture(scope="module")
def fitted():
    return AdversarialAE(max_iter=2, random_state=0).fit(X)


def test_the_grid_of_a_normal_code_is_its_quantiles(fitted):
    display = draw(fitted, n_steps=5)
    expected = norm.ppf([0.02, 0.26, 0.5, 0.74, 0.98])
    np.testing.assert_allclose(display.first, expected, atol=1e-12)
    np.testing.assert_allclose(display.second, expected, atol=1e-12)


def test_samples_are_the_decoded_codes(fitted):
    display = draw(fitted, n_steps=3)
    code = [[display.first[2], display.second[0]]]
    np.testing.assert_allclose(display.samples[0, 2], fitted.inverse_transform(code)[0])


def test_rows_say_what_the_grid_covers():
    pca = PCA(2).fit(X)
    display = draw(pca, X, n_steps=4)
    low, high = np.quantile(pca.transform(X), [0.02, 0.98], axis=0)
    np.testing.assert_allclose(display.first, np.linspace(low[0], high[0], 4))
    np.testing.assert_allclose(display.second, np.linspace(low[1], high[1], 4))


def test_images_are_tiles_of_one_picture_that_grow_upwards(fitted):
    display = draw(fitted, n_steps=3, sample_shape=(3, 4))
    (ax,) = display.axes_
    page = ax.images[0].get_array()
    assert page.shape == (9, 12)
    np.testing.assert_allclose(page[:3, :4], display.samples[2, 0, 0])
    limits = np.percentile(display.samples, [5, 99.5])
    np.testing.assert_allclose(ax.images[0].get_clim(), limits)
    assert ax.images[0].get_extent() == [-0.5, 2.5, -0.5, 2.5]
    assert ax.get_xlabel() == "code 0"


def test_coloured_images_keep_their_channels():
    ae = AdversarialAE(max_iter=1, random_state=0).fit(X)
    display = draw(ae, n_steps=2, sample_shape=(3, 2, 2))
    assert display.axes_[0].images[0].get_array().shape == (4, 4, 3)


def bar_heights(ax):
    (bars,) = ax.collections
    return [path.vertices[1, 1] for path in bars.get_paths()]


def test_bars_have_a_panel_each_the_highest_code_on_top(fitted):
    display = draw(fitted, n_steps=2)
    assert display.axes_.shape == (2, 2)
    heights = bar_heights(display.axes_[0, 1])
    np.testing.assert_allclose(heights, display.samples[1, 1])
    labels = [ax.get_ylabel() for ax in display.axes_[:, 0]]
    assert float(labels[0]) > float(labels[1])


@pytest.mark.parametrize("rows", [None, X])
def test_y_reaches_conditional_estimators(rows):
    vae = ConditionalVAE(2, max_iter=1, random_state=0).fit(X, np.arange(60) % 3)
    display = draw(vae, rows, y=1, n_steps=2)
    code = [[display.first[0], display.second[0]]]
    expected = vae.inverse_transform(code, [1])[0]
    np.testing.assert_allclose(display.samples[0, 0], expected)


def test_maps_are_drawn_on_passed_axes(fitted):
    ax = new_axes()
    assert draw(fitted, n_steps=2, sample_shape=(3, 4), axes=ax).axes_[0] is ax
    with pytest.raises(ValueError, match="images are drawn on one Axes; got shape"):
        draw(fitted, n_steps=2, sample_shape=(3, 4), axes=new_axes(2, 2))
    with pytest.raises(ValueError, match=r"shape \(2, 2\), one for each code"):
        draw(fitted, n_steps=2, axes=new_axes(1, 3))


def test_what_can_not_be_drawn_is_named(fitted):
    with pytest.raises(NotFittedError):
        draw(AdversarialAE())
    with pytest.raises(ValueError, match="inverse_transform; KMeans has none"):
        draw(KMeans(2, n_init=1).fit(X))
    with pytest.raises(ValueError, match="those of this PCA have 3"):
        draw(PCA(3).fit(X), X)
    with pytest.raises(ValueError, match=r"PCA are not standard normal.* pass X"):
        draw(PCA(2).fit(X))
    with pytest.raises(ValueError, match="n_steps must be an integer of at least 2"):
        draw(fitted, n_steps=1)
