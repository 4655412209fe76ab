"""Each hand-written derivative against autograd."""

import pytest
import torch

from skae.parts.activations import ACTIVATIONS

each_activation = pytest.mark.parametrize("name", ACTIVATIONS)


@each_activation
def test_backward_matches_autograd(name):
    activation = ACTIVATIONS[name]
    generator = torch.Generator().manual_seed(0)
    a = 3 * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    upstream = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    a.requires_grad_()
    h = activation.forward(a)
    (expected,) = torch.autograd.grad(h, a, upstream)
    with torch.no_grad():
        actual = activation.backward(upstream, a, h)
    torch.testing.assert_close(actual, expected)


@each_activation
def test_gain_keeps_the_scale_of_standard_normal_inputs(name):
    activation = ACTIVATIONS[name]
    generator = torch.Generator().manual_seed(0)
    a = activation.gain**0.5 * torch.randn(100_000, generator=generator)
    assert 0.2 < activation.forward(a).square().mean() < 2
