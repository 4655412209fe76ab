"""Pictures of samples in training, and displays of styles."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning

from skae import GAN, AutoencoderTransformer
from skae.callbacks import SampleGrid
from skae.inspection import (
    GrowthDisplay,
    InterpolationDisplay,
    StyleMixingDisplay,
    TruncationDisplay,
)

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings(
    "ignore:No weights were better:sklearn.exceptions.ConvergenceWarning",
    "ignore:Mode collapse:sklearn.exceptions.ConvergenceWarning",
)
BRIEF = {"channels": 4, "random_state": 0, "batch_size": 16}


@pytest.fixture(scope="module")
def images():
    return load_digits().images[:60] / 16


@pytest.fixture(scope="module")
def styled(images):
    gan = GAN(architecture="style", max_iter=1, early_stopping=False, **BRIEF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gan.fit(images)


def test_pictures_are_drawn_every_so_many_evaluations(images, tmp_path):
    grid = SampleGrid(tmp_path / "at-{epoch}.png", every=2, n_samples=4)
    gan = GAN(architecture="conv", max_iter=5, callbacks=[grid], **BRIEF).fit(images)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "at-2.png",
        "at-4.png",
        "at-5.png",
    ]
    assert grid.epochs_ == [2, 4, 5]
    assert [made.shape for made in grid.samples_] == [(4, 1, 8, 8)] * 3
    # The same noise each time, and nothing of the training is changed.
    plain = GAN(architecture="conv", max_iter=5, **BRIEF).fit(images)
    np.testing.assert_array_equal(gan.sample(3), plain.sample(3))
    gan.fit(images)
    assert grid.epochs_ == [2, 4, 5]


def test_pictures_of_bytes_stay_in_their_range(images, tmp_path):
    grid = SampleGrid(tmp_path / "bytes.png", n_samples=20)
    gan = GAN(architecture="conv", max_iter=1, callbacks=[grid], **BRIEF)
    gan.fit((images * 255).astype(np.uint8))
    assert grid.samples_[-1].min() == 0
    assert grid.samples_[-1].max() <= 255


def test_models_of_classes_and_flat_rows_are_drawn_too(tmp_path):
    X, y = load_iris(return_X_y=True)
    grid = SampleGrid(str(tmp_path / "rows.png"), n_samples=3)
    options = {"hidden_layer_sizes": 8, "max_iter": 2, "random_state": 0}
    GAN(callbacks=[grid], **options).fit(X, y)
    assert (tmp_path / "rows.png").stat().st_size > 0
    assert grid.samples_[0].shape == (3, 4)
    grid.set_params(sample_shape=(2, 2))
    GAN(callbacks=[("pictures", grid)], **options).fit(X)
    assert grid.samples_[0].shape == (3, 1, 2, 2)


def test_classes_stand_above_their_samples(tmp_path, monkeypatch):
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    titles = []

    def write(figure, path):
        titles.append([ax.get_title() for ax in figure.axes])

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", write)
    options = {"hidden_layer_sizes": 8, "max_iter": 1, "random_state": 0}
    grid = SampleGrid(tmp_path / "rows.png", n_samples=6)
    for target in (names[y], y + 0.5, None):
        GAN(callbacks=[grid], **options).fit(X, target)
    of_classes, of_numbers, of_none = ([t for t in each if t] for each in titles)
    assert len(of_classes) == 6
    assert set(of_classes) <= set(names)
    assert len(set(of_classes)) > 1
    assert not of_numbers
    assert not of_none


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"path": 3}, "path must be a path; got 3"),
        ({"path": "nowhere/at/all.png"}, "folder that does not exist"),
        ({"every": 0}, "every must be a positive integer; got 0"),
        ({"n_samples": 2.5}, "n_samples must be a positive integer; got 2.5"),
    ],
)
def test_parameters_are_checked_before_training(images, parameters, message):
    grid = SampleGrid(**{"path": "samples.png", **parameters})
    with pytest.raises(ValueError, match=message):
        GAN(callbacks=[grid], max_iter=10**6).fit(images)


def test_models_that_draw_no_samples_are_refused(tmp_path):
    grid = SampleGrid(tmp_path / "samples.png")
    X = load_iris().data
    with pytest.raises(ValueError, match="in the training of a GAN only"):
        AutoencoderTransformer(2, init="random", callbacks=[grid]).fit(X)


def _seed_of(random_state):
    """The seed of a strip's samples."""
    return int(np.random.RandomState(random_state).randint(2**31 - 1))


class TestDisplays:
    def test_the_table_holds_mixed_styles(self, styled):
        display = StyleMixingDisplay.from_estimator(styled, 2, 3, n_layers=1)
        W = styled.styles(5)
        assert display.axes_.shape == (3, 4)
        for row, style in enumerate(W[:2]):
            expected = styled.mix(style[None], W[2:], 1)
            np.testing.assert_array_equal(display.mixed[row][:, 0], expected)
        np.testing.assert_array_equal(display.fine[:, 0], styled.from_styles(W[2:]))
        given = StyleMixingDisplay.from_estimator(styled, W[:2], W[2:], n_layers=1)
        np.testing.assert_array_equal(given.mixed, display.mixed)
        assert [text.get_text()[:-2] for text in display.axes_[0, 0].texts] == [
            "fine",
            "coarse",
        ]

    def test_the_table_takes_lists_and_the_layers_of_one_image(self, styled, images):
        W = styled.styles(3)
        table = StyleMixingDisplay.from_estimator(styled, W, W[:2], n_layers=1)
        as_lists = StyleMixingDisplay.from_estimator(
            styled, W.tolist(), list(W[:2]), n_layers=1
        )
        np.testing.assert_array_equal(as_lists.mixed, table.mixed)
        layers = styled.project(images[:1], n_steps=1)[0][0]
        one = StyleMixingDisplay.from_estimator(styled, layers, W, n_layers=1)
        assert one.axes_.shape == (2, 4)

    @pytest.mark.parametrize("styles", [{"coarse": 0}, {"fine": 2.5}])
    def test_styles_are_counted(self, styled, styles):
        (name,) = styles
        with pytest.raises(ValueError, match=f"{name} must be a positive int"):
            StyleMixingDisplay.from_estimator(styled, **styles, n_layers=1)

    def test_strips_show_the_same_samples_at_every_truncation(self, styled):
        display = TruncationDisplay.from_estimator(
            styled, 3, truncations=(0, 0.5, 1), random_state=4
        )
        assert display.axes_.shape == (3, 3)
        again = TruncationDisplay.from_estimator(
            styled, 3, truncations=(0.5, 1), random_state=4
        )
        np.testing.assert_array_equal(display.samples[:, 1:], again.samples)
        titles = [ax.get_title() for ax in display.axes_[0]]
        assert titles == ["truncation 0", "0.5", "1"]
        display.y = ["a", "b", "c"]
        display.plot()
        assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == display.y

    def test_strips_of_a_model_with_classes_are_named(self, images):
        names = np.array(["even", "odd"])[load_digits().target[:60] % 2]
        gan = GAN(architecture="style", max_iter=1, early_stopping=False, **BRIEF)
        gan.fit(images, names)
        for options, expected in (
            ({}, ["even", "odd", "even"]),
            ({"y": "odd"}, ["odd"] * 3),
            ({"y": ["odd", "even", "odd"]}, ["odd", "even", "odd"]),
        ):
            display = TruncationDisplay.from_estimator(
                gan, 3, truncations=(0.5, 1), random_state=4, **options
            )
            assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == expected
            made = gan.sample(3, y=expected, random_state=_seed_of(4))
            np.testing.assert_array_equal(display.samples[:, 1, 0], made)

    def test_growth_is_what_a_callback_has_kept(self, images, tmp_path):
        grid = SampleGrid(tmp_path / "samples.png", n_samples=4)
        gan = GAN(architecture="progressive", max_iter=6, callbacks=[grid], **BRIEF)
        display = GrowthDisplay.from_estimator(gan.fit(images), 2, n_stages=3)
        assert display.axes_.shape == (2, 3)
        np.testing.assert_array_equal(display.samples[:, -1], grid.samples_[-1][:2])
        assert list(display.epochs) == [1, 3, 6]
        titles = [ax.get_title() for ax in display.axes_[0]]
        assert titles == ["epoch 1", "3", "6"]

    def test_what_has_no_styles_is_named(self, images):
        gan = GAN(architecture="conv", max_iter=1, **BRIEF).fit(images)
        for display, options in (
            (StyleMixingDisplay, {"n_layers": 1}),
            (TruncationDisplay, {}),
        ):
            with pytest.raises(ValueError, match="is for architecture='style'"):
                display.from_estimator(gan, **options)
        with pytest.raises(ValueError, match="need a SampleGrid"):
            GrowthDisplay.from_estimator(gan)


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0), (-1, 2), (1.5, 2)])
def test_numbers_of_mixed_styles_are_positive(styled, sizes):
    name = "fine" if sizes == (2, 0) else "coarse"
    with pytest.raises(ValueError, match=f"{name} must be a positive int"):
        StyleMixingDisplay.from_estimator(styled, *sizes, n_layers=1)


def test_strips_lead_from_style_to_style(styled, images):
    W = styled.styles(4)
    display = InterpolationDisplay.from_estimator(styled, W[:2], W[2:], n_steps=3)
    assert display.axes_.shape == (2, 5)
    np.testing.assert_array_equal(display.starts[:, 0], styled.from_styles(W[:2]))
    np.testing.assert_array_equal(display.steps[:, -1], display.ends)
    layered = styled.project(images[:2], n_steps=1)[0]
    for start in (W[0], layered[0]):
        one = InterpolationDisplay.from_estimator(styled, start, layered[1], n_steps=2)
        assert one.axes_.shape == (1, 4)
    with pytest.raises(ValueError, match="a must be a style of 64 numbers, or several"):
        InterpolationDisplay.from_estimator(styled, W[:0], W[:0])
    with pytest.raises(ValueError, match="b must be a style of 64 numbers, or several"):
        InterpolationDisplay.from_estimator(styled, W[0], np.zeros((1, 5)))
