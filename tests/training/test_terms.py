"""Sums of terms against the products that they stand for."""

import pytest
import torch

from skae.training import terms
from skae.training.terms import Term, fill


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("block", [1, 7, 2**16])
def test_gradients_are_sums_of_products_over_shards(block, monkeypatch):
    monkeypatch.setattr(terms, "BLOCK", block)
    weight, bias = torch.full((2, 5, 4), torch.nan).double(), numbers(2, 1, 4)
    xs, deltas = numbers(3, 2, 6, 5), numbers(3, 2, 6, 4)
    sums = deltas.sum(-2, keepdim=True)
    fill(
        [
            term
            for x, delta, total in zip(xs, deltas, sums, strict=True)
            for term in (Term(weight, x, delta), Term(bias, None, total))
        ]
    )
    torch.testing.assert_close(weight, (xs.mT @ deltas).sum(0))
    torch.testing.assert_close(bias, sums.sum(0))


@pytest.mark.parametrize("shape", [(5, 4), (4, 4), (1, 4), (5, 1), (1, 1)])
def test_tied_weights_get_terms_of_their_transpose_too(shape):
    n_in, n_out = shape
    weight = torch.full((1, n_in, n_out), torch.nan).double()
    x, delta = numbers(1, 6, n_in), numbers(1, 6, n_out)
    up, slope = numbers(1, 6, n_out), numbers(1, 6, n_in)
    expected = x.mT @ delta + slope.mT @ up
    fill([Term(weight.mT, up, slope), Term(weight, x, delta)])
    torch.testing.assert_close(weight, expected)
