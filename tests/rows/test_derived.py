"""Rows that come from other rows are those rows, however they are read."""

import numpy as np
import pytest

import skae.rows.derived as derived
from skae.rows.derived import MappedRows, StoredRows, part_of_rows


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def test_mapped_rows_are_the_function_of_the_rows(X):
    numbers = np.array([3, 4, 49])
    for rows in (X, StoredRows(X)):
        mapped = MappedRows(rows, lambda part: part[:, :2] * 2, 2)
        assert mapped.shape == (50, 2)
        np.testing.assert_array_equal(mapped[:], X[:, :2] * 2)
        np.testing.assert_array_equal(mapped[numbers], X[numbers, :2] * 2)


def test_few_rows_are_held_and_many_stay(X, monkeypatch, tmp_path):
    numbers = np.arange(0, 50, 2)
    source = StoredRows(X)
    assert part_of_rows(source, np.arange(50)) is source
    assert isinstance(part_of_rows(source, numbers), np.ndarray)
    monkeypatch.setattr(derived, "HELD_BYTES", 0)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for rows in (
        source,
        mapped,
        np.asarray(mapped),
        np.asarray(mapped)[:, ::-1][:, ::-1],
    ):
        part = part_of_rows(rows, numbers)
        assert not isinstance(part, np.ndarray)
        np.testing.assert_array_equal(part[:], X[numbers])
    assert isinstance(part_of_rows(X, numbers), np.ndarray)
