"""Checks of Dask collections, which see no data."""

import numpy as np
import pytest
from scipy import sparse

from skae.checks.collections import (
    example_rows,
    is_collection,
    row_collection,
    same_rows,
)

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")
pd = pytest.importorskip("pandas")


def unknown(X):
    """The same with chunks of unknown length."""
    return X[da.ones(X.shape[0], chunks=X.chunks[0]) > 0]


def frame(**columns):
    return dd.from_pandas(pd.DataFrame(columns), npartitions=2)


TABLE = da.ones((7, 4), chunks=(3, 2))


def test_collections_are_those_of_dask_alone():
    assert is_collection(TABLE)
    assert is_collection(frame(a=[1.0, 2]))
    assert is_collection(dask.delayed(1))
    assert not any(map(is_collection, (np.ones((2, 2)), [[1]], None, "x")))


def test_blocks_have_whole_rows():
    assert row_collection(TABLE).chunks == ((3, 3, 1), (4,))
    assert row_collection(unknown(TABLE)).numblocks == (3, 1)


def test_nothing_is_computed():
    def fail():
        raise AssertionError("computed")

    X = da.from_delayed(dask.delayed(fail)(), (5, 3), float)
    assert row_collection(X) is X
    assert example_rows(X).shape == (1, 3)
    assert same_rows(X[:, 0], X).chunks == ((5,),)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (da.ones(4), ValueError, "1 axis of length"),
        (da.ones((0, 3)), ValueError, "empty: it has 0 rows"),
        (da.ones((3, 0)), ValueError, "empty"),
        (da.ones((3, 2), dtype=complex), TypeError, "dtype is complex128"),
        (da.from_array(np.array([["a"]])), TypeError, "real numbers"),
        (da.from_array(np.array([[None]]), chunks=1), TypeError, "dtype is object"),
        (unknown(TABLE.T).T, ValueError, "number of columns is unknown"),
        (frame(a=[1.0, 2], b=["x", "y"]), ValueError, r"'b' \((str|string|object)"),
        (frame(a=pd.Categorical([1, 2])), ValueError, r"'a' \(category\)"),
        (frame(a=pd.to_datetime(["2020", "2021"])), ValueError, "'a'"),
        (frame(a=[1.0, 2])[[]], ValueError, "empty"),
        (frame(a=[1.0, 2]).a, ValueError, "got 1D array instead: X is a Dask Series"),
        (frame(a=[1.0, 2])[["a", "a"]], ValueError, "unique names; got 'a' 2 times"),
        (dask.delayed(1), TypeError, "Dask array or a Dask DataFrame"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        row_collection(X)


def test_example_has_the_type_and_the_columns_of_the_blocks():
    X = frame(a=pd.array([1, None], "Int64"), b=np.float32([1, 2]), c=[True, False])
    row = example_rows(X, np.array([3.0, 0.5, 0.0]))
    assert row.dtypes.astype(str).to_list() == ["Int64", "float32", "bool"]
    assert row.iloc[0].to_list() == [3, 0.5, False]
    images = example_rows(da.ones((4, 2, 3), dtype=np.float32), np.arange(6.0))
    assert images.dtype == np.float32
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    X = da.ones((4, 2)).map_blocks(sparse.csr_matrix)
    assert sparse.issparse(example_rows(X))


def test_y_comes_in_the_blocks_of_x():
    X = row_collection(TABLE)
    y = same_rows(np.arange(7), X)
    assert y.chunks == ((3, 3, 1),)
    assert y.compute().tolist() == list(range(7))
    assert same_rows(da.arange(7, chunks=7), X).chunks == y.chunks
    X, y = unknown(X), unknown(da.ones((7,), chunks=3))
    assert same_rows(y, X) is y


@pytest.mark.parametrize(
    ("y", "X", "error", "message"),
    [
        (np.ones(6), TABLE, ValueError, "6 rows and X has 7"),
        (da.ones(8), TABLE, ValueError, "8 rows and X has 7"),
        (np.ones(7), unknown(TABLE), TypeError, "blocks of X are unknown"),
        (unknown(da.ones(7, chunks=7)), TABLE, ValueError, "1 blocks and X has 3"),
        (da.ones(2), frame(a=[1.0, 2]), TypeError, "Dask Series"),
        (
            frame(a=[1, 2]).a.repartition(npartitions=1),
            frame(a=[1.0, 2]),
            ValueError,
            "1 parti",
        ),
    ],
)
def test_y_of_other_rows_is_refused(y, X, error, message):
    with pytest.raises(error, match=message):
        same_rows(y, X)
