"""Some rows of a source: the same rows, without those that lie around them."""

import numpy as np
import pytest

from skae.checks.sources import check_entries
from skae.rows import blocks
from skae.rows.readers import row_source

N, D, CHUNK = 3000, 4, 20


class Counted:
    """An array in chunks that counts the rows that are read of it."""

    chunks = (CHUNK, D)

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.n_read = X, X.shape, X.dtype, 0

    def __getitem__(self, rows):
        self.n_read += rows.stop - rows.start
        return self.X[rows]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", CHUNK * 4 * D)


def table():
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


@pytest.mark.parametrize("is_chosen", [lambda n: n % 10 > 0, lambda n: n % 10 == 0])
@pytest.mark.parametrize("is_random", [False, True])
def test_an_epoch_reads_the_rows_about_once(is_chosen, is_random):
    X = Counted(table())
    numbers = np.flatnonzero(is_chosen(np.arange(N)))
    some = row_source(X).selected(numbers)
    found = np.full((len(numbers), D), np.nan, dtype=np.float32)
    order = np.random.default_rng(1).permutation(some.n_blocks) if is_random else None
    for rows, block in some.blocks(order):
        found[rows] = block
    np.testing.assert_array_equal(found, X.X[numbers])
    assert X.n_read <= N


def test_errors_name_the_row_of_the_source():
    X = table()
    X[1234, 2] = np.nan
    some = row_source(Counted(X)).selected(np.arange(0, N, 2))
    some.add_check(check_entries)
    with pytest.raises(ValueError, match=r"X\[1234, 2\] is nan"):
        some[:]
