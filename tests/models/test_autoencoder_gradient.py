"""The hand-written gradient against autograd, in float64."""

import pytest
import torch
from torch import nn

from skae.models.autoencoder import Autoencoder
from skae.models.autoencoder_gradient import ExplicitGradient, supports
from skae.parts.activations import ACTIVATIONS
from skae.parts.anchored import Anchor, AnchoredCodec
from skae.parts.base import Features
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import LIKELIHOODS, Gaussian, LearnedGaussian
from skae.parts.modules import PairCodec
from skae.parts.penalties import L1Sparsity
from skae.parts.priors import NoPrior, StandardNormal
from skae.training.flat_parameters import FlatParameters

N, D, K = 9, 5, 3

WITH_SLOPES = [name for name, part in LIKELIHOODS.items() if part.has_gradient]


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def anchor(members, centred=False):
    lead = () if members is None else (members,)
    center = normal(*lead, D)
    return Anchor(
        axes=torch.linalg.qr(normal(*lead, D, K))[0],
        scale=0.5 + normal(*lead, K).abs(),
        center=torch.zeros_like(center) if centred else center,
        raw_center=normal(*lead, D),
        raw_slope=0.5 + normal(*lead, D).abs(),
        shrinkage=normal(*lead, K).sigmoid(),
    )


def on_path(codec, tied, scaled, bound, *, centred, output_scaled, drawn=False):
    """The codec beside a linear path."""
    start = anchor(codec.members, centred)
    ones, ramp = torch.ones(D), torch.linspace(0.5, 1.5, D)
    return AnchoredCodec(
        codec,
        start,
        ramp if scaled else ones,
        torch.tensor([1, 0.3, 0.7, 0, 1.0]) if output_scaled else ones,
        start=(1 - start.shrinkage).log() if drawn else None,
        tied=tied,
        bound=bound,
        whitened=drawn,
        generator=torch.Generator().manual_seed(1),
    )


def moved(codec):
    """The codec in double precision with no weight at zero."""
    codec.double()
    with torch.no_grad():
        for seed, parameter in enumerate(codec.parameters()):
            parameter += 0.3 * normal(*parameter.shape, seed=seed)
    return codec


def model(
    activation="tanh",
    likelihood="gaussian",
    hidden=(7, 4),
    tied=False,
    anchored=False,
    members=None,
    bound=None,
    scaled=True,
    code_activation="identity",
    centred=False,
    output_scaled=False,
):
    codec = Dense(hidden, activation, tied, code_activation).build(
        D,
        K,
        generator=torch.Generator().manual_seed(0),
        input_scale=torch.linspace(0.5, 1.5, D) if scaled and not anchored else None,
        members=members,
    )
    if anchored:
        path = {"centred": centred, "output_scaled": output_scaled}
        codec = on_path(codec, tied, scaled, bound, **path)
    codec = moved(codec)
    return Autoencoder(codec, LIKELIHOODS[likelihood](), NoCorruption(), NoPrior())


def features(n_features=D):
    """Columns for likelihoods that are bound to them."""
    zeros = torch.zeros(n_features, dtype=torch.float64)

    def unknown():
        raise AssertionError

    return Features(zeros, zeros + 1, (n_features,), unknown, unknown)


def targets(*lead):
    return normal(*lead, D, seed=7).sigmoid() * 2 - 0.5


def check(model, weight=None, x=None, x_tilde=None):
    """The explicit loss and gradient are those of autograd."""
    x = targets(N) if x is None else x
    flat = FlatParameters(model, model.codec.decayed_parameters())
    seen = x if x_tilde is None else x_tilde
    raw = model.codec.decode(model.codec.encode(seen))
    loss = model.likelihood.nll(raw, x)
    loss = loss if weight is None else loss * weight
    loss = loss.mean(-1).sum()
    loss.backward()
    expected = flat.grad.clone()
    # Whatever the gradients held before is overwritten.
    flat.grad.fill_(torch.nan)
    actual = ExplicitGradient(model)(x, weight, x_tilde)
    torch.testing.assert_close(actual, loss.detach(), rtol=1e-12, atol=1e-12)
    # Autograd's softplus is linear beyond 20.
    torch.testing.assert_close(flat.grad, expected, rtol=1e-7, atol=1e-9)


PATHS = {
    "plain": {},
    "anchored": {"anchored": True},
    "bounded": {"anchored": True, "bound": 0.8},
    "centred": {"anchored": True, "centred": True, "scaled": False},
    "output_scaled": {"anchored": True, "output_scaled": True, "bound": 0.8},
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("likelihood", WITH_SLOPES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("members", [None, 3])
def test_gradient_matches_autograd(activation, likelihood, tied, path, members):
    chosen = model(activation, likelihood, tied=tied, members=members, **PATHS[path])
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


@pytest.mark.parametrize("code_activation", ACTIVATIONS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (7, 4)])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("members", [None, 3])
def test_gradient_matches_autograd_with_a_code_activation(
    code_activation, activation, hidden, tied, members
):
    chosen = model(
        activation,
        hidden=hidden,
        tied=tied,
        members=members,
        code_activation=code_activation,
    )
    check(chosen)
    check(chosen, normal(N, seed=3).abs())


KINDS = {**PATHS, "code_activation": {"code_activation": "tanh"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("likelihood", WITH_SLOPES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("members", [None, 3])
def test_the_encoder_may_see_other_rows_than_the_target(
    kind, likelihood, tied, members
):
    chosen = model(likelihood=likelihood, tied=tied, members=members, **KINDS[kind])
    x_tilde = targets(N) + normal(N, D, seed=11)
    check(chosen, x_tilde=x_tilde)
    check(chosen, normal(N, seed=3).abs(), x_tilde=x_tilde)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("corrupted", [False, True])
def test_every_member_has_its_own_rows(kind, tied, corrupted):
    chosen = model(tied=tied, members=3, **KINDS[kind])
    x = targets(3, N)
    x_tilde = x + normal(3, N, D, seed=11) if corrupted else None
    check(chosen, x=x, x_tilde=x_tilde)
    check(chosen, normal(3, N, seed=3).abs(), x=x, x_tilde=x_tilde)


def test_members_with_rows_of_their_own_learn_nothing_from_each_other():
    chosen = model(members=3, code_activation="tanh")
    flat = FlatParameters(chosen)
    gradient = ExplicitGradient(chosen)
    x = targets(3, N)
    gradient(x)
    before = [p.grad.clone() for p in chosen.codec.parameters()]
    x[1] += 1
    gradient(x)
    assert flat.grad.isfinite().all()
    for old, parameter in zip(before, chosen.codec.parameters(), strict=True):
        assert torch.equal(old[[0, 2]], parameter.grad[[0, 2]])
    assert not torch.equal(before[0][1], next(chosen.codec.parameters()).grad[1])


def test_the_step_writes_neither_into_its_target_nor_its_corrupted_rows():
    chosen = model("identity", hidden=(), members=3)
    FlatParameters(chosen)
    x, x_tilde = normal(3, N, D), normal(3, N, D, seed=1)
    before = x.clone(), x_tilde.clone()
    ExplicitGradient(chosen)(x, x_tilde=x_tilde)
    assert torch.equal(x, before[0])
    assert torch.equal(x_tilde, before[1])


class Halving(NoCorruption):
    def __call__(self, x, generator):
        return x / 2


class Halved(Gaussian):
    def nll(self, raw, x):
        return super().nll(raw, x) / 2


class Shifted(NoPrior):
    def draw(self, h, generator):
        return h + 1


def test_what_is_supported():
    codec = model().codec
    plain = Gaussian(), NoCorruption(), NoPrior()
    assert supports(Autoencoder(codec, *plain))
    assert not supports(Autoencoder(codec, *plain, penalties=[L1Sparsity()]))
    assert not supports(Autoencoder(codec, Halved(), NoCorruption(), NoPrior()))
    assert supports(Autoencoder(codec, Gaussian(), Halving(), NoPrior()))
    assert not supports(Autoencoder(codec, Gaussian(), NoCorruption(), Shifted()))
    assert not supports(Autoencoder(PairCodec(nn.Identity(), nn.Identity()), *plain))
    assert supports(model(anchored=True))


@pytest.mark.parametrize("likelihood", ["bernoulli", "shared", "per_feature", 0.3])
@pytest.mark.parametrize("n_context", [0, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("path", [None, "anchored", "output_scaled"])
def test_gradient_of_a_drawn_code(likelihood, n_context, weighted, members, path):
    codec = Dense((7,), "tanh").build(
        D,
        K,
        generator=torch.Generator().manual_seed(0),
        n_outputs=2 * K,
        n_context=n_context,
        members=members,
    )
    if path is not None:
        output_scaled = path == "output_scaled"
        shape = {"centred": False, "output_scaled": output_scaled, "drawn": True}
        codec = moved(on_path(codec, False, True, 0.8, **shape))
    learned = likelihood != "bernoulli"
    part = LIKELIHOODS[likelihood]() if not learned else LearnedGaussian(likelihood)
    drawn = Autoencoder(
        codec,
        part.bind(features()),
        NoCorruption(),
        StandardNormal(beta=0.7),
        kl_warmup=0.5,
        hidden_context=0.4 if n_context else 0.0,
    )
    drawn.double().train()
    drawn.progress = 0.125
    assert drawn.kl_weight() == 0.25
    assert supports(drawn)
    flat = FlatParameters(drawn, codec.decayed_parameters())
    x = targets(N).clamp(0, 1)
    weight = torch.linspace(0.1, 2, N, dtype=torch.float64) if weighted else None
    lead = () if members is None else (members,)
    context = normal(*lead, N, n_context) if n_context else None
    # autograd joins the context of a member to rows of its own.
    x = x.expand(*lead, N, D)

    def generator():
        return torch.Generator().manual_seed(5)

    loss = drawn.batch_loss(x, weight, None, context, generator=generator()).sum()
    loss.backward()
    expected = flat.grad.clone()
    found = ExplicitGradient(drawn, generator())(x, weight, None, context)
    torch.testing.assert_close(found, loss.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(flat.grad, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("variance", ["shared", "per_feature", 0.3])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("path", PATHS)
def test_gradient_of_a_learned_variance(variance, tied, members, path):
    chosen = model(tied=tied, members=members, **PATHS[path])
    part = LearnedGaussian(variance).bind(features()).double()
    chosen = Autoencoder(chosen.codec, part, NoCorruption(), NoPrior())
    check(chosen)
    check(chosen, normal(N, seed=3).abs())
