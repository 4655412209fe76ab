"""The combinator's hand-written gradient against finite differences."""

import pytest
import torch

from skae.models.combinator import combined


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_it_is_the_papers_formula():
    z, u, a = drawn(7, 3), drawn(7, 3, seed=1), drawn(10, 3, seed=2)
    mu = a[0] * torch.sigmoid(a[1] * u + a[2]) + a[3] * u + a[4]
    v = a[5] * torch.sigmoid(a[6] * u + a[7]) + a[8] * u + a[9]
    torch.testing.assert_close(combined(z, u, a), (z - mu) * v + mu)


@pytest.mark.parametrize("n_rows", [1, 6])
def test_its_gradient_matches_finite_differences(n_rows):
    z, u, a = drawn(n_rows, 3), drawn(n_rows, 3, seed=1), drawn(10, 3, seed=2)
    inputs = [part.requires_grad_() for part in (z, u, a)]
    assert torch.autograd.gradcheck(combined, inputs)


def test_gradients_of_gradients_are_refused():
    z, u, a = drawn(4, 2), drawn(4, 2, seed=1), drawn(10, 2, seed=2)
    slopes = torch.autograd.grad(
        combined(z.requires_grad_(), u, a).square().sum(), z, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slopes[0].sum().backward()
