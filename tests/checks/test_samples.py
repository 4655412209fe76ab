"""Samples in a shape of their own: recognised, laid out flat and given back."""

import numpy as np
import pytest
from scipy import sparse

from skae.checks.samples import entries_of, in_own_shape, is_list_of_arrays

RAGGED = [np.arange(4.0).reshape(2, 2), np.arange(6.0).reshape(3, 2)]


@pytest.mark.parametrize(
    ("X", "own", "arrays"),
    [
        (np.zeros((3, 2)), False, False),
        (np.zeros((3, 2, 2)), True, False),
        ([[1, 2], [3, 4]], False, False),
        ([[1, 2], [3]], True, False),
        ([[[1], [2]], [[3], [4]]], True, False),
        ([np.zeros(2), np.zeros(2)], False, True),
        (RAGGED, True, True),
        (sparse.csr_matrix(np.eye(3)), False, False),
        ([], False, False),
        (None, False, False),
    ],
)
def test_forms_are_told_apart(X, own, arrays):
    assert in_own_shape(X) == own
    assert is_list_of_arrays(X) == arrays


def test_lists_are_filled_up_and_given_back():
    entries = entries_of(RAGGED)
    assert entries.rows.shape == (2, 6)
    assert np.isnan(entries.rows).sum(1).tolist() == [2, 0]
    for sample, restored in zip(RAGGED, entries.restored(entries.rows), strict=True):
        np.testing.assert_array_equal(restored, sample)
    assert [entries.index(n) for n in (0, 3, 5)] == [(0, 0), (1, 1), (2, 1)]


def test_arrays_and_sparse_rows():
    images = np.arange(24).reshape(2, 3, 4)
    entries = entries_of(images)
    assert entries.rows.dtype == np.float64
    np.testing.assert_array_equal(entries.restored(entries.rows), images)
    assert entries.index(6) == (1, 2)
    rows = entries_of(sparse.csr_matrix(np.eye(3)))
    np.testing.assert_array_equal(rows.rows, np.eye(3))
    assert rows.index(2) == 2
    assert entries_of([np.zeros(2), np.ones(2)], like=np.zeros((2, 2))).index(1) == 1


def test_datasets_of_closed_files_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        X = file.create_dataset("x", data=np.zeros((4, 2)))
    with pytest.raises(ValueError, match="closed"):
        in_own_shape(X)
