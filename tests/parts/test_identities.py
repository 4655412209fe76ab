"""The parts that do nothing do nothing."""

import torch
from sklearn.base import clone

from skae.parts.corruption import NoCorruption
from skae.parts.priors import NoPrior


def test_no_corruption_returns_the_row_itself():
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert clone(NoCorruption())(x, None) is x


def test_no_prior_returns_the_code_itself_at_no_cost():
    h = torch.ones(2, 3, 4)
    assert clone(NoPrior()).draw(h, None) is h
    assert torch.equal(NoPrior().divergence(h), torch.zeros(2, 3))
