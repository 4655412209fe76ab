"""Columns of Parquet files are those that pandas and Dask read back as columns."""

import numpy as np
import pytest

from skae.rows.readers import row_source

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")

N = 30


def frame(**columns):
    X = np.random.default_rng(0).standard_normal((N, 3)).astype(np.float32)
    return pd.DataFrame(X, columns=list("abc")).assign(**columns)


INDICES = {
    "range": lambda df: df,
    "filtered": lambda df: df[df.a > 0],
    "reordered": lambda df: df.sample(frac=1, random_state=0),
    "named": lambda df: df.set_index(pd.Index(range(N), name="customer")),
    "text": lambda df: df.set_index(pd.Index([f"r{i}" for i in range(N)])),
    "dates": lambda df: df.set_index(pd.date_range("2020", periods=N)),
    "two levels": lambda df: df.set_index([np.arange(N) % 3, np.arange(N)]),
}


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("opened", [str, ds.dataset])
def test_an_index_is_no_feature(tmp_path, index, opened):
    df = INDICES[index](frame())
    df.to_parquet(tmp_path / "rows.parquet")
    source = row_source(opened(str(tmp_path / "rows.parquet")))
    assert list(source.feature_names) == list("abc")
    np.testing.assert_array_equal(source[:], df.to_numpy())


def test_files_may_have_different_indices(tmp_path):
    frame().to_parquet(tmp_path / "0.parquet")
    frame()[::2].to_parquet(tmp_path / "1.parquet")
    assert row_source(tmp_path).shape == (N + N // 2, 3)


# Dask's own, of pandas.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_the_index_that_dask_writes_is_no_feature(tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    dd.from_pandas(frame(), npartitions=3).to_parquet(tmp_path / "rows")
    source = row_source(tmp_path / "rows")
    assert list(source.feature_names) == list("abc")
    np.testing.assert_array_equal(source[:], frame().to_numpy())


@pytest.mark.parametrize("opened", [str, lambda p: ds.dataset(p, partitioning="hive")])
def test_numeric_keys_of_folders_are_columns(tmp_path, opened):
    df = frame(year=np.arange(N) % 3 + 2020)
    df.to_parquet(tmp_path / "hive", partition_cols=["year"])
    expected = pd.read_parquet(tmp_path / "hive")
    source = row_source(opened(str(tmp_path / "hive")))
    assert list(source.feature_names) == list(expected.columns)
    np.testing.assert_array_equal(source[:], expected.astype(float).to_numpy())


def test_rows_without_a_key_have_nan(tmp_path):
    df = frame(year=np.where(np.arange(N) % 2, 2020, np.nan))
    df.to_parquet(tmp_path / "hive", partition_cols=["year"])
    years = row_source(tmp_path / "hive")[:][:, 3]
    assert np.isnan(years).sum() == N // 2
    assert set(years[~np.isnan(years)]) == {2020}


def test_keys_of_text_are_refused_by_name_and_can_be_left_out(tmp_path):
    df = frame(country=np.where(np.arange(N) % 2, "at", "de"))
    df.to_parquet(tmp_path / "hive", partition_cols=["country"])
    with pytest.raises(ValueError, match=r"X in .*country='at'.*partitioning=None"):
        row_source(tmp_path / "hive")
    assert row_source(ds.dataset(tmp_path / "hive")).shape == (N, 3)


def test_columns_of_nulls_are_nan(tmp_path):
    frame(d=None).to_parquet(tmp_path / "0.parquet")
    frame(d=1.5).to_parquet(tmp_path / "1.parquet")
    values = row_source(tmp_path)[:][:, 3]
    assert np.isnan(values[:N]).all()
    np.testing.assert_array_equal(values[N:], 1.5)


def test_other_files_of_a_folder_are_named(tmp_path):
    frame().to_parquet(tmp_path / "0.parquet")
    (tmp_path / "readme.txt").write_text("About these rows.")
    with pytest.raises(ValueError, match=r"files of X must be Parquet.*readme\.txt"):
        row_source(tmp_path)


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_lists_of_paths_have_a_way_out(tmp_path, kind):
    paths = [kind(tmp_path / f"{i}.parquet") for i in range(2)]
    with pytest.raises(ValueError, match=r"X is a list of paths.*dataset\(paths\)"):
        row_source(paths)


def test_addresses_have_a_way_out():
    with pytest.raises(ValueError, match=r"pyarrow\.dataset\.dataset\('s3://b/x'\)"):
        row_source("s3://b/x")
