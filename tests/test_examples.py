"""The scripts in docs/examples run, and print what their docstrings say."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "docs" / "examples").glob("*.py"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a script in an empty folder; what it leaves and what it prints."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)

    def run(path):
        return runpy.run_path(str(path)), capsys.readouterr().out

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_and_open_with_a_title(path, run):
    left, printed = run(path)
    assert re.match(r"\n(=+)\n.+\n\1\n\n", left["__doc__"])
    assert printed
    check = CHECKS.get(path.stem)
    assert check is None or check(left)


# What the jobs claim, by the variables that a script leaves.
CHECKS = {
    "plot_denoise_images": lambda left: (
        ((left["clean"] - left["test"]) ** 2).mean()
        < ((left["noisy"] - left["test"]) ** 2).mean()
    ),
    "plot_explain_outliers": lambda left: left["detector"].predict(left["row"]) == -1,
    "plot_few_labels": lambda left: (
        left["self_training"].score(left["X_test"], left["y_test"])
        > left["mlp"].score(left["X_test"], left["y_test"])
        and left["stacked"].score(left["X_test"], left["y_test"])
        > left["mlp"].score(left["X_test"], left["y_test"])
    ),
    "plot_linear_is_pca": lambda left: (
        abs(left["lost"] / left["least"] - 1) < 1e-6 and left["angle"] < 1e-3
    ),
    "plot_serve_rows": lambda left: (
        left["status"] == 422
        and np.array_equal(left["scores"], left["detector"].score_samples(left["rows"]))
    ),
}


def test_the_list_of_examples_is_complete():
    listed = (EXAMPLES[0].parent / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((.*?\.py)\)", listed)) == {p.name for p in EXAMPLES}
