"""What values say of the range that they keep to."""

import numpy as np
import pytest
from scipy import sparse

from skae.checks.value_ranges import BYTES, SHARES, are_bytes, check_within, fills
from skae.rows.readers import row_source

X = np.random.default_rng(0).integers(0, 256, (40, 30))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (X, True),
        (X.astype(np.float32), True),
        (sparse.csr_matrix(X.astype(float)), True),
        (X + 0.5 * (X == 100), False),
        (sparse.csr_matrix(X + 0.5 * (X == 100)), False),
        (X - 1, False),
        (X + 1, False),
        (X // 2, False),
        (X // 2 + 128, False),
        (X / 255, False),
    ],
    ids=str,
)
def test_whole_numbers_from_end_to_end_are_bytes(rows, expected):
    assert are_bytes(rows) == expected


@pytest.mark.parametrize("change", [0, 0.5])
def test_sources_answer_by_their_sample(change):
    h5py = pytest.importorskip("h5py")
    with h5py.File.in_memory() as file:
        stored = file.create_dataset("x", data=X + change * (X == 100))
        assert are_bytes(row_source(stored)) == (change == 0)


def test_shares_fill_their_range_where_they_come_near_both_ends():
    assert fills(X / 255, SHARES)
    assert not fills(X / 512, SHARES)
    assert not fills(X, SHARES)
    assert fills(X, BYTES)


def test_rows_of_a_continued_fit_stay_in_its_range():
    check_within(X, BYTES)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\].* from 0 to 255"):
        check_within(X, SHARES)
