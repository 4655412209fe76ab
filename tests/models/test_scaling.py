"""Gain and shift, with the gradient written out by hand."""

import torch

from skae.models.scaling import scaled

GENERATOR = torch.Generator().manual_seed(0)


def numbers(*shape):
    values = torch.randn(shape, generator=GENERATOR, dtype=torch.float64)
    return values.requires_grad_()


def test_it_is_the_gain_times_the_shifted_value():
    z, gain, shift = numbers(7, 3), numbers(3), numbers(3)
    torch.testing.assert_close(scaled(z, gain, shift), gain * (z + shift))


def test_the_gradient_is_that_of_the_formula():
    arguments = numbers(7, 3), numbers(3), numbers(3)
    assert torch.autograd.gradcheck(scaled, arguments)
