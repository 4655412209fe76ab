"""Every kind of source gives the rows that were stored."""

import multiprocessing
import os
import pickle
import sys
from concurrent import futures

import numpy as np
import pytest

from skae.rows import blocks, sources
from skae.rows.blocks import ChangedSourceError
from skae.rows.readers import row_source

N, D = 300, 6


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 16 rows of float32, or of one of the storage's."""
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 16 * 4 * D)


def table(dtype=np.float32):
    return (10 * np.random.default_rng(0).standard_normal((N, D))).astype(dtype)


def hdf5(path, X, chunks=(20, D)):
    h5py = pytest.importorskip("h5py")
    return h5py.File(path / "rows.h5", "w").create_dataset("x", data=X, chunks=chunks)


def zarr_array(path, X, chunks=(20, D)):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        path / "rows.zarr", shape=X.shape, dtype=X.dtype, chunks=chunks
    )
    array[:] = X
    return array


def parquet(path, X, size=33, names=None):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    names = names or [f"c{i}" for i in range(X.shape[1])]
    table = pa.table([np.ascontiguousarray(column) for column in X.T], names=names)
    pq.write_table(table, path / "rows.parquet", row_group_size=size)
    return path / "rows.parquet"


def dask_array(path, X, chunks=(70, 4)):
    return pytest.importorskip("dask.array").from_array(X, chunks=chunks)


def dask_frame(path, X):
    pytest.importorskip("dask.dataframe")
    return dask_array(path, X).to_dask_dataframe([f"c{i}" for i in range(D)])


def factory(path, X, size=41):
    return lambda: (X[start : start + size] for start in range(0, len(X), size))


class Sliced:
    """What has a shape, a dtype and slices."""

    chunks = (20, D)

    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, rows):
        return self.X[rows]


KINDS = {
    "h5py": hdf5,
    "zarr": zarr_array,
    "parquet": parquet,
    "dask array": dask_array,
    "dask frame": dask_frame,
    "factory": factory,
    "sliced": lambda path, X: Sliced(X),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def read_on(source, connection):
    """Send the rows of all blocks, each when the other side is ready."""
    for rows, block in source.blocks(range(source.n_blocks)):
        connection.recv()
        connection.send((rows, block))


@each_kind
class TestEverySource:
    def test_rows_come_as_they_were_stored(self, make, tmp_path):
        X = table()
        source = row_source(make(tmp_path, X))
        assert source.shape == X.shape
        assert source.dtype == np.float32
        np.testing.assert_array_equal(source[:], X)
        np.testing.assert_array_equal(source[35:130], X[35:130])
        numbers = np.array([299, 0, 17, 17, 120])
        np.testing.assert_array_equal(source[numbers], X[numbers])
        np.testing.assert_array_equal(source[X[:, 0] > 0], X[X[:, 0] > 0])
        np.testing.assert_array_equal(source[::-7], X[::-7])

    def test_blocks_cover_the_rows_in_any_order(self, make, tmp_path):
        X = table()
        source = row_source(make(tmp_path, X))
        for order in (None, np.random.default_rng(0).permutation(source.n_blocks)):
            found = np.full_like(X, np.nan)
            for rows, block in source.blocks(order):
                found[rows] = block
            np.testing.assert_array_equal(found, X)

    def test_the_pass_gives_moments_and_a_sample(self, make, tmp_path, monkeypatch):
        monkeypatch.setattr(sources, "_SAMPLE_ROWS", (50, 50))
        X = table()
        source = row_source(make(tmp_path, X))
        summary = source.summarized(covariance=True)
        expected = np.cov(X.T.astype(float), bias=True)
        np.testing.assert_allclose(summary.scatter / N, expected, rtol=1e-12)
        numbers, rows = source.sample
        assert len(np.unique(numbers)) == 50
        np.testing.assert_array_equal(rows, X[numbers])
        assert source.n_passes == 1
        # Rows that come in order only are then read from a copy.
        assert source.is_random
        np.testing.assert_array_equal(source[40:99], X[40:99])

    def test_integers_and_halves_are_converted(self, make, tmp_path):
        for dtype, expected in ((np.int16, np.float32), (np.int64, np.float64)):
            folder = tmp_path / np.dtype(dtype).name
            folder.mkdir()
            source = row_source(make(folder, table(dtype)))
            assert source.dtype == expected
            np.testing.assert_array_equal(source[:], table(dtype))

    @pytest.mark.skipif(sys.platform != "linux", reason="forks are unsafe elsewhere")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_fork_and_its_parent_read_on(self, make, tmp_path):
        if make in (dask_array, dask_frame):
            pytest.skip("the threads of Dask do not come along")
        X = table()
        source = row_source(make(tmp_path, X))
        source[:50]
        here, there = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=read_on, args=(source, there), daemon=True)
        process.start()
        found = np.full((2, N, D), np.nan, dtype=np.float32)
        for rows, block in source.blocks(range(source.n_blocks)):
            here.send(None)
            found[0, rows] = block
            assert here.poll(120), "the fork has stopped"
            rows, block = here.recv()
            found[1, rows] = block
        process.join(120)
        assert process.exitcode == 0
        np.testing.assert_array_equal(found, [X, X])


@pytest.mark.parametrize("dtype", [np.float16, bool, np.float64, ">f4"])
def test_numbers_that_are_stored_in_other_ways(dtype):
    X = table().astype(dtype)
    np.testing.assert_array_equal(row_source(Sliced(X))[:], X)


@pytest.mark.parametrize("dtype", ["c8", "U3", "M8[s]", object])
def test_entries_that_are_no_numbers_are_refused(dtype):
    with pytest.raises(ValueError, match="real numbers"):
        row_source(Sliced(np.zeros((4, 2), dtype)))


@pytest.mark.parametrize("shape", [(5,), (5, 2, 2)])
def test_other_axes_are_refused(shape):
    with pytest.raises(ValueError, match="Expected 2D array"):
        row_source(Sliced(np.zeros(shape)))


def test_what_is_in_memory_is_no_source():
    X = table()
    for rows in (X, X.tolist(), None, {"a": 1}, X[:0]):
        assert row_source(rows) is None


def test_tensors_and_frames_are_no_sources():
    import torch

    assert row_source(torch.zeros(3, 2)) is None
    pandas = pytest.importorskip("pandas")
    assert row_source(pandas.DataFrame(table())) is None
    assert row_source(pandas.DataFrame({"row_source": [1.0, 2.0]})) is None


def test_files_groups_and_closed_files_are_refused(tmp_path):
    X = hdf5(tmp_path, table())
    with pytest.raises(ValueError, match=r"pass one of its arrays.*'x'"):
        row_source(X.file)
    X.file.close()
    with pytest.raises(ValueError, match="closed"):
        row_source(X)


def test_threads_read_the_same_rows(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    X = table()
    for make in (hdf5, parquet, factory):
        source = row_source(make(tmp_path, X))
        slices = [slice(start, start + 9) for start in range(0, N, 9)] * 3
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(source.__getitem__, slices))
        for rows, block in zip(slices, found, strict=True):
            np.testing.assert_array_equal(block, X[rows])


def test_memory_maps_of_floats_stay_arrays_and_others_are_converted(
    tmp_path, monkeypatch
):
    from skae.rows import readers

    monkeypatch.setattr(readers, "_CONVERTED_BYTES", 0)
    for dtype, is_source in ((np.float32, False), (np.int32, True), (">f8", True)):
        np.save(tmp_path / "rows.npy", table().astype(dtype))
        rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
        source = row_source(rows)
        assert (source is not None) == is_source
        if is_source:
            np.testing.assert_array_equal(source[:], rows)


def test_masked_entries_are_missing():
    X = np.ma.array(table(), mask=table() > 20)
    np.testing.assert_array_equal(row_source(Sliced(X))[:], X.filled(np.nan))


class TestParquet:
    def test_columns_are_features(self, tmp_path):
        names = [*"abcdef"]
        source = row_source(str(parquet(tmp_path, table(), names=names)))
        assert source.feature_names.tolist() == names

    def test_folders_and_datasets(self, tmp_path):
        X = table()
        folder = tmp_path / "parts"
        for number, part in enumerate((X[:100], X[100:130], X[130:])):
            (folder / str(number)).mkdir(parents=True)
            parquet(folder / str(number), part)
        np.testing.assert_array_equal(row_source(folder)[:], X)
        dataset = pytest.importorskip("pyarrow.dataset").dataset(folder)
        np.testing.assert_array_equal(row_source(dataset)[:], X)

    def test_large_row_groups_are_streamed(self, tmp_path, monkeypatch):
        from skae.rows import parquet as module

        X = table()
        monkeypatch.setattr(blocks, "_MOST_BYTES", 50 * 4 * D)
        monkeypatch.setattr(module, "_WHOLE_BYTES", 50 * 4 * D)
        monkeypatch.setattr(module, "_BATCH_BYTES", 11 * 4 * D)
        source = row_source(parquet(tmp_path, X, size=N))
        assert not source.is_random
        np.testing.assert_array_equal(source[:], X)
        np.testing.assert_array_equal(source[200:210], X[200:210])

    def test_gaps_come_as_nan(self, tmp_path):
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        rows = pa.table({"a": [1, None, 3], "b": [0.5, 1.5, None]})
        pq.write_table(rows, tmp_path / "gaps.parquet")
        found = row_source(tmp_path / "gaps.parquet")[:]
        np.testing.assert_array_equal(found, [[1, 0.5], [np.nan, 1.5], [3, np.nan]])

    def test_columns_that_are_not_numeric_are_named(self, tmp_path):
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        rows = pa.table({"a": [1, 2], "town": ["x", "y"]})
        pq.write_table(rows, tmp_path / "text.parquet")
        with pytest.raises(ValueError, match=r"'town' \(string\)"):
            row_source(tmp_path / "text.parquet")

    def test_what_is_no_such_file_is_named(self, tmp_path):
        (tmp_path / "rows.csv").write_text("1,2")
        (tmp_path / "bad.parquet").write_text("1,2")
        for path, error, message in (
            ("nothing.parquet", FileNotFoundError, "names no file"),
            ("rows.csv", ValueError, "must be a Parquet file"),
            ("bad.parquet", ValueError, "cannot be read as Parquet"),
        ):
            with pytest.raises(error, match=message):
                row_source(tmp_path / path)

    def test_files_are_known_by_their_first_bytes(self, tmp_path):
        path = parquet(tmp_path, table()).rename(tmp_path / "rows")
        np.testing.assert_array_equal(row_source(path)[:], table())

    def test_a_file_that_is_written_again_is_noticed(self, tmp_path):
        path = parquet(tmp_path, table())
        source = row_source(path)
        parquet(tmp_path, table() + 1)
        os.utime(path, ns=(1, 1))
        with pytest.raises(ChangedSourceError, match="changed while it was read"):
            source[:]


class TestIterators:
    def test_what_gives_no_blocks_is_refused(self):
        for start, message in (
            (lambda: iter([]), "gave no blocks"),
            (lambda: None, "returned NoneType"),
            (table, "returned ndarray"),
            (lambda: iter([np.zeros(3)]), "Expected 2D array"),
            (lambda: iter([np.zeros((3, 2, 2))]), "flat, and set sample_shape"),
            (lambda: iter([table(), table()[:, 1:]]), "equally many columns"),
        ):
            with pytest.raises(ValueError, match=message):
                row_source(start)

    def test_frames_have_names_and_numbers_only(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(table(), columns=[*"abcdef"])
        source = row_source(lambda: iter([frame[:100], frame[100:]]))
        assert source.feature_names.tolist() == [*"abcdef"]
        np.testing.assert_array_equal(source[:], table())
        frame["c"] = "text"
        with pytest.raises(ValueError, match="'c'"):
            row_source(lambda: iter([frame]))


class TestDask:
    def test_rows_of_unknown_number_are_counted(self):
        X = dask_array(None, table())
        few = row_source(X[X[:, 0] > 0])
        np.testing.assert_array_equal(few[:], table()[table()[:, 0] > 0])

    def test_processes_are_started_once_for_all_blocks(self, monkeypatch):
        dask = pytest.importorskip("dask")
        pools = []

        class Pool(futures.ThreadPoolExecutor):
            def __init__(self, max_workers, mp_context, initializer):
                super().__init__(max_workers)
                pools.append(self)

        for module in (dask.multiprocessing, futures):
            monkeypatch.setattr(module, "ProcessPoolExecutor", Pool)
        with dask.config.set(scheduler="processes"):
            X = dask_array(None, table())
            few = row_source(X[X[:, 0] > 0])
            np.testing.assert_array_equal(few[:], table()[table()[:, 0] > 0])
        assert len(pools) == 1

    def test_columns_of_unknown_number_are_refused(self):
        X = dask_array(None, table())
        with pytest.raises(ValueError, match=r"columns.*compute_chunk_sizes\(\)"):
            row_source(X[:, X[0] > 0])

    def test_columns_that_are_not_numeric_are_named(self):
        pytest.importorskip("dask.dataframe")
        frame = dask_frame(None, table()).assign(town="x")
        with pytest.raises(ValueError, match="'town'"):
            row_source(frame)

    def test_what_is_no_table_is_refused_by_type(self):
        dask = pytest.importorskip("dask")
        pytest.importorskip("dask.dataframe")
        frame = dask_frame(None, table())
        for X in (frame.c0, frame.index):
            with pytest.raises(ValueError, match="got 1D array instead: X is a Dask"):
                row_source(X)
        for X in (frame.c0.sum(), dask.delayed(table())):
            with pytest.raises(TypeError, match="must be a Dask array or a Dask Data"):
                row_source(X)

    def test_columns_that_share_a_name_are_refused(self):
        pytest.importorskip("dask.dataframe")
        frame = dask_frame(None, table())
        with pytest.raises(ValueError, match="unique names; got 'c1' 2 times"):
            row_source(frame[["c0", "c1", "c1"]])
        pandas = frame.compute()[["c1", "c1"]]
        with pytest.raises(ValueError, match="unique names; got 'c1' 2 times"):
            row_source(lambda: iter([pandas]))


def test_arrays_of_fields_are_refused():
    X = np.zeros(5, dtype=[("a", np.float32), ("b", np.float32)])
    with pytest.raises(ValueError, match=r"fields \['a', 'b'\].*columns"):
        row_source(Sliced(X))


def test_iterators_that_give_their_rows_once_are_refused(tmp_path):
    with pytest.raises(TypeError, match="only gives its rows once; got generator"):
        row_source(factory(tmp_path, table())())


def test_frames_of_an_iterator_keep_their_columns():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(table(), columns=list("abcdef"))
    with pytest.raises(ValueError, match="same columns in the same order"):
        row_source(lambda: iter([X, X[list("fedcba")]])).summary  # noqa: B018


@pytest.mark.parametrize("columns", [list("abcdeg"), list("abcdefg")])
def test_parquet_files_with_other_columns_than_the_first_are_refused(tmp_path, columns):
    parquet(tmp_path, table(), names=list("abcdef")).rename(tmp_path / "first.parquet")
    X = np.hstack([table(), table()])[:, : len(columns)]
    parquet(tmp_path, X, names=columns)
    with pytest.raises(ValueError, match=r"same columns; .*rows.parquet differs.*'g'"):
        row_source(tmp_path)


def test_folders_without_files_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="folder without files"):
        row_source(tmp_path)


def test_sources_stay_in_their_process(tmp_path):
    with pytest.raises(TypeError, match="send what it is read from"):
        pickle.dumps(row_source(hdf5(tmp_path, table())))
