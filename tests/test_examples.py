"""The examples in docs/ run, and say what their pages promise."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
SCRIPTS = sorted(EXAMPLES.glob("plot_*.py"))


def run(name, monkeypatch, capsys) -> str:
    """What an example prints."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    runpy.run_path(str(EXAMPLES / name))
    pyplot.close("all")
    return capsys.readouterr().out


def figures(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", line)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_has_a_title_and_a_text(script):
    title, rule, blank, text = script.read_text(encoding="utf-8").split("\n")[1:5]
    assert title
    assert rule == "=" * len(title)
    assert not blank
    assert text


def test_the_linear_autoencoder_is_reported_as_pca(monkeypatch, capsys):
    excess, angle = run("plot_linear_is_pca.py", monkeypatch, capsys).splitlines()
    assert figures(excess)[-1] < 1e-6
    assert figures(angle)[-1] < 1e-3


def test_a_grid_search_compares_pca_with_the_autoencoder(monkeypatch, capsys):
    lines = run("plot_swap_pca.py", monkeypatch, capsys).splitlines()
    accuracy = {tuple(line.split()[:2]): figures(line)[-1] for line in lines[:4]}
    assert accuracy["AutoencoderTransformer", "2"] > accuracy["PCA", "2"]


def test_codes_and_reconstructions_are_drawn(monkeypatch, capsys):
    run("plot_codes.py", monkeypatch, capsys)


def test_a_malignant_sample_is_flagged_and_explained(monkeypatch, capsys):
    lines = run("plot_outliers.py", monkeypatch, capsys).splitlines()
    area, false_alarms, caught = (figures(line)[-1] for line in lines[:3])
    assert area > 0.9
    assert false_alarms < 0.15 < caught
    assert figures(lines[3])[-1] < 0.05
    assert len(lines) == 8


def test_rows_without_labels_help(monkeypatch, capsys):
    lines = run("plot_few_labels.py", monkeypatch, capsys).splitlines()
    accuracy = {line.split()[0]: figures(line)[0] for line in lines}
    assert accuracy["StackedAEClassifier"] > accuracy["MLPClassifier"]
    assert accuracy["SelfTrainingClassifier"] > accuracy["MLPClassifier"]
