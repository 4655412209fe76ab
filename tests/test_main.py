"""``python -m skae`` on a small grid: what it prints, draws and refuses."""

import sys

import pytest

from skae import __main__ as demo


def test_prints_both_tables_and_draws_the_picture(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    demo.main([], n_components=(2,), n_splits=1)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    variance = {row[0]: float(row[2]) for row in rows if row[1:2] == ["2"]}
    assert set(variance) == {"PCA", "AutoencoderTransformer"}
    assert variance["AutoencoderTransformer"] > variance["PCA"]
    benign = [row for row in rows if "benign" in row]
    assert [row[-4] for row in benign] == ["IsolationForest", "AEOutlierDetector"]
    assert all(float(row[-3]) > 0.9 and float(row[-1]) > 0.5 for row in benign)
    assert ["skae-digits.png"] == [path.name for path in tmp_path.iterdir()]


def test_says_how_to_get_the_picture_without_matplotlib(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(demo, "SETS", ())
    demo.main([], n_components=())
    assert 'pip install "skae[plot]"' in capsys.readouterr().out


def test_output_must_be_a_folder_that_exists(capsys):
    with pytest.raises(SystemExit):
        demo.main(["--output", "nowhere"])
    assert "'nowhere' must be a folder that exists" in capsys.readouterr().err
