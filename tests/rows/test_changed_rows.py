"""Rows that are not what they were when they were first read are noticed."""

import os

import h5py
import numpy as np
import pytest

from skae import AutoencoderTransformer
from skae.rows import sources
from skae.rows.blocks import ChangedSourceError
from skae.rows.probes import Probes
from skae.rows.readers import row_source

N, D = 2000, 4


def table(seed=0):
    return np.random.default_rng(seed).standard_normal((N, D)).astype(np.float32)


class Sliced:
    """What has a shape, a dtype and slices."""

    chunks = (50, D)

    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, rows):
        return self.X[rows]

    def __setitem__(self, rows, values):
        self.X[rows] = values


def zarr_array(folder, X):
    zarr = pytest.importorskip("zarr")
    chunks = 50, D
    rows = zarr.create_array(folder / "x", shape=X.shape, chunks=chunks, dtype="f4")
    rows[:] = X
    return rows


def test_rows_are_compared_wherever_blocks_begin():
    X, probes = table(), Probes.spread_over(N, 4 * D)
    assert probes.first_changed(X, 0) is None
    X[:, 2] += 1
    changed = {probes.first_changed(X[at : at + 100], at) for at in range(0, N, 100)}
    assert changed == {None, 500, 1500}


def test_rounding_and_what_is_missing_are_no_change():
    X, probes = table(), Probes.spread_over(N, 4 * D)
    X[500, 1] = np.nan
    probes.first_changed(X, 0)
    assert probes.first_changed(X * np.float32(1 + 1e-6), 0) is None
    X[500, 1] = 0
    assert probes.first_changed(X, 0) == 500


class TestOtherShapes:
    def test_arrays_that_shrink_or_grow(self, tmp_path):
        X = Sliced(table())
        source = row_source(X)
        for n_rows in (N - 1, N + 1):
            X.shape = n_rows, D
            with pytest.raises(ChangedSourceError, match="its shape was"):
                source[:]

    def test_blocks_that_are_too_short(self):
        X = Sliced(table())
        source = row_source(X)
        X.X = X.X[:-5]
        with pytest.raises(ChangedSourceError, match="should have the shape"):
            source[:]

    @pytest.mark.parametrize(
        ("later", "message"),
        [
            (lambda X: X[:-1], "has 1999 now"),
            (lambda X: np.vstack([X, X]), "more now"),
            (lambda X: X[:, :-1], "columns"),
            (lambda X: X[:0], "has 0 now"),
        ],
    )
    def test_iterators_that_give_something_else(self, later, message):
        rows = [table()]
        source = row_source(lambda: iter([rows[0]]))
        rows[0] = later(rows[0])
        with pytest.raises(ChangedSourceError, match=message):
            source[:]

    def test_an_iterator_that_is_used_up(self):
        used = iter([table()])
        with pytest.raises(ChangedSourceError, match="a new iterator"):
            row_source(lambda: used)[:]


class TestOtherValues:
    def test_of_arrays_in_chunks(self, tmp_path):
        for rows in (Sliced(table()), zarr_array(tmp_path, table())):
            source = row_source(rows)
            source.summarized()
            rows[:] = table(1)
            with pytest.raises(ChangedSourceError, match="row 500 is not what it was"):
                source[:]

    def test_of_iterators(self):
        seeds = iter(range(10))
        rows = row_source(lambda: iter([table(next(seeds))]))
        with pytest.raises(ChangedSourceError, match="same blocks"):
            rows[:]

    def test_in_the_middle_of_a_fit(self, monkeypatch):
        from skorch.callbacks import Callback

        monkeypatch.setattr(sources, "_LOADED_BYTES", 0)
        monkeypatch.setattr("skae.rows.chunks.resident_bytes", lambda device: 0)
        rows = Sliced(table())

        class Overwritten(Callback):
            def on_train_begin(self, net, **others):
                rows.X = table(1)

        ae = AutoencoderTransformer(2, max_iter=2, callbacks=[Overwritten()])
        with pytest.raises(ChangedSourceError, match="changed while it was read"):
            ae.fit(rows)
        assert not hasattr(ae, "net_")


class TestFilesOfHDF5:
    def test_that_are_written_to_meanwhile(self, tmp_path):
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file["x"] = table()
        with h5py.File(path, "r") as file:
            source = row_source(file["x"])
            source.summarized()
            os.utime(path, ns=(1, 1))
            with pytest.raises(ChangedSourceError, match=r"x\.h5.* was written to"):
                source[:]

    def test_that_the_same_process_writes_results_to(self, tmp_path):
        ae = AutoencoderTransformer(2, activation="identity").fit(table())
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["x"] = table()
            out = file.create_dataset("codes", (N, 2), "f4")
            source = row_source(file["x"])
            ae.transform(source, out=out)
            file.flush()
            np.testing.assert_array_equal(ae.transform(source), out)
