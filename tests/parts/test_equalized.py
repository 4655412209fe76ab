"""Equalised, modulated and comparing layers against what they are written out."""

import pytest
import torch
from torch.nn import functional as F

from skae.parts.equalized import (
    EqualAffine,
    EqualConv,
    MinibatchDeviation,
    ModulatedConv,
    doubled,
    halved,
    pixel_normalised,
)
from skae.parts.layers import Affine

N, N_IN, N_OUT, S = 5, 3, 4, 6
CHANGES = ["none", "half", "double"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def conv_of(change):
    conv = EqualConv(N_IN, N_OUT, (S, S), change).double()
    conv.reset(seeded(), 1.0)
    with torch.no_grad():
        conv.bias.copy_(numbers(N_OUT, seed=2))
    return conv


def plain(change, x, weight):
    if change == "double":
        return F.conv_transpose2d(x, weight, None, 2, 1)
    stride = 2 if change == "half" else 1
    return F.conv2d(x, weight, None, stride, 1)


def test_a_fully_connected_layer_is_the_one_of_scaled_weights():
    layer, other = (
        EqualAffine(N_IN, N_OUT).double(),
        Affine(N_IN, N_OUT).double(),
    )
    layer.reset(seeded(), 2.0)
    with torch.no_grad():
        layer.bias.fill_(3.0)
        other.weight.copy_(layer.weight * (2 / N_IN) ** 0.5)
        other.bias.fill_(3.0)
    x = numbers(N, N_IN)
    torch.testing.assert_close(layer(x), other(x))
    for each in (layer, other):
        each(x).square().sum().backward()
    # A gradient is scaled as the weights are.
    scale = (2 / N_IN) ** 0.5
    torch.testing.assert_close(layer.weight.grad, scale * other.weight.grad)
    torch.testing.assert_close(layer.bias.grad, other.bias.grad)


@pytest.mark.parametrize("change", CHANGES)
def test_a_convolution_is_the_one_of_scaled_weights(change):
    layer, x = conv_of(change), numbers(N, N_IN, 8, 8)
    weight = (layer.weight * layer.scale).detach().requires_grad_()
    expected = plain(change, x, weight) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    size = {"none": 8, "half": 4, "double": 16}[change]
    assert expected.shape == (N, N_OUT, size, size)
    layer(x).square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, layer.scale * weight.grad)


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_normal_and_outputs_of_variance_one(change):
    layer = EqualConv(64, 64, (8, 8), change)
    layer.reset(seeded(), 1.0)
    assert layer.weight.std().item() == pytest.approx(1, abs=0.02)
    x = torch.randn(8, 64, 16, 16, generator=seeded(3))
    inner = layer(x)[:, :, 2:-2, 2:-2]
    assert inner.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("demodulates", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_modulation_is_the_convolution_of_as_many_groups(change, demodulates):
    conv, gain = conv_of(change), 1.5 if demodulates else 1.0
    layer = ModulatedConv(conv, S, demodulates=demodulates).double()
    layer.style.reset(seeded(4), 1.0)
    torch.nn.init.ones_(conv.bias)
    x, w = numbers(N, N_IN, 8, 8), numbers(N, S, seed=5)
    found = layer(x, w, gain)
    style = layer.style(w) + 1
    for i in range(N):
        axis = (slice(None), None) if change == "double" else (None, slice(None))
        weight = layer.conv.weight * layer.conv.scale * style[i][axis][..., None, None]
        if demodulates:
            out = 0 if change != "double" else 1
            others = [a for a in range(4) if a != out]
            places = 4 if change == "double" else 1
            norm = (weight.square().sum(others, keepdim=True) / places).sqrt()
            weight = weight / norm
        expected = gain * (plain(change, x[[i]], weight)[0] + 1)
        torch.testing.assert_close(found[i], expected)


@pytest.mark.parametrize("change", CHANGES)
def test_demodulated_images_have_variance_one_whatever_the_style(change):
    layer = ModulatedConv(EqualConv(64, 64, (8, 8), change), S)
    for part in (layer.conv, layer.style):
        part.reset(seeded(), 1.0)
    x = torch.randn(16, 64, 16, 16, generator=seeded(3))
    for size in (0.0, 3.0):
        w = size * torch.randn(16, S, generator=seeded(6))
        inner = layer(x, w)[:, :, 2:-2, 2:-2]
        assert inner.var().item() == pytest.approx(1, abs=0.06)


class TestDeviation:
    def test_it_is_the_mean_deviation_of_the_values_of_a_group(self):
        layer, h = MinibatchDeviation().double(), numbers(40, 2, 3, 3)
        found = layer(h)
        torch.testing.assert_close(found[:, :2], h)
        for rows in (slice(0, 32), slice(32, 40)):
            expected = h[rows].std(0, correction=0).mean()
            expected = expected.expand(len(h[rows]), 3, 3)
            torch.testing.assert_close(found[rows, 2], expected, rtol=1e-6, atol=1e-6)

    def test_within_classes_it_is_around_the_mean_of_each(self):
        layer, h = MinibatchDeviation(is_conditional=True).double(), numbers(6, 2, 3, 3)
        classes = torch.tensor([0, 1, 1, 0, 1, 2])
        found = layer(h, torch.eye(3, dtype=h.dtype)[classes])
        torch.testing.assert_close(found[:, :3], MinibatchDeviation()(h))
        apart = h - torch.stack([h[classes == own].mean(0) for own in classes])
        expected = apart.square().mean(0).sqrt().mean().expand(6, 3, 3)
        torch.testing.assert_close(found[:, 3], expected, rtol=1e-4, atol=1e-4)

    def test_a_class_that_does_not_vary_is_seen_among_others(self):
        layer = MinibatchDeviation(is_conditional=True).double()
        classes = torch.arange(32) % 4
        varying = numbers(32, 2, 3, 3) + 5 * classes.reshape(-1, 1, 1, 1)
        constant = varying[classes]
        context = torch.eye(4, dtype=varying.dtype)[classes]
        all_rows, within = (layer(varying, context) / layer(constant, context))[
            0, 2:, 0, 0
        ]
        assert all_rows < 1.1
        assert within > 100

    def test_rows_of_near_numbers_are_alike(self):
        layer = MinibatchDeviation(is_conditional=True).double()
        pair = numbers(2, 2, 3, 3)
        h = torch.cat([pair, pair + 50])
        place = torch.tensor([[0.0], [0.01], [2.0], [2.01]], dtype=h.dtype)
        expected = pair.std(0, correction=0).mean().item()
        assert layer(h, place)[0, 3, 0, 0].item() == pytest.approx(expected, rel=1e-2)

    def test_rows_without_a_condition_are_alike(self):
        layer, h = MinibatchDeviation(is_conditional=True).double(), numbers(6, 2, 3, 3)
        for context in (None, torch.zeros(6, 3, dtype=h.dtype)):
            found = layer(h, context)
            torch.testing.assert_close(found[:, 2], found[:, 3])

    def test_outside_training_it_is_that_of_the_reference(self):
        layer, h = MinibatchDeviation().double(), numbers(7, 2, 3, 3)
        layer.set_reference(h)
        layer.eval()
        expected = h.std(0, correction=0).mean()
        for rows in (h, h[:1]):
            found = layer(rows)[:, 2]
            torch.testing.assert_close(
                found, expected.expand_as(found), rtol=1e-6, atol=1e-6
            )


def test_pixels_are_divided_by_their_root_mean_square():
    h = numbers(N, N_IN, 2, 2)
    found = pixel_normalised(h)
    torch.testing.assert_close(
        found.square().mean(1), torch.ones(N, 2, 2, dtype=h.dtype)
    )
    torch.testing.assert_close(found * h.square().mean(1, keepdim=True).sqrt(), h)


def test_halving_undoes_doubling():
    image = numbers(N, 1, 4, 6)
    assert doubled(image).shape == (N, 1, 8, 12)
    torch.testing.assert_close(halved(doubled(image)), image)
