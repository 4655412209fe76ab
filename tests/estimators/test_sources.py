"""Autoencoders of rows that are not in memory."""

import re

import numpy as np
import pytest

from skae import (
    AutoencoderTransformer,
    DenoisingAE,
    VariationalAE,
)
from skae.callbacks import Checkpoint
from skae.rows import blocks, devices, sources
from skae.training import block_batches

N, D, CHUNK = 3000, 12, 50


def table(n_rows=N):
    """Rows on a curved surface of three dimensions, with noise."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n_rows, 3))
    X = np.tanh(z @ rng.standard_normal((3, D))) + 0.1 * rng.standard_normal(
        (n_rows, D)
    )
    return X.astype(np.float32), z


class Stored:
    """An array in chunks that counts the rows that are read of it."""

    chunks = (CHUNK, D)

    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        self.n_read, self.fewest = 0, len(X)

    def __getitem__(self, rows):
        block = self.X[rows]
        self.n_read += len(block)
        self.fewest = min(self.fewest, len(block))
        return block


@pytest.fixture
def large(monkeypatch):
    """Sources count as large, and the buffer as four blocks."""
    monkeypatch.setattr(sources, "_LOADED_BYTES", 0)
    monkeypatch.setattr(devices, "_RESIDENT_BYTES", 0)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(sources, "_SAMPLE_ROWS", (1200, 1200))
    monkeypatch.setattr(block_batches, "_BUFFER_BYTES", 8 * CHUNK * 4 * D)


class FirstStep:
    """A callback that notes how many rows were read before the training."""

    def __init__(self, X):
        self.X = X

    def on_train_begin(self, net, **others):
        self.n_read = self.X.n_read


def noted(X):
    from skorch.callbacks import Callback

    return type("Noted", (FirstStep, Callback), {})(X)


class TestSmallSources:
    """Rows that fit are loaded, and everything is as with the array."""

    def test_the_same_bits_as_from_an_array(self):
        X, _ = table(600)
        weight = np.linspace(0, 1, 600)
        options = {"random_state": 0, "max_iter": 3}
        for rows in (Stored(X), lambda: iter(np.array_split(X, 7))):
            a = AutoencoderTransformer(3, **options).fit(X, sample_weight=weight)
            b = AutoencoderTransformer(3, **options).fit(rows, sample_weight=weight)
            np.testing.assert_array_equal(a.transform(X), b.transform(rows))
            np.testing.assert_array_equal(a.reconstruct(X), a.reconstruct(rows))
            np.testing.assert_array_equal(a.score_samples(X), a.score_samples(rows))
            assert a.score(X) == a.score(rows)

    def test_one_pass_over_the_rows(self):
        X = Stored(table(600)[0])
        AutoencoderTransformer(3, max_iter=3).fit(X)
        assert X.n_read == 600


@pytest.mark.usefixtures("large")
class TestLargeSources:
    def test_as_good_as_from_an_array_and_as_pca(self):
        X, _ = table()
        options = {"random_state": 0, "max_iter": 8}
        array = AutoencoderTransformer(3, **options).fit(X)
        source = AutoencoderTransformer(3, **options).fit(Stored(X))
        assert abs(array.score(X) - source.score(X)) < 0.01
        assert source.score(Stored(X)) == pytest.approx(source.score(X), rel=1e-12)
        Z = source.transform(X)
        np.testing.assert_array_equal(source.transform(Stored(X)), Z)
        np.testing.assert_array_equal(
            source.inverse_transform(Stored(Z)), source.inverse_transform(Z)
        )

    def test_linear_models_are_pca_to_rounding(self):
        X, _ = table()
        X += 1000
        weight = np.random.default_rng(1).integers(0, 3, N)
        pca = AutoencoderTransformer(4, activation="identity")
        a = pca.fit(X, sample_weight=weight)
        expected = a.components_, a.explained_variance_, a.mean_
        source = pca.fit(Stored(X), sample_weight=weight)
        found = source.components_, source.explained_variance_, source.mean_
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)

    def test_wide_rows_go_through_products(self, monkeypatch):
        from skae.statistics import centred_rows, pca

        X, _ = table()
        expected = AutoencoderTransformer(3, activation="identity").fit(X).components_
        for module in (sources, pca, centred_rows):
            monkeypatch.setattr(module, "_FORMED", 5)
        monkeypatch.setattr(centred_rows, "_FORMED_FOR_MANY", 5)
        monkeypatch.setattr(centred_rows, "_DIRECT", 0)
        found = AutoencoderTransformer(3, activation="identity").fit(Stored(X))
        np.testing.assert_allclose(found.components_, expected, atol=1e-6)

    def test_fewer_rows_than_features(self, monkeypatch):
        from skae.statistics import centred_rows

        monkeypatch.setattr(centred_rows, "_DIRECT", 0)
        monkeypatch.setattr(centred_rows, "_HELD_BYTES", 8 * D * 4)
        X = table()[0][:10]
        options = {"activation": "identity"}
        expected = AutoencoderTransformer(3, **options).fit(X).components_
        found = AutoencoderTransformer(3, **options).fit(Stored(X)).components_
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_one_pass_before_the_training_and_never_row_by_row(self):
        X = Stored(table()[0])
        first = noted(X)
        AutoencoderTransformer(3, max_iter=2, callbacks=[first]).fit(X)
        assert first.n_read <= 1.05 * N
        assert X.fewest >= CHUNK
        assert X.n_read <= 4 * N

    def test_sorted_files_learn_as_well_as_shuffled_ones(self):
        X, z = table()
        held_out, options = table(4000)[0][N:], {"random_state": 0, "max_iter": 12}
        errors = []
        for order in (np.random.default_rng(0).permutation(N), z[:, 0].argsort()):
            ae = AutoencoderTransformer(3, **options).fit(Stored(X[order]))
            errors.append(np.mean((ae.reconstruct(held_out) - held_out) ** 2))
            assert ae.departure_ > 0
        assert errors[1] < 1.04 * errors[0]

    def test_rows_of_weight_zero_are_left_out(self):
        X, _ = table()
        spoiled = np.vstack([X, 1e3 * np.ones_like(X)])
        order = np.random.default_rng(0).permutation(2 * N)
        weight = (order < N).astype(float)
        ae = AutoencoderTransformer(3, random_state=0, max_iter=4)
        ae.fit(Stored(spoiled[order]), sample_weight=weight)
        np.testing.assert_allclose(ae.mean_, X.mean(0), atol=1e-5)
        assert ae.score(X) > 0.8

    def test_a_seed_gives_the_same_bits(self):
        X, _ = table()
        options = {"random_state": 0, "max_iter": 2}
        codes = [
            AutoencoderTransformer(3, **options).fit(rows).transform(X)
            for rows in (Stored(X), Stored(X))
        ]
        np.testing.assert_array_equal(*codes)

    def test_rows_that_come_in_order_only(self):
        X, _ = table()
        options = {"random_state": 0, "max_iter": 3}
        array = AutoencoderTransformer(3, **options).fit(X)
        rows = lambda: iter(np.array_split(X, 13))  # noqa: E731
        factory = AutoencoderTransformer(3, **options).fit(rows)
        assert abs(array.score(X) - factory.score(rows)) < 0.01

    def test_other_autoencoders(self):
        X, _ = table()
        shares = Stored((X - X.min()) / np.ptp(X))
        options = {"random_state": 0, "max_iter": 2}
        vae = VariationalAE(2, likelihood="bernoulli", **options).fit(shares)
        assert np.isfinite(vae.score_samples(shares)).all()
        DenoisingAE(**options).fit(Stored(X), Stored(X)).transform(Stored(X))
        ae = AutoencoderTransformer(2, init="random", **options)
        assert np.isfinite(ae.fit(Stored(X)).score(Stored(X)))

    def test_chunks_of_a_source(self):
        X, _ = table()
        ae = AutoencoderTransformer(3, random_state=0)
        for part in (X[:1500], X[1500:]):
            ae.partial_fit(Stored(part))
        assert ae.score(X) > 0.8
        ae.set_params(warm_start=True, max_iter=2).fit(Stored(X))
        assert ae.score(X) > 0.8

    def test_interrupted_fits_go_on_to_the_same_bits(self, tmp_path):
        from skorch.callbacks import Callback

        X, _ = table()
        options = {"random_state": 0, "max_iter": 4}
        expected = AutoencoderTransformer(3, **options).fit(Stored(X)).transform(X)

        n_done = []

        class Killed(Callback):
            def on_batch_end(self, net, **others):
                n_done.append(0)
                if len(n_done) == 25:
                    raise OSError("killed")

        checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=0)
        ae = AutoencoderTransformer(3, **options)
        ae.set_params(callbacks=[checkpoint, Killed()])
        with pytest.raises(OSError, match="killed"):
            ae.fit(Stored(X))
        ae.fit(Stored(X))
        np.testing.assert_array_equal(ae.transform(X), expected)


@pytest.mark.usefixtures("large")
class TestRefused:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_entries_are_named_by_row_and_column(self, value):
        X, _ = table()
        fitted = AutoencoderTransformer(2, activation="identity").fit(X)
        X[2071, 5] = value
        for call in (AutoencoderTransformer(2).fit, fitted.transform, fitted.score):
            with pytest.raises(ValueError, match=r"(NaN|infinity).*X\[2071, 5\]"):
                call(Stored(X))
            with pytest.raises(ValueError, match=r"(?s)(NaN|infinity).*X\[2071, 5\]"):
                call(X)

    def test_large_entries_are_named(self):
        X, _ = table()
        X[17, 3] = 1e36
        with pytest.raises(ValueError, match=r"must not exceed.*X\[17, 3\]"):
            AutoencoderTransformer(2).fit(Stored(X))

    def test_too_few_rows_and_other_widths(self):
        X, _ = table()
        fitted = AutoencoderTransformer(2, activation="identity").fit(X)
        for call, rows, message in (
            (AutoencoderTransformer(2).fit, X[:1], "minimum of 2"),
            (AutoencoderTransformer(2).fit, X[:, :0], r"0 feature\(s\)"),
            (fitted.transform, X[:0], "minimum of 1"),
            (fitted.transform, X[:, :-1], "X has 11 features, but"),
            (fitted.inverse_transform, X, "Z has 12 columns"),
            (fitted.transform, X[None], "Expected 2D array"),
            (fitted.transform, X[:, 0], "Expected 2D array"),
        ):
            with pytest.raises(ValueError, match=message):
                call(Stored(rows))

    def test_a_failed_fit_leaves_the_earlier_one(self):
        X, _ = table()
        ae = AutoencoderTransformer(2, activation="identity").fit(X)
        before = ae.transform(X)
        bad = X.copy()
        bad[-1, -1] = np.nan
        with pytest.raises(ValueError, match=re.escape("X[2999, 11]")):
            ae.fit(Stored(bad))
        np.testing.assert_array_equal(ae.transform(X), before)

    def test_rows_are_not_made_an_array_in_silence(self):
        from skae.rows.readers import row_source

        with pytest.raises(TypeError, match="too large to become an array"):
            np.asarray(row_source(Stored(table()[0])))


def test_names_of_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    X, names = table(200)[0][:, :3], ["a", "b", "c"]
    pq.write_table(pa.table(list(X.T.copy()), names=names), tmp_path / "x.parquet")
    path = str(tmp_path / "x.parquet")
    ae = AutoencoderTransformer(2, activation="identity").fit(path)
    assert list(ae.feature_names_in_) == names
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        codes = ae.transform(X)
    np.testing.assert_array_equal(ae.transform(path), codes)
    pq.write_table(
        pa.table(list(X.T.copy()), names=["a", "c", "b"]), tmp_path / "y.parquet"
    )
    with pytest.raises(ValueError, match="feature names should match"):
        ae.transform(tmp_path / "y.parquet")
    nameless = AutoencoderTransformer(2, activation="identity").fit(X)
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        nameless.transform(path)
