"""The picture of codes."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skae import GAN, AutoencoderTransformer
from skae.inspection import LatentDisplay

pytest.importorskip("matplotlib")

X = np.random.default_rng(0).normal(size=(60, 5)) * [3, 2, 1, 0.5, 0.2]
LABELS = np.repeat(["a", "b", "c"], 20)


def model(n_components):
    return AutoencoderTransformer(n_components, random_state=0).fit(X)


def points(ax):
    return np.concatenate([drawn.get_offsets() for drawn in ax.collections])


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_two_columns_are_drawn_as_they_are():
    ae = model(2)
    ax = LatentDisplay.from_estimator(ae, X).ax_
    np.testing.assert_allclose(points(ax), ae.transform(X))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("code 0", "code 1")
    assert ax.get_legend() is None


def test_labels_have_colours_and_a_legend():
    ae = model(2)
    ax = LatentDisplay.from_estimator(ae, X, LABELS).ax_
    assert legend_of(ax) == ["a", "b", "c"]
    np.testing.assert_allclose(points(ax), ae.transform(X))


@pytest.mark.parametrize("n_classes", [1, 3, 10, 11, 20])
def test_classes_have_distinct_colours(n_classes):
    names = np.array([f"class {number:02}" for number in range(n_classes)])
    y = names[np.arange(60) % n_classes]
    ax = LatentDisplay(codes=X[:, :2], y=y).plot().ax_
    assert legend_of(ax) == names.tolist()
    colours = {tuple(drawn.get_facecolor()[0]) for drawn in ax.collections}
    assert len(colours) == n_classes


@pytest.mark.parametrize(
    ("y", "legend"),
    [
        (np.arange(60) % 10, True),
        (np.arange(60) % 12, True),
        (np.arange(60) % 12 / 1.0, True),
        (np.arange(60) > 30, True),
        (np.arange(60) % 13, False),
        (np.arange(60) % 20 + 5, False),
        (np.arange(60) % 20 / 1.0, False),
        (np.arange(60) % 2 / 2, False),
    ],
    ids=[
        "10 classes",
        "12 classes",
        "whole floats",
        "booleans",
        "13 numbers",
        "lengths",
        "lengths as floats",
        "fractions",
    ],
)
def test_numbers_of_many_values_get_a_colour_bar(y, legend):
    display = LatentDisplay(codes=X[:, :2], y=y).plot()
    assert (display.ax_.get_legend() is not None) == legend
    # The colour bar has axes of its own.
    assert len(display.figure_.axes) == (1 if legend else 2)
    if not legend:
        np.testing.assert_array_equal(display.ax_.collections[0].get_array(), y)


def test_categories_of_numbers_get_a_legend():
    pd = pytest.importorskip("pandas")
    letters = pd.Series(np.arange(60) % 15, dtype="category")
    ax = LatentDisplay(codes=X[:, :2], y=letters).plot().ax_
    assert legend_of(ax) == [str(number) for number in range(15)]


def test_missing_labels_are_a_class_of_their_own():
    labels = np.array(["b", "a", np.nan], dtype=object)
    ax = LatentDisplay(codes=X[:3, :2], y=labels).plot().ax_
    assert legend_of(ax) == ["a", "b", "nan"]


def test_the_name_of_y_is_written():
    pd = pytest.importorskip("pandas")
    classes = pd.Series(LABELS, name="cultivar", index=np.arange(60) + 7)
    display = LatentDisplay(codes=X[:, :2], y=classes).plot()
    assert display.ax_.get_legend().get_title().get_text() == "cultivar"
    numbers = pd.Series(X[:, 0], name="alcohol")
    display = LatentDisplay(codes=X[:, :2], y=numbers).plot()
    assert display.figure_.axes[1].get_ylabel() == "alcohol"


def test_wider_codes_are_turned_to_their_principal_axes():
    ax = LatentDisplay(codes=X).plot().ax_
    pca = PCA(2).fit(X)
    np.testing.assert_allclose(points(ax), pca.transform(X), atol=1e-10)
    share = pca.explained_variance_ratio_[0]
    assert ax.get_xlabel() == f"PCA axis 0 of 5 code columns ({share:.0%})"


def test_codes_that_do_not_vary_are_drawn():
    ax = LatentDisplay(codes=np.ones((4, 3))).plot().ax_
    np.testing.assert_array_equal(points(ax), 0)
    assert ax.get_xlabel().endswith("(0%)")


def test_one_column_without_y_is_a_histogram():
    ax = LatentDisplay.from_estimator(model(1), X).ax_
    assert sum(patch.get_height() for patch in ax.patches) == 60


def test_one_column_is_drawn_against_labels_in_strips():
    ae = model(1)
    ax = LatentDisplay.from_estimator(ae, X, LABELS).ax_
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    drawn = points(ax)
    np.testing.assert_allclose(drawn[:, 0], ae.transform(X)[:, 0])
    np.testing.assert_array_equal(np.round(drawn[:, 1]), np.repeat([0, 1, 2], 20))


def test_one_column_is_drawn_against_numbers():
    ae = model(1)
    ax = LatentDisplay.from_estimator(ae, X, X[:, 0]).ax_
    np.testing.assert_allclose(points(ax), np.c_[ae.transform(X), X[:, 0]])


def test_codes_in_frames_and_codes_of_pca_are_drawn():
    pytest.importorskip("pandas")
    pca = PCA(2).fit(X).set_output(transform="pandas")
    drawn = points(LatentDisplay.from_estimator(pca, X).ax_)
    np.testing.assert_allclose(drawn, pca.transform(X))


def test_axes_may_be_passed():
    ax = LatentDisplay(codes=X[:, :2]).plot().ax_
    display = LatentDisplay.from_estimator(model(2), X, ax=ax)
    assert display.ax_ is ax
    assert len(points(ax)) == 120


def test_refuses_what_it_can_not_draw():
    with pytest.raises(NotFittedError):
        LatentDisplay.from_estimator(AutoencoderTransformer(), X)
    gan = GAN(max_iter=1, hidden_layer_sizes=4, random_state=0).fit(X)
    with pytest.raises(ValueError, match="with transform; GAN has none"):
        LatentDisplay.from_estimator(gan, X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LatentDisplay.from_estimator(model(2), X, [0, 1])
    with pytest.raises(ValueError, match="60 classes; colours distinguish 20"):
        LatentDisplay(codes=X[:, :2], y=[str(row) for row in range(60)]).plot()
