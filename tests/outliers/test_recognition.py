"""Signatures of rows, against distances of the rows."""

import pytest
import torch

from skae.outliers.recognition import are_alike, n_copies, signatures


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step(n, d, size):
    """Differences of a root mean square of this size."""
    direction = normal(n, d, seed=1)
    return size * direction / direction.square().mean(1, keepdim=True).sqrt()


@pytest.mark.parametrize("d", [1, 5, 300])
def test_rows_within_the_tolerance_are_alike(d):
    x, tolerance = normal(2000, d), torch.tensor(0.01)
    one, other = signatures(x), signatures(x + step(2000, d, 0.0058))
    assert are_alike(one, other, tolerance).float().mean() > 0.999


@pytest.mark.parametrize("d", [1, 5, 300])
def test_rows_beyond_ten_times_the_tolerance_are_hardly_ever_alike(d):
    x, tolerance = normal(2000, d), torch.tensor(0.01)
    one, other = signatures(x), signatures(x + step(2000, d, 0.1))
    assert are_alike(one, other, tolerance).float().mean() < 0.01


def test_copies_are_counted_within_the_tolerance():
    x = 10 * torch.eye(6)
    x[2], x[4], x[5] = x[0], x[1] + 1e-4, x[0] - 1e-4
    expected = torch.tensor([2, 1, 2, 0, 1, 2])
    found = n_copies(signatures(x), torch.tensor(1e-3))
    assert torch.equal(found, expected)
    exact = n_copies(signatures(x), torch.tensor(0.0))
    assert torch.equal(exact, torch.tensor([1, 0, 1, 0, 0, 0]))


def test_signatures_do_not_depend_on_the_batch_or_the_random_state():
    x = normal(40, 7)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    whole = signatures(x)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(torch.cat([signatures(p) for p in x.split(9)]), whole)
