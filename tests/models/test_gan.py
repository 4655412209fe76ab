"""The losses of GANs against formulas, its penalties against written-out gradients."""

import math

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skae.models.gan import (
    LOSSES,
    GANModule,
    Replay,
    gradient_norms,
    interpolated_penalty,
)
from skae.parts.critics import DenseCritic
from skae.parts.generators import DenseGenerator
from skae.training.alternating import AlternatingTrainer
from skae.training.schedule import Schedule

N, D, K, C = 6, 3, 2, 2
X = torch.randn(N, D, generator=torch.Generator().manual_seed(5)).double()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gan_of(loss="hinge", penalty=0.0, n_context=0, **options):
    generator = DenseGenerator((8,)).build(
        D, K, n_context=n_context, generator=seeded()
    )
    critic = DenseCritic((8, 8)).build(D, n_context=n_context, generator=seeded(1))
    return GANModule(generator, critic, loss, K, penalty, **options).double()


VALUES = [-2.0, -0.5, 0.0, 0.5, 3.0]
FORMULAS = {
    "non_saturating": (
        lambda d: -math.log(1 / (1 + math.exp(-d))),
        lambda d: -math.log(1 - 1 / (1 + math.exp(-d))),
        lambda d: -math.log(1 / (1 + math.exp(-d))),
    ),
    "hinge": (
        lambda d: max(0.0, 1 - d),
        lambda d: max(0.0, 1 + d),
        lambda d: -d,
    ),
    "wasserstein_gp": (lambda d: -d, lambda d: d, lambda d: -d),
    # Of a pair: of how much more real one row of it is.
    "relativistic": (
        lambda d: math.log(1 + math.exp(-d)),
        lambda d: 0.0,
        lambda d: math.log(1 + math.exp(-d)),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_their_formulas(name):
    values = torch.tensor(VALUES, dtype=torch.float64)
    loss = LOSSES[name]
    found = loss.real(values), loss.fake(values), loss.generated(values)
    for part, formula in zip(found, FORMULAS[name], strict=True):
        assert part.tolist() == pytest.approx([formula(d) for d in VALUES])


def test_gradient_norms_are_those_of_autograd_row_by_row():
    critic = gan_of().critic
    x = X.clone().requires_grad_()
    found = gradient_norms(critic(x), x)
    for row, slope in zip(X, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda r: critic(r[None]), row)
        assert slope.item() == pytest.approx(jacobian.norm().item() * math.sqrt(D))


@pytest.mark.parametrize("loss", ["non_saturating", "hinge"])
def test_the_penalty_at_rows_is_half_the_squared_slope(loss):
    plain, priced = gan_of(loss), gan_of(loss, 0.6)
    losses = [
        gan.group_loss("critic", X, generator=seeded(3)) for gan in (plain, priced)
    ]
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(plain.critic(x).sum(), x)
    price = 0.3 * (gradient.square().sum(1) * D).mean()
    torch.testing.assert_close(losses[1] - losses[0], price)


def test_the_gradient_of_the_penalty_is_that_of_finite_differences():
    gan = gan_of("non_saturating", 0.6)
    weight = gan.critic.layers[0].weight
    loss = gan.group_loss("critic", X, generator=seeded(3))
    (gradient,) = torch.autograd.grad(loss, weight)
    step = 1e-5
    with torch.no_grad():
        weight[0, 0] += step
    above = gan.group_loss("critic", X, generator=seeded(3))
    with torch.no_grad():
        weight[0, 0] -= 2 * step
    below = gan.group_loss("critic", X, generator=seeded(3))
    slope = (above - below) / (2 * step)
    torch.testing.assert_close(gradient[0, 0], slope, rtol=1e-4, atol=1e-7)


def test_the_interpolated_penalty_is_the_one_written_out():
    critic, made = gan_of().critic, X.flip(0) + 1
    found = interpolated_penalty(critic, X, made, None, seeded(2))
    share = torch.rand(N, 1, generator=seeded(2), dtype=torch.float64)
    for i in range(N):
        between = share[i] * X[i] + (1 - share[i]) * made[i]
        jacobian = torch.autograd.functional.jacobian(
            lambda r: critic(r[None]), between
        )
        expected = (jacobian.norm().item() * math.sqrt(D) - 1) ** 2
        assert found[i].item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["critic", "generator"])
def test_each_loss_is_the_mean_of_its_formulas(loss, name):
    gan = gan_of(loss, n_context=C)
    context = torch.eye(C).double()[torch.arange(N) % C]
    weight = torch.arange(N).double() / 2.5
    found = gan.group_loss(name, X, weight, None, context, generator=seeded(4))
    z = torch.randn(N, K, generator=seeded(4), dtype=torch.float64)
    made = gan.generator(z, context)
    of_x, of_made = gan.critic(X, context), gan.critic(made, context)
    values = of_x, of_made, of_made
    if LOSSES[loss].paired:
        values = of_x - of_made, of_made, of_made - of_x
    real, fake, generated = (
        torch.stack([torch.tensor(formula(d.item())) for d in value])
        for formula, value in zip(FORMULAS[loss], values, strict=True)
    )
    cost = real + fake if name == "critic" else generated
    assert found.item() == pytest.approx((weight * cost).mean().item(), rel=1e-5)


def test_the_critics_loss_has_no_gradient_for_the_generator():
    gan = gan_of(penalty=0.1)
    gan.group_loss("critic", X, generator=seeded()).backward()
    assert all(p.grad is None for p in gan.parameter_groups["generator"])
    assert all(p.grad is not None for p in gan.parameter_groups["critic"])


def test_a_rarer_penalty_weighs_as_much_more():
    every, third = gan_of(penalty=0.6), gan_of(penalty=0.6, penalty_interval=3)
    plain = gan_of()

    def losses(gan):
        return torch.stack(
            [gan.group_loss("critic", X, generator=seeded(3)) for _ in range(6)]
        )

    price = losses(every) - losses(plain)
    expected = price * torch.tensor([3, 0, 0, 3, 0, 0])
    torch.testing.assert_close(losses(third) - losses(plain), expected)


def test_a_lazy_penalty_is_the_usual_one_on_average():
    usual, lazy = gan_of(penalty=0.6), gan_of(penalty=0.6, penalty_interval=4)
    weight = usual.critic.layers[0].weight, lazy.critic.layers[0].weight
    slopes_of = []
    for gan, own in zip((usual, lazy), weight, strict=True):
        losses = [gan.group_loss("critic", X, generator=seeded(3)) for _ in range(4)]
        (slope,) = torch.autograd.grad(sum(losses) / 4, own)
        slopes_of.append(slope)
    torch.testing.assert_close(*slopes_of)


def test_pairs_have_penalties_at_both_rows():
    plain, priced = gan_of("relativistic"), gan_of("relativistic", 0.6)
    losses = [
        gan.group_loss("critic", X, generator=seeded(3)) for gan in (plain, priced)
    ]
    z = torch.randn(N, K, generator=seeded(3), dtype=torch.float64)
    price = 0.0
    for rows in (X, plain.generator(z).detach()):
        x = rows.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(plain.critic(x).sum(), x)
        price = price + 0.3 * (gradient.square().sum(1) * D).mean()
    torch.testing.assert_close(losses[1] - losses[0], price)


def test_the_generator_of_pairs_learns_from_the_difference():
    gan = gan_of("relativistic")
    loss = gan.group_loss("generator", X, generator=seeded(3))
    z = torch.randn(N, K, generator=seeded(3), dtype=torch.float64)
    difference = gan.critic(gan.generator(z)) - gan.critic(X)
    expected = torch.log1p(torch.exp(-difference)).mean()
    torch.testing.assert_close(loss, expected)


class TestReplay:
    def batch(self, number):
        made = torch.full((8, D), float(number))
        return made, torch.full((8, C), float(number)), None

    def test_a_share_of_the_batch_is_of_the_past(self):
        replay = Replay(0.25)
        replay(*self.batch(0), seeded())
        made, context, weight = replay(*self.batch(1), seeded())
        assert made.shape == (8, D)
        assert weight is None
        assert (made[:2] == 0).all()
        assert (made[2:] == 1).all()
        # A row keeps what it was asked to be.
        assert torch.equal(context[:, 0], made[:, 0])

    def test_the_past_takes_up_the_present(self):
        replay = Replay(0.5)
        for number in range(400):
            made, *_ = replay(*self.batch(number), seeded(number))
        ages = 399 - made[:4, 0]
        assert (ages > 0).all()
        assert replay.past[0].unique().numel() > 20


def test_a_round_that_is_lost_leaves_no_rows_to_replay():
    class Broken(GANModule):
        n_losses = 0

        def group_loss(self, *args, **options):
            self.n_losses += 1
            loss = super().group_loss(*args, **options)
            return loss * float("nan") if 9 <= self.n_losses <= 16 else loss

    whole = gan_of(replay=Replay(0.5))
    gan = Broken(whole.generator, whole.critic, "hinge", K, 0.1, replay=whole.replay)
    trainer = AlternatingTrainer(
        gan, schedule=Schedule(4, 16, N, 1e-3), generator=seeded()
    )
    with pytest.warns(ConvergenceWarning, match="lower learning rate"):
        trainer.train([(X, None)] * 16)
    losses = [math.isfinite(row["critic_loss"]) for row in trainer.history]
    assert losses == [True, False, True, True]
    assert gan.replay.past[0].isfinite().all()


def test_the_same_generator_gives_the_same_loss():
    first, again = (
        gan_of(replay=Replay(0.5)).group_loss("critic", X, generator=seeded(1))
        for _ in range(2)
    )
    assert torch.equal(first, again)
