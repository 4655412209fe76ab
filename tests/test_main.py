"""``python -m skae`` on a small grid: what it prints, draws and refuses."""

import re
import sys
from functools import partial

import numpy as np
import pytest

from skae import __main__ as demo


@pytest.fixture
def small(monkeypatch, tmp_path):
    """One width, split and draw, so that the jobs take seconds, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "N_COMPONENTS", (2,))
    monkeypatch.setattr(demo, "N_FOLDS", 2)
    monkeypatch.setattr(demo, "N_SPLITS", 1)
    monkeypatch.setattr(demo, "N_DRAWS", 1)
    brief = partial(demo.StackedAEClassifier, max_iter=20)
    monkeypatch.setattr(demo, "StackedAEClassifier", brief)
    return tmp_path


def test_prints_every_job_and_draws_the_pictures(small, capsys):
    pytest.importorskip("matplotlib")
    demo.main([])
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.startswith("  ")]
    variance = {row[0]: float(row[3]) for row in rows if row[1:2] == ["2"]}
    assert set(variance) == {"PCA", "AutoencoderTransformer"}
    assert variance["AutoencoderTransformer"] > variance["PCA"]
    detectors = [row[-4] for row in rows if len(row) > 4 and row[-5] == "benign"]
    assert detectors == ["IsolationForest", "AEOutlierDetector"]
    accuracy = {row[0]: float(row[1]) for row in rows if "Classifier" in row[0]}
    assert accuracy["StackedAEClassifier"] > accuracy["MLPClassifier"]
    assert accuracy["SelfTrainingClassifier"] > accuracy["MLPClassifier"]
    assert "skae-digits.png" in printed.out
    assert "fit/s" in printed.err
    pictures = sorted(path.name for path in small.iterdir())
    assert pictures == ["skae-digits.png", "skae-outliers.png"]


def test_says_how_to_get_the_picture_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for job in (demo.picture, demo.explain):
        assert 'pip install "skae[plot]"' in job(demo._load(None), lambda: None)


def test_the_linear_autoencoder_is_reported_as_pca():
    ticks = []
    report = demo.linear_is_pca(demo._load(None), lambda: ticks.append(1))
    excess, angle = (float(line.split()[-1]) for line in report.splitlines()[-2:])
    assert excess < 1e-6
    assert angle < 1e-3
    assert len(ticks) == 2


def test_a_malignant_sample_is_flagged_and_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report = demo.explain(demo._load(None), lambda: None)
    score, offset = map(float, re.findall(r"(?:scores|below) (-[\d.]+)[; ]", report))
    assert score < offset
    assert "area error" in report


def test_few_labels_are_as_many_of_each_class_and_change_with_the_seed():
    y = demo._load(None).y
    few, others = (demo._few_labelled(y, seed) for seed in (0, 1))
    labelled = few != -1
    np.testing.assert_array_equal(few[labelled], y[labelled])
    np.testing.assert_array_equal(np.bincount(few[labelled]), [5] * 10)
    assert (few != others).any()
    np.testing.assert_array_equal(few, demo._few_labelled(y, 0))


def test_output_must_be_a_folder_that_exists(small, capsys):
    with pytest.raises(SystemExit):
        demo.main(["--output", "nowhere"])
    assert "'nowhere' must be a folder that exists" in capsys.readouterr().err
