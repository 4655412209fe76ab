"""Frames with boolean, nullable, sparse and pyarrow columns, from every source."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skae import AutoencoderTransformer
from skae.rows.sharded import JoinedRows

dd = pytest.importorskip("dask.dataframe")
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:pandas.DataFrame with sparse columns",
)

WHOLE = np.random.default_rng(0).integers(0, 9, (120, 4))
NUMBERS = pd.DataFrame(WHOLE * np.float32(0.37), columns=list("abcd"))


def dummies(**options):
    cities = np.array(["u", "v", "w"])[WHOLE[:, 0] % 3]
    return pd.get_dummies(NUMBERS.assign(city=cities), **options)


def frame_of(kind):
    if kind == "dummies":
        return dummies()
    if kind == "sparse":
        return dummies(sparse=True, dtype=float)
    if kind.startswith("bool"):
        return NUMBERS.assign(flag=pd.array(WHOLE[:, 1] > 4, dtype=kind))
    return pd.DataFrame(WHOLE, columns=NUMBERS.columns).astype(kind)


KINDS = ["dummies", "sparse", "Int64", "UInt8", "boolean", "Float32"]
KINDS += ["int64[pyarrow]", "bool[pyarrow]", "float[pyarrow]"]


@pytest.mark.parametrize("kind", KINDS)
def test_dask_frames_iterators_and_parts_read_what_the_array_holds(kind):
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    frame = frame_of(kind)
    numbers = frame.astype(np.float64).to_numpy()
    estimator = AutoencoderTransformer(2, max_iter=1, random_state=0)
    rows = dd.from_pandas(frame, npartitions=2)
    codes = estimator.fit(rows).transform(rows)
    assert_array_equal(codes.compute(), estimator.transform(frame))
    assert_array_equal(estimator.score_samples(rows), estimator.score_samples(frame))
    mean = numbers.mean(axis=0)
    np.testing.assert_allclose(estimator.mean_, mean, rtol=1e-5)
    estimator.fit(lambda: iter([frame[:50], frame[50:]]))
    np.testing.assert_allclose(estimator.mean_, mean, rtol=1e-5)
    parts = JoinedRows([frame[:50], frame[50:]])
    np.testing.assert_allclose(parts[45:55], numbers[45:55], rtol=1e-6)


def test_missing_entries_of_nullable_parts_are_nan():
    frame = frame_of("Int64")
    frame.iloc[3, 1] = pd.NA
    read = JoinedRows([frame])[:]
    assert_array_equal(np.argwhere(np.isnan(read)), [[3, 1]])
