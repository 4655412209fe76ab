"""The loss is the sum of its five parts."""

import torch
from torch import nn

from skae.models.autoencoder import Autoencoder
from skae.parts.base import Penalty
from skae.parts.corruption import NoCorruption
from skae.parts.likelihoods import Gaussian
from skae.parts.modules import PairCodec
from skae.parts.priors import NoPrior


class Doubling(NoCorruption):
    def __call__(self, x, generator):
        return 2 * x


class Shifted(NoPrior):
    def draw(self, h, generator):
        return h + 1

    def divergence(self, h):
        return h.square().sum(-1)


class CodeSize(Penalty):
    def __call__(self, state):
        return state.z.abs().sum(-1)


def autoencoder(penalties=()):
    codec = PairCodec(nn.Linear(4, 2), nn.Linear(2, 4))
    return Autoencoder(codec, Gaussian(), Doubling(), Shifted(), penalties)


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def test_the_state_follows_a_row_through_the_parts():
    model = autoencoder()
    state = model.run(X)
    assert state.x is X
    assert torch.equal(state.x_tilde, 2 * X)
    assert torch.equal(state.h, model.codec.encode(2 * X))
    assert torch.equal(state.z, state.h + 1)
    assert torch.equal(state.raw, model.codec.decode(state.z))
    assert state.codec is model.codec


def test_the_loss_is_the_sum_of_its_parts():
    model = autoencoder([CodeSize(), CodeSize()])
    state = model.run(X)
    expected = Gaussian().nll(state.raw, X)
    expected = expected + state.h.square().sum(-1) + 2 * state.z.abs().sum(-1)
    torch.testing.assert_close(model(X), expected)


def test_log_likelihood_judges_the_clean_row_alone_in_units_of_x():
    model = autoencoder([CodeSize()])
    raw = model.codec.decode(model.codec.encode(X))
    scale = torch.tensor([0.5, 1, 2, 3], dtype=torch.float64)
    expected = -Gaussian().nll(raw * scale, X * scale)
    torch.testing.assert_close(model.log_likelihood(X, scale), expected)
