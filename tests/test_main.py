"""``python -m skae`` on a small grid: what it prints, draws and refuses."""

import sys

import pytest

from skae import __main__ as main_job


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Few fits, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main_job, "WIDTHS", (2, 8))
    monkeypatch.setattr(main_job, "SEEDS", range(1))
    return tmp_path


def test_prints_both_comparisons_and_draws_the_picture(small, capsys):
    pytest.importorskip("matplotlib")
    main_job.main([])
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.startswith("  ")]
    reducers = [row for row in rows if row[0] in ("PCA", "AutoencoderTransformer")]
    variance = {(row[0], row[1]): float(row[2]) for row in reducers}
    for width in ("2", "8"):
        ours, pca = variance["AutoencoderTransformer", width], variance["PCA", width]
        assert ours > pca
    detectors = [row[-4] for row in rows if len(row) > 4 and row[-5] == "benign"]
    assert detectors == ["IsolationForest", "AEOutlierDetector"]
    assert "fit/s" in printed.err
    assert [path.name for path in small.iterdir()] == ["skae-digits.png"]


def test_says_how_to_get_the_picture_without_matplotlib(small, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(main_job, "NORMAL", ())
    main_job.main([])
    assert 'pip install "skae[plot]"' in capsys.readouterr().out


def test_output_must_be_a_folder_that_exists(small, capsys):
    with pytest.raises(SystemExit):
        main_job.main(["--output", "nowhere"])
    assert "'nowhere' must be a folder that exists" in capsys.readouterr().err
