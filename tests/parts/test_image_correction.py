"""Maps from images to images, and codecs that have them beside PCA's path."""

import pytest
import torch

from skae.parts.anchored import Anchor, AnchoredCodec
from skae.parts.conv import Conv
from skae.parts.image_correction import ImageCorrection
from skae.parts.layers import Layer


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 14), (2, 1, 30), (1, 3, 2)])
def test_images_keep_their_size(shape):
    correction = ImageCorrection(shape, 6, 2, "relu")
    x = torch.randn(4, torch.Size(shape).numel(), generator=seeded())
    assert not correction(x).any()
    for layer in correction.modules():
        if isinstance(layer, Layer):
            layer.reset(seeded(), 2.0)
    assert correction(x).shape == x.shape
    assert correction(x).any()
    for parameter in correction.last_parameters():
        torch.nn.init.zeros_(parameter)
    assert not correction(x).any()


def anchored(correction, shape=(1, 8, 8), width=5):
    d = torch.Size(shape).numel()
    axes = torch.linalg.qr(torch.randn(d, width, generator=seeded()))[0]
    scale = torch.rand(width, generator=seeded(1)) + 1
    zeros, ones = torch.zeros(d), torch.ones(d)
    anchor = Anchor(axes, scale, zeros, zeros.clone(), ones, torch.ones(width))
    codec = Conv(shape, (6,), correction=correction)
    codec = codec.build(d, width, generator=seeded(2))
    return AnchoredCodec(codec, anchor, 2 * ones, ones.clone(), frozen=True)


@pytest.mark.parametrize("correction", ["code", "images", "both"])
def test_codecs_start_as_their_anchor(correction):
    codec = anchored(correction)
    x = torch.randn(7, 64, generator=seeded(3))
    torch.testing.assert_close(codec.encode(x), x @ codec.axes)
    expected = x @ codec.axes @ codec.axes.mT
    torch.testing.assert_close(codec.decode(codec.encode(x)), expected)


def test_maps_of_images_come_before_the_encoder_and_after_the_decoder():
    codec = anchored("images")
    maps = codec.codec
    with torch.no_grad():
        for parameter in maps.last_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(4)))
    x = torch.randn(7, 64, generator=seeded(5))
    z = (x + maps.before(2 * x)) @ codec.axes
    torch.testing.assert_close(codec.encode(x), z)
    y = z @ codec.axes.mT
    torch.testing.assert_close(codec.decode(z), y + maps.after(2 * y))


def test_a_moved_codec_is_one_with_the_other_anchor():
    codec, other = anchored("images"), anchored("images")
    axes = torch.linalg.qr(torch.randn(64, 5, generator=seeded(6)))[0]
    center = torch.randn(64, generator=seeded(7))
    moved = other.anchor()._replace(axes=axes, center=center, raw_center=center)
    x = torch.randn(7, 64, generator=seeded(3))
    codec.move_to(moved, x)
    expected = center + (x - center) @ axes @ axes.mT
    torch.testing.assert_close(codec.decode(codec.encode(x)), expected)


def test_less_is_trained_with_maps_of_images_alone():
    both = Conv((1, 8, 8), correction="both")
    fewer = both.beside_path()
    assert fewer.correction == "images"
    assert fewer.beside_path() is None
    assert both.correction == "both"
