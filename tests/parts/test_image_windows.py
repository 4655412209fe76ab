"""Windows of images against torch's convolutions, and slopes against differences."""

import pytest
import torch
from torch.nn import functional as F

from skae.parts.image_windows import doubling, halving


def numbers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).double().requires_grad_()


SHAPES = [(1, 8, 8), (3, 6, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_they_are_the_convolution_and_the_transposed_one(shape):
    n_channels, *sizes = shape
    weight, bias = numbers(5, n_channels, 4, 4), numbers(5, seed=1)
    image = numbers(2, *shape, seed=2)
    h = numbers(2, 5, *(size // 2 for size in sizes), seed=3)
    torch.testing.assert_close(
        halving(image, weight, bias), F.conv2d(image, weight, bias, 2, 1)
    )
    torch.testing.assert_close(
        doubling(h, weight), F.conv_transpose2d(h, weight, None, 2, 1)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_slopes_and_their_slopes_are_those_of_differences(shape):
    n_channels, *sizes = shape
    weight, bias = numbers(2, n_channels, 4, 4), numbers(2, seed=1)
    image = numbers(1, *shape, seed=2)
    h = numbers(1, 2, *(size // 2 for size in sizes), seed=3)
    for function, inputs in ((halving, (image, weight, bias)), (doubling, (h, weight))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_only_the_slopes_that_are_wanted_are_computed():
    image, weight = numbers(1, 1, 8, 8).detach(), numbers(2, 1, 4, 4)
    halving(image, weight).sum().backward()
    assert image.grad is None
    assert weight.grad.shape == weight.shape
