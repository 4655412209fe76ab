"""Nearest codes of several codebooks against distances computed one by one."""

import numpy as np
import pytest
import torch

from skae.outliers.codebooks import Codebooks, shared_out_again

D = 5


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def nothing_left_out(codebooks):
    return [torch.zeros(len(codes)).bool() for codes in codebooks]


def quarters(n, seed=0):
    """Codebooks of two pairs that share out the same rows in two ways."""
    rows, half = normal(n, D, seed=seed), (n + 1) // 2
    again = shared_out_again(rows)
    return [rows[:half], rows[half:], again[:half], again[half:]]


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
        books = Codebooks(codebooks, nothing_left_out(codebooks), shares_rows)
        expected = nearest_one_by_one(codebooks, rows)
        assert torch.equal(books.nearest(rows), expected)

    def test_a_row_that_is_a_code_finds_itself(self):
        codebooks = quarters(12)
        rows = codebooks[0].expand(4, *codebooks[0].shape)
        books = Codebooks(codebooks, nothing_left_out(codebooks), True)
        assert torch.equal(books.nearest(rows)[0], codebooks[0])
        assert not (books.nearest(rows)[1] == codebooks[0]).any()

    @pytest.mark.parametrize("shares_rows", [True, False])
    def test_a_code_that_is_left_out_gives_way_to_the_second_nearest(self, shares_rows):
        codes = normal(9, D)
        left_out = torch.arange(9) < 5
        rows = codes.expand(2, 9, D)
        books = Codebooks([codes, codes], [left_out, ~left_out], shares_rows)
        apart = torch.cdist(codes, codes).fill_diagonal_(torch.inf).argmin(1)
        expected = torch.stack(
            [
                torch.where(mine.unsqueeze(1), codes[apart], codes)
                for mine in (left_out, ~left_out)
            ]
        )
        assert torch.equal(books.nearest(rows), expected)

    def test_rows_far_away_have_a_nearest_code(self):
        codebooks = quarters(16)
        rows = (1e9 * normal(21, D, seed=3)).expand(4, 21, D)
        books = Codebooks(codebooks, nothing_left_out(codebooks), True)
        found = books.nearest(rows)
        assert found.isfinite().all()
        known = torch.cat(codebooks[:2])
        assert (found.unsqueeze(2) == known).all(3).any(2).all()


def test_quarters_are_compared_once():
    apart = [normal(8, D, seed=n) for n in range(4)]
    for codebooks, n_codes in ((quarters(16), 16), (apart, 32)):
        books = Codebooks(codebooks, nothing_left_out(codebooks), True)
        assert len(books.codes) == n_codes


@pytest.mark.parametrize("n", [2, 3, 8, 13])
def test_each_half_of_the_second_order_has_every_other_row(n):
    rows = np.arange(n)
    again = shared_out_again(rows)
    half = (n + 1) // 2
    assert again[:half].tolist() == rows[::2].tolist()
    assert again[half:].tolist() == rows[1::2].tolist()
    assert torch.equal(shared_out_again(torch.arange(n)), torch.as_tensor(again))
