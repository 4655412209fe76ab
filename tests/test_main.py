"""``python -m skae`` on a small grid: what it prints, draws and refuses."""

import sys

import pytest

from skae import __main__ as demo


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A grid of one width, so that the jobs take seconds; runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "N_COMPONENTS", (2,))
    monkeypatch.setattr(demo, "N_FOLDS", 2)
    return tmp_path


def test_prints_both_reducers_and_draws_the_picture(small, capsys):
    pytest.importorskip("matplotlib")
    demo.main([])
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.startswith("  ")]
    variance = {row[0]: float(row[3]) for row in rows if row[1:2] == ["2"]}
    assert set(variance) == {"PCA", "AutoencoderTransformer"}
    assert variance["AutoencoderTransformer"] > variance["PCA"]
    assert "skae-digits.png" in printed.out
    assert "fit/s" in printed.err
    assert [path.name for path in small.iterdir()] == ["skae-digits.png"]


def test_says_how_to_get_the_picture_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert 'pip install "skae[plot]"' in demo.picture(demo._load(None), lambda: None)


def test_the_linear_autoencoder_is_reported_as_pca():
    ticks = []
    report = demo.linear_is_pca(demo._load(None), lambda: ticks.append(1))
    excess, angle = (float(line.split()[-1]) for line in report.splitlines()[-2:])
    assert excess < 1e-6
    assert angle < 1e-3
    assert len(ticks) == 2


@pytest.mark.parametrize("output", ["digits.gif", "nowhere/digits.png"])
def test_output_must_be_a_png_in_an_existing_folder(output, small, capsys):
    with pytest.raises(SystemExit):
        demo.main(["--output", output])
    assert ".png file in a folder that exists" in capsys.readouterr().err
