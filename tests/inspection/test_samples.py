"""How one sample is drawn."""

import numpy as np
import pytest

from skae.inspection.figures import new_axes
from skae.inspection.samples import Bars, Images, Sequences, form_of

pytest.importorskip("matplotlib")


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
def test_the_shape_of_a_sample_tells_its_form(kind, shape, own, expected):
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


@pytest.mark.parametrize(("n_features", "named"), [(16, True), (17, False)])
def test_up_to_16_bars_are_named(n_features, named):
    ax, names = new_axes(), [f"f{number}" for number in range(n_features)]
    Bars(names).draw(ax, np.arange(n_features), behind=np.ones(n_features))
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert (labels == names) == named
    assert [bar.get_height() for bar in ax.patches] == list(range(n_features))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), 1)
