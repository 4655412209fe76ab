"""Products of few rows: tried before they are used."""

import gc
import weakref

import numpy as np
import pytest
import torch

from skae.rows.chunks import map_rows
from skae.rows.few_rows import FEW_ROWS, fewest_rows

N_ROWS = 64
CPU = torch.device("cpu")


class Owner:
    """Has the weights."""


@pytest.fixture
def owner():
    return Owner()


def rows(n=1, width=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, width, generator=generator, dtype=dtype)


def sizes_of(owner, function, x, n_calls=12):
    return [fewest_rows(owner, function, x, N_ROWS) for _ in range(n_calls)]


def steady(x):
    return 2 * x


def differs(x):
    return x + x.shape[0]


def differs_at_a_place(x):
    return x + (torch.arange(len(x)) == 37)[:, None]


def differs_between_rows(x):
    return x - x.sum(0)


def test_few_rows_after_eight_trials(owner):
    assert sizes_of(owner, steady, rows()) == [N_ROWS] * 8 + [FEW_ROWS] * 4


@pytest.mark.parametrize(
    "function", [differs, differs_at_a_place, differs_between_rows]
)
def test_all_rows_where_a_bit_differs(owner, function):
    assert set(sizes_of(owner, function, rows())) == {N_ROWS}


def test_a_difference_is_found_once_and_for_all(owner):
    calls = []

    def function(x):
        calls.append(len(x))
        return differs(x)

    sizes_of(owner, function, rows())
    assert calls == [N_ROWS] + [FEW_ROWS] * (N_ROWS // FEW_ROWS)


def test_what_is_missing_is_no_difference(owner):
    x = rows()
    x[0, 1] = torch.nan
    assert sizes_of(owner, steady, x)[-1] == FEW_ROWS


def test_functions_shapes_dtypes_and_owners_are_tried_apart(owner):
    sizes_of(owner, steady, rows())
    for other in (
        (owner, differs, rows(), N_ROWS),
        (owner, steady, rows(width=4), N_ROWS),
        (owner, steady, rows(dtype=torch.float64), N_ROWS),
        (Owner(), steady, rows(), N_ROWS),
    ):
        assert fewest_rows(*other) == N_ROWS
    assert fewest_rows(owner, steady, rows(), 2 * N_ROWS) == 2 * N_ROWS


@pytest.mark.parametrize("n_rows", [8, 16, 24])
def test_products_that_few_rows_do_not_divide_stay(owner, n_rows):
    for _ in range(12):
        assert fewest_rows(owner, steady, rows(), n_rows) == n_rows


def test_no_global_generator_is_touched(owner):
    before = torch.get_rng_state()
    sizes_of(owner, steady, rows())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_owner_is_neither_changed_nor_kept():
    owner = Owner()
    sizes_of(owner, steady, rows())
    assert not vars(owner)
    reference = weakref.ref(owner)
    del owner
    gc.collect()
    assert reference() is None


class TestMapRows:
    @pytest.mark.parametrize("n_samples", [0, 1, 5, 16, 17])
    def test_the_function_gets_few_rows(self, owner, n_samples):
        X, got = np.ones((n_samples, 3)), []

        def function(x):
            got.append(len(x))
            return steady(x)

        for _ in range(12):
            out = np.full((n_samples, 3), np.nan)
            map_rows(X, torch.from_numpy, function, out, CPU, n_rows=64, owner=owner)
            assert np.array_equal(out, 2 * X)
        expected = {0: [], 17: [64]}.get(n_samples, [FEW_ROWS])
        assert got[-1:] == expected

    def test_without_an_owner_all_rows(self):
        got = set()

        def function(x):
            got.add(len(x))
            return x

        for _ in range(12):
            map_rows(np.ones((1, 3)), torch.from_numpy, function, np.empty((1, 3)), CPU)
        assert got == {256}
