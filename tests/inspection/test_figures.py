"""What displays need of matplotlib."""

import sys

import numpy as np
import pytest

from skae import inspection
from skae.inspection.figures import new_axes, palette

ONE = np.ones((2, 1))
DISPLAYS = {
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
}


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


def test_colours_are_distinct():
    pytest.importorskip("matplotlib")
    assert [len(set(palette(n))) for n in (1, 10, 11, 20)] == [1, 10, 11, 20]


def test_new_axes_form_a_grid():
    pytest.importorskip("matplotlib")
    assert new_axes(2, 3).shape == (2, 3)
