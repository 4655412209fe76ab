"""What displays share: axes, documentation, and how one sample is drawn."""

import inspect
import sys

import numpy as np
import pytest

from skae import inspection
from skae.inspection.drawing import (
    Bars,
    Images,
    Sequences,
    form_of,
    new_axes,
)

ONE = np.ones((2, 1))
DISPLAYS = {
    "GrowthDisplay": {"samples": np.ones((1, 2, 1, 2, 2)), "epochs": [1, 2]},
    "HistoryDisplay": {"loss_curve": [1.0]},
    "InterpolationDisplay": {"starts": ONE, "ends": ONE, "steps": np.ones((2, 3, 1))},
    "LatentDisplay": {"codes": ONE},
    "ManifoldDisplay": {
        "samples": np.ones((2, 2, 1)),
        "first": [0.0, 1.0],
        "second": [0.0, 1.0],
    },
    "OutlierScoreDisplay": {"scores": ONE[:, 0], "offset": 0.0},
    "ReconstructionDisplay": {"original": ONE, "reconstructed": ONE},
    "SampleDisplay": {"samples": ONE},
    "StyleMixingDisplay": {
        "coarse": np.ones((1, 1, 2, 2)),
        "fine": np.ones((2, 1, 2, 2)),
        "mixed": np.ones((1, 2, 1, 2, 2)),
    },
    "TruncationDisplay": {"samples": np.ones((1, 2, 1, 2, 2)), "truncations": [0, 1]},
}


@pytest.mark.parametrize("name", DISPLAYS)
def test_every_parameter_is_documented_once(name):
    cls = getattr(inspection, name)
    for method in (cls.from_estimator, cls.plot):
        text = inspect.getdoc(method)
        assert text.count("Parameters\n---") == text.count("Returns\n---") == 1
        heads = [
            part.strip("* ")
            for line in text.splitlines()
            for part in line.partition(" :")[0].split(",")
            if line and not line.startswith(" ")
        ]
        for parameter in inspect.signature(method).parameters:
            if parameter != "self":
                assert heads.count(parameter) == 1, (method, parameter)


def test_every_display_is_here():
    assert sorted(DISPLAYS) == sorted(inspection.__all__)


@pytest.mark.parametrize("name", DISPLAYS)
def test_without_matplotlib_drawing_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    display = getattr(inspection, name)(**DISPLAYS[name])
    with pytest.raises(ImportError, match=r'pip install "skae\[plot\]"'):
        display.plot()


@pytest.mark.parametrize("name", DISPLAYS)
def test_drawing_leaves_no_figure_open(name):
    plt = pytest.importorskip("matplotlib.pyplot")
    display = getattr(inspection, name)(**DISPLAYS[name])
    assert display.plot() is display
    assert display.figure_.axes
    assert not plt.get_fignums()


def test_new_axes_form_a_grid():
    pytest.importorskip("matplotlib")
    assert new_axes(2, 3).shape == (2, 3)


@pytest.mark.parametrize(
    ("kind", "shape", "own", "expected"),
    [
        ("auto", (1, 8, 8), True, ("image", (1, 8, 8))),
        ("auto", (8, 8), False, ("image", (1, 8, 8))),
        ("auto", (8, 8), True, ("sequence", (8, 8))),
        ("auto", (50, 1), False, ("sequence", (50, 1))),
        ("auto", (13,), False, ("bar", (13,))),
        ("sequence", (13,), False, ("sequence", (13, 1))),
        ("sequence", (8, 2), False, ("sequence", (8, 2))),
        ("bar", (2, 3, 4), True, ("bar", (24,))),
        ("image", (3, 4, 5), False, ("image", (3, 4, 5))),
    ],
)
def test_auto_goes_by_the_shape_of_a_sample(kind, shape, own, expected):
    assert form_of(kind, shape, own=own) == expected


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("auto", (2, 8, 8), "1 or 3 channels"),
        ("image", (64,), "height, width"),
        ("sequence", (1, 8, 8), "n_steps, n_step_features"),
        ("picture", (64,), "kind must be 'auto' or one of"),
    ],
)
def test_shapes_that_do_not_suit_the_kind_are_refused(kind, shape, message):
    with pytest.raises(ValueError, match=message):
        form_of(kind, shape)


def test_coloured_pixels_are_shares_of_the_scale():
    ax, sample = new_axes(), np.array([0.0, 5.0, 20.0]).reshape(3, 1, 1)
    Images(0.0, 10.0).draw(ax, sample)
    np.testing.assert_allclose(ax.images[0].get_array(), [[[0, 0.5, 1]]])


def test_images_of_one_value_are_drawn():
    ax = new_axes()
    Images(2.0, 2.0).draw(ax, np.full((1, 3, 3), 2.0))
    assert ax.images[0].get_clim() == (2, 3)


def test_a_sequence_has_a_line_for_each_feature_and_gaps_where_padded():
    ax, sample = new_axes(), np.array([[0.0, 1.0], [2.0, 3.0], [np.nan, np.nan]])
    Sequences().draw(ax, sample)
    for line, feature in zip(ax.lines, sample.T, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), feature)
    Sequences().draw(ax, sample, behind=sample)
    assert len(ax.lines) == 6


def bar_heights(ax):
    (bars,) = ax.collections
    return [path.vertices[1, 1] for path in bars.get_paths()]


@pytest.mark.parametrize(("n_features", "named"), [(16, True), (17, False)])
def test_up_to_16_bars_are_named(n_features, named):
    ax, names = new_axes(), [f"f{number}" for number in range(n_features)]
    Bars(names).draw(ax, np.arange(n_features), behind=np.ones(n_features))
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert (labels == names) == named
    assert bar_heights(ax) == list(range(n_features))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), 1)


def test_bars_are_one_artist_and_start_at_zero():
    # One for each bar took most of the time of a picture.
    ax = new_axes()
    Bars().draw(ax, np.array([1.0, -2.0, 0.0] * 100))
    assert len(ax.collections) == 1
    assert not ax.patches
    (bars,) = ax.collections
    first = bars.get_paths()[0].vertices[:4]
    np.testing.assert_allclose(first, [[-0.4, 0], [-0.4, 1], [0.4, 1], [0.4, 0]])
    assert ax.get_ylim()[0] < -2
    Bars().draw(only := new_axes(), np.ones(5))
    assert only.get_ylim()[0] == 0


def test_text_above_images_takes_no_height_from_them():
    pytest.importorskip("matplotlib")
    samples = np.random.default_rng(0).random((4, 1, 8, 8))
    heights = []
    for y in (None, [0, 1, 2, 3]):
        shown = inspection.SampleDisplay(samples=samples, kind="image", y=y)
        figure = shown.plot(n_columns=2).figure_
        figure.draw_without_rendering()
        heights.append(shown.axes_[0, 0].get_window_extent().height)
    assert heights[1] > 0.97 * heights[0]


def test_colour_images_keep_their_dark_pixels():
    # A tenth of the values is 20, the rest 100 to 255.
    values = np.linspace(100, 255, 3 * 64)
    values[:19] = 20
    for n_channels, darkest in ((3, 20), (1, values[19])):
        samples = values.reshape(-1, n_channels, 8, 8)
        form = inspection.SampleDisplay(samples=samples, kind="image")._form(samples)
        assert form.low <= darkest
