"""A user's own modules as an architecture."""

import pytest
import torch
from torch import nn

from skae.parts.modules import ModulePair


def test_codec_computes_what_the_modules_compute():
    encoder, decoder = nn.Linear(5, 2), nn.Linear(2, 5)
    codec = ModulePair(encoder, decoder).build(5)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(codec.encode(x), encoder(x))
    assert torch.equal(codec.decode(codec.encode(x)), decoder(encoder(x)))


def test_codec_owns_copies_of_the_modules():
    encoder, decoder = nn.Linear(5, 2), nn.Linear(2, 5)
    before = encoder.weight.detach().clone()
    codec = ModulePair(encoder, decoder).build(5)
    with torch.no_grad():
        codec.encoder.weight.zero_()
    assert torch.equal(encoder.weight, before)


def test_probing_leaves_batch_statistics_alone():
    encoder = nn.Sequential(nn.Linear(5, 2), nn.BatchNorm1d(2))
    codec = ModulePair(encoder, nn.Linear(2, 5)).build(5)
    assert codec.encoder[1].num_batches_tracked == 0


def test_double_precision_modules_are_accepted():
    codec = ModulePair(nn.Linear(5, 2).double(), nn.Linear(2, 5)).build(5)
    assert codec.encode(torch.zeros(1, 5)).dtype == torch.float32


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        (
            nn.Linear(4, 2),
            nn.Linear(2, 5),
            r"do not accept samples of shape \(5,\) \(5 feat",
        ),
        (
            nn.Linear(5, 2),
            nn.Linear(3, 5),
            r"do not accept samples of shape \(5,\) \(5 feat",
        ),
        (nn.Linear(5, 2), nn.Linear(2, 4), r"reconstruction, flat, \(2, 4\)"),
        (nn.Unflatten(1, (5, 1)), nn.Flatten(), r"code has shape \(2, 5, 1\)"),
    ],
)
def test_modules_that_do_not_fit_are_named(encoder, decoder, message):
    with pytest.raises(ValueError, match=message):
        ModulePair(encoder, decoder).build(5)
