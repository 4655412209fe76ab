"""Lazy rows: selected without being read, in this process and in others."""

import pickle

import h5py
import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    train_test_split,
)

from skae import AEOutlierDetector, AutoencoderTransformer, LazyRows
from skae.rows import sources
from skae.rows.readers import row_source

N, D = 400, 6


def table():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, 3)) @ rng.standard_normal((3, D))


@pytest.fixture
def dataset(tmp_path):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.create_dataset("x", data=table(), chunks=(30, D))
    with h5py.File(tmp_path / "rows.h5", "r") as file:
        yield file["x"]


def zarr_array(folder):
    zarr = pytest.importorskip("zarr")
    shape = N, D
    rows = zarr.create_array(folder / "x.zarr", shape=shape, chunks=(30, D), dtype="f8")
    rows[:] = table()
    return rows


def memory_map(folder):
    np.save(folder / "x.npy", np.vstack([table()[:7], table()]))
    return np.load(folder / "x.npy", mmap_mode="r")[7:]


def parquet(folder):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    names = [f"c{number}" for number in range(D)]
    rows = pa.table(list(table().T.copy()), names=names)
    pq.write_table(rows, folder / "x.parquet", row_group_size=30)
    return str(folder / "x.parquet")


def parquet_dataset(folder):
    return pytest.importorskip("pyarrow.dataset").dataset(parquet(folder))


@pytest.fixture(
    params=["dataset", zarr_array, memory_map, parquet, parquet_dataset],
    ids=["h5py", "zarr", "memory map", "parquet", "pyarrow dataset"],
)
def rows(request, tmp_path):
    if request.param == "dataset":
        return LazyRows(request.getfixturevalue("dataset"))
    return LazyRows(request.param(tmp_path))


def test_rows_are_selected_as_of_an_array(rows):
    X, order = table(), np.random.default_rng(1).permutation(N)
    assert rows.shape == X.shape
    assert len(rows) == N
    for key in (slice(5, 90, 3), order, X[:, 0] > 0, [3, 3, 8], [], -np.arange(1, 9)):
        selected = rows[key]
        np.testing.assert_array_equal(np.asarray(selected), X[key])
        np.testing.assert_array_equal(row_source(selected)[:], X[key])
    np.testing.assert_array_equal(
        np.asarray(rows[order][::2, ...][:9]), X[order[:18:2]]
    )


def test_rows_come_through_a_pickle(rows):
    X, chosen = table(), np.arange(0, N, 3)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(rows))), X)
    again = pickle.loads(pickle.dumps(rows[chosen]))
    np.testing.assert_array_equal(np.asarray(again), X[chosen])


class TestModelSelection:
    ae = AutoencoderTransformer(2, max_iter=1, random_state=0)

    def test_scores_are_those_of_the_array(self, dataset):
        X, cv = table(), KFold(3, shuffle=True, random_state=0)
        rows = LazyRows(dataset)
        expected = cross_val_score(self.ae, X, cv=cv)
        np.testing.assert_array_equal(cross_val_score(self.ae, rows, cv=cv), expected)
        scores = cross_val_score(self.ae, rows, cv=cv, n_jobs=2)
        np.testing.assert_array_equal(scores, expected)

    def test_searches_curves_and_predictions(self, dataset):
        X, rows = table(), LazyRows(dataset)
        searches = [
            GridSearchCV(self.ae, {"n_components": [1, 3]}, cv=2).fit(data)
            for data in (X, rows)
        ]
        assert searches[0].best_score_ == searches[1].best_score_
        np.testing.assert_array_equal(*(s.transform(X) for s in searches))
        curves = [
            learning_curve(self.ae, data, None, cv=2, train_sizes=[0.5, 1.0])[2]
            for data in (X, rows)
        ]
        np.testing.assert_array_equal(*curves)
        detector = AEOutlierDetector(2, random_state=0, device="cpu")
        predictions = [cross_val_predict(detector, data, cv=2) for data in (X, rows)]
        np.testing.assert_array_equal(*predictions)

    def test_parts_of_a_split(self, dataset):
        for shuffle in (False, True):
            options = {"shuffle": shuffle, "random_state": 0 if shuffle else None}
            parts = train_test_split(table(), LazyRows(dataset), **options)
            for of_array, of_rows in zip(parts[:2], parts[2:], strict=True):
                np.testing.assert_array_equal(np.asarray(of_rows), of_array)


@pytest.mark.usefixtures("dataset")
class TestLargeRows:
    @pytest.fixture(autouse=True)
    def large(self, monkeypatch):
        monkeypatch.setattr(sources, "_LOADED_BYTES", 0)

    def test_other_orders_are_refused(self, dataset):
        rows, order = LazyRows(dataset), np.random.default_rng(0).permutation(N)
        with pytest.raises(ValueError, match=r"another order.*sort both parts"):
            AutoencoderTransformer(2).fit(rows[order])

    def test_errors_name_the_row_of_the_file(self, tmp_path):
        X = table()
        X[301, 2] = np.nan
        np.save(tmp_path / "x.npy", X)
        rows = LazyRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
        with pytest.raises(ValueError, match=r"X\[301, 2\]"):
            AutoencoderTransformer(2).fit(rows[N // 2 :])


class TestRefused:
    def test_what_is_in_memory(self):
        for X in (table(), table().tolist(), None):
            with pytest.raises(ValueError, match="not in memory"):
                LazyRows(X)

    def test_single_rows_and_columns(self, dataset):
        rows = LazyRows(dataset)
        for key in (3, (slice(None), 2), np.int64(3)):
            with pytest.raises(TypeError, match="slice, an array of row numbers"):
                rows[key]
        with pytest.raises(IndexError):
            rows[[N]]

    def test_files_that_others_cannot_open(self, tmp_path):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            rows = LazyRows(file.create_dataset("x", data=table()))
            with pytest.raises(ValueError, match="opened with mode 'r'"):
                pickle.dumps(rows)
            file.close()
            with pytest.raises(ValueError, match="closed"):
                pickle.dumps(rows)

    def test_maps_that_are_not_rows_of_their_file(self, tmp_path):
        rows = LazyRows(memory_map(tmp_path)[:, ::2])
        with pytest.raises(ValueError, match="by the name of its file"):
            pickle.dumps(rows)


def coded(model, rows):
    return model.transform(rows)


def test_workers_of_joblib_read_every_format(tmp_path, dataset):
    model = AutoencoderTransformer(2, activation="identity").fit(table())
    makers = zarr_array, memory_map, parquet
    stored = [*(make(tmp_path) for make in makers), LazyRows(dataset)]
    codes = Parallel(2)(delayed(coded)(model, rows) for rows in stored)
    for found in codes:
        np.testing.assert_array_equal(found, model.transform(table()))
