"""Every estimator fits and uses rows that stay in a file, in small blocks."""

import h5py
import numpy as np
import pandas as pd
import pytest

import skae.fitting.pretraining
import skae.models.labelled_blocks
import skae.rows.blocks
import skae.rows.chunks
import skae.rows.derived
import skae.rows.sources
from skae import (
    GAN,
    AdversarialAE,
    AEOutlierDetector,
    AutoencoderTransformer,
    ConditionalVAE,
    ContractiveAE,
    ConvAE,
    DenoisingAE,
    RecurrentAE,
    SparseAE,
    StackedAEClassifier,
    VariationalAE,
)

N_ROWS, N_FEATURES = 400, 12
SETTINGS = {"max_iter": 1, "random_state": 0, "device": "cpu"}
LABELS = np.arange(N_ROWS) % 2


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N_ROWS, 3))
    z[:, 0] += 3 * LABELS
    X = np.tanh(z) @ rng.normal(size=(3, N_FEATURES))
    X += 0.1 * rng.normal(size=X.shape)
    return ((X - X.min()) / (X.max() - X.min())).astype(np.float32)


@pytest.fixture
def rows(X, tmp_path, monkeypatch):
    """X in a file that is read in blocks of a few dozen rows."""
    monkeypatch.setattr(skae.rows.sources, "_LOADED_BYTES", 0)
    monkeypatch.setattr(skae.rows.blocks, "_BLOCK_BYTES", 2048)
    monkeypatch.setattr(skae.rows.chunks, "resident_bytes", lambda device: 0)
    for module in (skae.fitting.pretraining, skae.rows.derived):
        monkeypatch.setattr(module, "HELD_BYTES", 0)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        yield file.create_dataset("X", data=X, chunks=(30, N_FEATURES))


def agree(model, X, rows, methods):
    for name in methods:
        of_array, of_rows = (getattr(model, name)(data) for data in (X, rows))
        np.testing.assert_allclose(of_rows, of_array, rtol=1e-5, atol=1e-5)


AUTOENCODERS = [
    (AutoencoderTransformer(3, **SETTINGS), None),
    (SparseAE(3, **SETTINGS), None),
    (ContractiveAE(3, **SETTINGS), None),
    (VariationalAE(3, code_density="mixture", **SETTINGS), None),
    (ConditionalVAE(3, **SETTINGS), LABELS),
    (AdversarialAE(3, **SETTINGS), None),
    (ConvAE(3, sample_shape=(1, 3, 4), channels=(2,), stride=2, **SETTINGS), None),
    (RecurrentAE(3, sample_shape=(6, 2), hidden_size=4, **SETTINGS), None),
]


@pytest.mark.parametrize(
    ("model", "y"), AUTOENCODERS, ids=[type(m).__name__ for m, _ in AUTOENCODERS]
)
def test_autoencoders_are_fitted_to_a_file(model, y, X, rows):
    weight = np.where(np.arange(N_ROWS) < 20, 0.0, 2.0)
    model.fit(rows, y, sample_weight=weight)
    agree(model, X, rows, ["transform", "reconstruct", "score_samples", "score"])
    out = np.full((N_ROWS, 3), np.nan, dtype=np.float32)
    assert model.transform(rows, out=out) is out
    np.testing.assert_array_equal(out, model.transform(rows))


def test_noisy_and_clean_rows_both_come_from_files(X, rows):
    noisy = (X + 1).astype(np.float32)
    stored = rows.file.create_dataset("noisy", data=noisy, chunks=(50, N_FEATURES))
    model = DenoisingAE(3, **SETTINGS | {"max_iter": 60}).fit(stored, rows)
    # The rows are one apart: a model of other pairs would rebuild the noisy ones.
    assert np.abs(model.denoise(stored) - X).mean() < 0.3
    assert model.score(stored, rows) == pytest.approx(model.score(noisy, X), abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{}, {"novelty": True}, {"contamination": 0.1, "missing": "unusual"}],
)
def test_the_detector_of_a_file_is_that_of_the_array(settings, X, rows):
    settings = {"n_estimators": 2, "random_state": 0, "device": "cpu"} | settings
    stored = AEOutlierDetector(**settings).fit(rows)
    held = AEOutlierDetector(**settings).fit(X)
    assert stored.offset_ == held.offset_
    for name in ("score_samples", "predict", "p_values", "explain"):
        np.testing.assert_array_equal(
            getattr(stored, name)(rows), getattr(held, name)(X)
        )


def test_a_detector_watches_a_file(X, rows):
    stored, held = (
        AEOutlierDetector(2, random_state=0, device="cpu").fit(data)
        for data in (rows, X)
    )
    assert stored.drift(rows).p_value == held.drift(X).p_value
    for model, data in ((stored, rows), (held, X)):
        model.set_alert_rate(per=5, X=data)
        assert (model.predict(data) == -1).sum() == 5
        model.refresh(data)
    assert stored.offset_ == held.offset_


def test_the_draws_of_a_detector_take_one_pass(rows):
    source = skae.rows.readers.row_source(rows)
    blocks = []
    source.add_check(lambda block, first: blocks.append(first))
    AEOutlierDetector(2, random_state=0, device="cpu").fit(source)
    # One for units and members, one for each look at the calibration rows.
    assert len(blocks) <= 4 * source.n_blocks


def test_a_detector_judges_by_an_autoencoder_of_the_file(X, rows):
    judge = AutoencoderTransformer(3, **SETTINGS)
    model = AEOutlierDetector(estimator=judge, random_state=0).fit(rows)
    agree(model, X, rows, ["score_samples", "p_values", "predict"])


@pytest.mark.parametrize("source", ["path", "callable"])
def test_explanations_of_named_columns_are_frames(source, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 3)))
    frame.columns = ["a", "b", "c"]
    frame.to_parquet(tmp_path / "rows.parquet")
    rows = tmp_path / "rows.parquet"
    if source == "callable":

        def rows():
            return iter([frame[:40], frame[40:]])

    model = AEOutlierDetector(2, random_state=0, device="cpu", max_iter=1).fit(frame)
    pd.testing.assert_frame_equal(model.explain(rows), model.explain(frame))
    table = model.explain(rows, top=1, groups={"ab": ["a", "b"]})
    own = model.explain(frame, top=1, groups={"ab": ["a", "b"]})
    pd.testing.assert_frame_equal(table, own)


@pytest.mark.parametrize("source", ["path", "callable"])
def test_rows_of_any_source_are_augmented(source, X, tmp_path):
    pytest.importorskip("pyarrow")
    rows = tmp_path / "rows.parquet"
    pd.DataFrame(X).set_axis([*map(str, range(N_FEATURES))], axis=1).to_parquet(rows)
    if source == "callable":

        def rows():
            return iter([X[:100], X[100:]])

    for model in (ConditionalVAE(2, **SETTINGS), GAN(2, **SETTINGS)):
        model.fit(X, LABELS)
        more, labels = model.augment(rows, LABELS, 3, random_state=0)
        own, own_labels = model.augment(X, LABELS, 3, random_state=0)
        np.testing.assert_array_equal(more, own)
        np.testing.assert_array_equal(labels, own_labels)


def test_what_takes_all_rows_says_so(rows, monkeypatch):
    model = AEOutlierDetector(2, random_state=0, device="cpu").fit(rows)
    monkeypatch.setattr("skae.checks.samples._MOST_BYTES", 1000)
    for name in ("explain", "drift"):
        with pytest.raises(ValueError, match=f"{name} holds all rows in memory"):
            getattr(model, name)(rows)


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({"unfreeze_layers": 1, "early_stopping": True}, 0.2),
        ({"max_iter": 2}, 0.2),
        ({"max_iter": 2, "pretrain": False}, 1.0),
    ],
)
def test_classifiers_are_fitted_to_a_file(settings, share, X, rows, monkeypatch):
    if share == 1.0:
        monkeypatch.setattr(skae.models.labelled_blocks, "HELD_BYTES", 0)
    some = np.random.default_rng(0).random(N_ROWS) < share
    settings = SETTINGS | {"max_iter": None} | settings
    model = StackedAEClassifier((8, 4), **settings)
    model.fit(rows, np.where(some, LABELS, -1))
    agree(model, X, rows, ["transform", "predict", "predict_proba"])
    assert settings["max_iter"] or model.score(rows, LABELS) > 0.8
    assert model.transduction_.shape == (N_ROWS,)
    out = np.empty((N_ROWS, 4))
    assert model.transform(rows, out=out) is out
    np.testing.assert_array_equal(out, model.transform(X).astype(np.float64))


@pytest.mark.parametrize("y", [None, LABELS])
def test_gans_are_fitted_to_a_file(y, X, rows):
    model = GAN(3, n_modes=2, **SETTINGS).fit(rows, y)
    assert model.sample(5).shape == (5, N_FEATURES)
    assert model.score(rows, y) == pytest.approx(model.score(X, y))
    np.testing.assert_allclose(model.score_samples(rows), model.score_samples(X))


def test_frames_are_no_place_for_out(X):
    model = VariationalAE(3, **SETTINGS).fit(X)
    out = np.empty((N_ROWS, 3))
    with pytest.raises(ValueError, match="return_std=False"):
        model.transform(X, return_std=True, out=out)
    assert model.transform(X, out=out) is out
    model.set_output(transform="pandas")
    with pytest.raises(ValueError, match="set_output"):
        model.transform(X, out=out)


def test_reconstructions_go_where_the_user_says(X):
    model = AutoencoderTransformer(3, **SETTINGS).fit(X)
    out = np.empty(X.shape)
    assert model.reconstruct(X, out=out) is out
    np.testing.assert_array_equal(out, model.reconstruct(X))
    with pytest.raises(ValueError, match="other memory than X"):
        model.reconstruct(X, out=X)
    classifier = StackedAEClassifier((6, 4), **SETTINGS).fit(X, LABELS)
    assert classifier.reconstruct(X, out=out) is out
    np.testing.assert_allclose(out, classifier.reconstruct(X), rtol=1e-6)
    model = DenoisingAE(3, **SETTINGS).fit(X)
    assert model.denoise(X, out=out) is out
    np.testing.assert_array_equal(out, model.denoise(X))
