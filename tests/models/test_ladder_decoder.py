"""The ladder's decoder against the formula of the paper, written out in NumPy."""

import numpy as np
import pytest
import torch

from skae.models.semi_supervised_losses import LadderDecoder
from skae.models.stack import Pass

SIZES = [6, 5, 4, 3]
N = 20


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def decoder_of(sizes=SIZES, *, trained=True):
    decoder = LadderDecoder(sizes, seeded()).double()
    if trained:
        generator = seeded(1)
        with torch.no_grad():
            for combinator in decoder.combinators:
                units = combinator.parameters_of_units
                units.copy_(torch.randn(units.shape, generator=generator))
    return decoder


def pass_of(sizes=SIZES, seed=2):
    generator = seeded(seed)
    x, *z = (
        torch.randn(N, size, generator=generator, dtype=torch.float64) for size in sizes
    )
    logits = torch.randn(N, sizes[-1], generator=generator, dtype=torch.float64)
    return Pass(x, z, logits)


def by_hand(decoder, noisy):
    """Rasmus et al. 2015, algorithm 1 and appendix B, from the top down."""

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    def batchnorm(a):
        return (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5)

    def g(z, u, a):
        a1, a2, a3, a4, a5, a6, a7, a8, a9, a10 = a
        mu = a1 * sigmoid(a2 * u + a3) + a4 * u + a5
        v = a6 * sigmoid(a7 * u + a8) + a9 * u + a10
        return (z - mu) * v + mu

    units = [c.parameters_of_units.detach().numpy() for c in decoder.combinators]
    weights = [weight.detach().numpy() for weight in decoder.weights]
    z_tilde = [noisy.x.numpy(), *(z.numpy() for z in noisy.z)]
    odds = np.exp(noisy.logits.numpy())
    top = len(z_tilde) - 1
    z_hat = {top: g(z_tilde[top], batchnorm(odds / odds.sum(1)[:, None]), units[top])}
    for level in reversed(range(top)):
        u = batchnorm(z_hat[level + 1] @ weights[level])
        z_hat[level] = g(z_tilde[level], u, units[level])
    return [z_hat[level] for level in range(top + 1)]


@pytest.mark.parametrize("sizes", [SIZES, [6, 3], [3, 8, 2]])
@pytest.mark.parametrize("trained", [False, True])
def test_every_level_is_the_papers_formula(sizes, trained):
    decoder, noisy = decoder_of(sizes, trained=trained), pass_of(sizes)
    found = decoder(noisy)
    for estimate, expected in zip(found, by_hand(decoder, noisy), strict=True):
        np.testing.assert_allclose(estimate.detach().numpy(), expected, rtol=1e-9)


def test_levels_have_the_shapes_of_the_stack_input_first():
    assert [tuple(z.shape) for z in decoder_of()(pass_of())] == [(N, k) for k in SIZES]


def test_the_untrained_decoder_guesses_the_mean():
    decoder = decoder_of(trained=False)
    for estimate in decoder(pass_of()):
        assert (estimate == 0).all()
    # Two sigmoids of slope one that do not count yet, for every unit.
    start = torch.tensor([0.0, 1, 0, 0, 0, 0, 1, 0, 0, 0]).double()
    for size, combinator in zip(SIZES, decoder.combinators, strict=True):
        expected = start[:, None].expand(10, size)
        assert torch.equal(combinator.parameters_of_units, expected)


def test_weights_start_with_variance_one_over_the_upper_width():
    (weight,) = LadderDecoder([300, 400], seeded()).weights
    assert weight.shape == (400, 300)
    assert weight.var().item() == pytest.approx(1 / 400, rel=0.02)


def test_weights_follow_the_generator():
    one, same, other = (LadderDecoder(SIZES, seeded(k)).weights for k in (1, 1, 2))
    for first, second, third in zip(one, same, other, strict=True):
        assert torch.equal(first, second)
        assert not torch.equal(first, third)


def test_gradients_reach_every_parameter():
    decoder = decoder_of()
    sum(z.square().mean() for z in decoder(pass_of())).backward()
    for parameter in decoder.parameters():
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).all()


def test_the_input_alone_teaches_every_parameter():
    decoder = decoder_of()
    decoder(pass_of())[0].square().mean().backward()
    for name, parameter in decoder.named_parameters():
        assert (parameter.grad != 0).all(), name


def test_the_untrained_decoder_learns_every_parameter_in_a_few_steps():
    decoder, noisy, targets = decoder_of(trained=False), pass_of(), pass_of(seed=3)
    before = {name: p.detach().clone() for name, p in decoder.named_parameters()}
    losses = []
    for _ in range(5):
        errors = zip(decoder(noisy), [targets.x, *targets.z], strict=True)
        loss = sum((z - target).square().mean() for z, target in errors)
        slopes = torch.autograd.grad(loss, list(decoder.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(decoder.parameters(), slopes, strict=True):
                parameter -= 0.1 * slope
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    for name, parameter in decoder.named_parameters():
        assert (parameter != before[name]).all(), name


def test_gradient_of_the_noisy_pass_matches_finite_differences():
    decoder, noisy = decoder_of([3, 2, 2]), pass_of([3, 2, 2])

    def estimates(x, z1, z2, logits):
        return tuple(decoder(Pass(x, [z1, z2], logits)))

    inputs = [noisy.x, *noisy.z, noisy.logits]
    rows = [part[:4].clone().requires_grad_() for part in inputs]
    assert torch.autograd.gradcheck(estimates, rows)
