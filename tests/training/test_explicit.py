"""The hand-written gradient against autograd, in float64."""

import pytest
import torch

from skae.parts.activations import ACTIVATIONS
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Anchor, Dense
from skae.parts.likelihoods import LIKELIHOODS, Gaussian
from skae.parts.penalties import NoPenalty
from skae.parts.priors import NoPrior
from skae.training.explicit import ExplicitGradient, supports
from skae.training.flat import FlatParameters
from skae.training.objective import Autoencoder

N, D, K = 9, 5, 3


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def anchor(members):
    lead = () if members is None else (members,)
    return Anchor(
        axes=torch.linalg.qr(normal(*lead, D, K))[0],
        scale=0.5 + normal(*lead, K).abs(),
        center=normal(*lead, D),
        raw_center=normal(*lead, D),
        raw_slope=0.5 + normal(*lead, D).abs(),
    )


def model(
    activation="tanh",
    likelihood="gaussian",
    hidden=(7, 4),
    tied=False,
    anchored=False,
    members=None,
    bound=None,
    scaled=True,
):
    codec = Dense(hidden, activation, tied).build(
        D,
        K,
        generator=torch.Generator().manual_seed(0),
        anchor=anchor(members) if anchored else None,
        input_scale=torch.linspace(0.5, 1.5, D) if scaled else None,
        bound=bound,
        members=members,
    )
    codec.double()
    with torch.no_grad():
        for seed, parameter in enumerate(codec.parameters()):
            parameter += 0.3 * normal(*parameter.shape, seed=seed)
    return Autoencoder(codec, LIKELIHOODS[likelihood](), NoCorruption(), NoPrior())


def check(model, weight=None):
    """The explicit loss and gradient are those of autograd."""
    x = normal(N, D, seed=7).sigmoid() * 2 - 0.5
    flat = FlatParameters(model, model.codec.decayed_parameters())
    loss = model(x) if weight is None else model(x) * weight
    loss = loss.mean(-1).sum()
    loss.backward()
    expected = flat.grad.clone()
    # Whatever the gradients held before is overwritten.
    flat.grad.fill_(torch.nan)
    actual = ExplicitGradient(model)(x, weight)
    torch.testing.assert_close(actual, loss.detach(), rtol=1e-12, atol=1e-12)
    # Autograd's softplus is linear beyond 20.
    torch.testing.assert_close(flat.grad, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("bound", [None, 0.8])
def test_gradient_matches_autograd(
    activation, likelihood, tied, anchored, members, bound
):
    chosen = model(
        activation,
        likelihood,
        tied=tied,
        anchored=anchored,
        members=members,
        bound=bound,
    )
    check(chosen)
    weight = normal(N, seed=3).abs()
    check(chosen, weight)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("anchored", [False, True])
def test_every_member_has_its_own_weights(tied, anchored):
    chosen = model(tied=tied, anchored=anchored, members=3)
    check(chosen, normal(3, N, seed=3).abs())


@pytest.mark.parametrize("hidden", [(), (4,), (4, 6, 5)])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("anchored", [False, True])
def test_gradient_matches_autograd_at_any_depth(hidden, tied, anchored):
    check(model(hidden=hidden, tied=tied, anchored=anchored))


def test_gradient_matches_autograd_without_scaling():
    check(model(scaled=False))


def test_the_step_does_not_write_into_its_batch():
    chosen = model("identity", hidden=(), bound=0.8, anchored=True)
    FlatParameters(chosen)
    x = normal(N, D)
    before = x.clone()
    ExplicitGradient(chosen)(x)
    assert torch.equal(x, before)


class Halving(NoCorruption):
    def __call__(self, x, generator):
        return x / 2


class Proper(Gaussian):
    canonical = False


class Shifted(NoPrior):
    def draw(self, h, generator):
        return h + 1


def test_only_the_plain_objective_is_supported():
    codec = model().codec
    plain = Gaussian(), NoCorruption(), NoPrior()
    assert supports(Autoencoder(codec, *plain))
    assert not supports(Autoencoder(codec, *plain, penalties=[NoPenalty()]))
    assert not supports(Autoencoder(codec, Proper(), NoCorruption(), NoPrior()))
    assert not supports(Autoencoder(codec, Gaussian(), Halving(), NoPrior()))
    assert not supports(Autoencoder(codec, Gaussian(), NoCorruption(), Shifted()))
    assert not supports(Autoencoder(torch.nn.Identity(), *plain))
