"""Nearest codes of several codebooks against distances computed one by one."""

import numpy as np
import pytest
import torch

from skae.outliers.codebooks import Codebooks, shared_out_again

D = 5


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def quarters(n, seed=0):
    """Codebooks of two pairs that share out the same rows in two ways."""
    rows, half = normal(n, D, seed=seed), (n + 1) // 2
    again = shared_out_again(rows)
    return [rows[:half], rows[half:], again[:half], again[half:]]


def side_by_side(codebooks, shares_rows=True, left_out=None, tolerance=0.0):
    if left_out is None:
        left_out = [torch.zeros(len(codes)).bool() for codes in codebooks]
    tolerance = torch.full((len(codebooks),), tolerance)
    return Codebooks(codebooks, left_out, tolerance, shares_rows)


def nearest(books, rows):
    return books.codes[books.places(rows)]


def nearest_one_by_one(codebooks, rows):
    return torch.stack(
        [
            codes[torch.cdist(mine, codes).argmin(1)]
            for codes, mine in zip(codebooks, rows, strict=True)
        ]
    )


CASES = {
    "one code": [normal(1, D)],
    "one and two codes": [normal(1, D), normal(2, D, seed=1)],
    "several sizes": [normal(n, D, seed=n) for n in (7, 3, 8)],
    "quarters": quarters(16),
    "quarters of an odd number": quarters(13),
    "quarters of three rows": quarters(3),
    "quarters twice and one more": [*quarters(10), *quarters(9, seed=1), normal(4, D)],
    "four that are no quarters": [normal(6, D, seed=n) for n in range(4)],
}


class TestNearest:
    @pytest.mark.parametrize("codebooks", CASES.values(), ids=CASES)
    @pytest.mark.parametrize("shares_rows", [True, False])
    def test_codes_are_the_nearest(self, codebooks, shares_rows):
        rows = normal(len(codebooks), 21, D, seed=9)
        if shares_rows:
            rows = rows[:1].expand_as(rows)
        books = side_by_side(codebooks, shares_rows)
        expected = nearest_one_by_one(codebooks, rows)
        assert torch.equal(nearest(books, rows), expected)

    def test_a_row_that_is_a_code_finds_itself(self):
        codebooks = quarters(12)
        rows = codebooks[0].expand(4, *codebooks[0].shape)
        books = side_by_side(codebooks)
        assert torch.equal(nearest(books, rows)[0], codebooks[0])
        assert not (nearest(books, rows)[1] == codebooks[0]).any()

    @pytest.mark.parametrize("shares_rows", [True, False])
    def test_a_code_that_is_left_out_gives_way_to_the_second_nearest(self, shares_rows):
        codes = normal(9, D)
        left_out = torch.arange(9) < 5
        rows = codes.expand(2, 9, D)
        books = side_by_side([codes, codes], shares_rows, [left_out, ~left_out])
        apart = torch.cdist(codes, codes).fill_diagonal_(torch.inf).argmin(1)
        expected = torch.stack(
            [
                torch.where(mine.unsqueeze(1), codes[apart], codes)
                for mine in (left_out, ~left_out)
            ]
        )
        assert torch.equal(nearest(books, rows), expected)

    def test_rows_far_away_have_a_nearest_code(self):
        codebooks = quarters(16)
        rows = (1e9 * normal(21, D, seed=3)).expand(4, 21, D)
        books = side_by_side(codebooks)
        found = nearest(books, rows)
        assert found.isfinite().all()
        known = torch.cat(codebooks[:2])
        assert (found.unsqueeze(2) == known).all(3).any(2).all()


@pytest.mark.parametrize("codebooks", CASES.values(), ids=CASES)
def test_values_are_arranged_like_the_codes(codebooks):
    books = side_by_side(codebooks)
    sums = books.by_place([codes.sum(1) for codes in codebooks])
    assert torch.equal(sums, books.codes.sum(1))


def test_a_code_within_the_tolerance_is_left_out():
    codes = normal(9, D)
    books = side_by_side([codes], True, [torch.ones(9).bool()], tolerance=1e-3)
    for step, is_known in ((0.9e-3, True), (1.1e-3, False)):
        found = nearest(books, (codes + step).unsqueeze(0))[0]
        assert torch.equal((found == codes).all(1), torch.full((9,), not is_known))


def test_quarters_are_compared_once():
    apart = [normal(8, D, seed=n) for n in range(4)]
    for codebooks, n_codes in ((quarters(16), 16), (apart, 32)):
        books = side_by_side(codebooks)
        assert len(books.codes) == n_codes


@pytest.mark.parametrize("n", [2, 3, 8, 13])
def test_each_half_of_the_second_order_has_every_other_row(n):
    rows = np.arange(n)
    again = shared_out_again(rows)
    half = (n + 1) // 2
    assert again[:half].tolist() == rows[::2].tolist()
    assert again[half:].tolist() == rows[1::2].tolist()
    assert torch.equal(shared_out_again(torch.arange(n)), torch.as_tensor(again))
