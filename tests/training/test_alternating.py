"""Alternating training: each group is updated by the gradient of its own loss."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn

from skae.rows.chunks import Rows
from skae.training.alternating import AlternatingTrainer, OptimizerSettings
from skae.training.batches import Batches
from skae.training.schedule import Schedule

N, D = 32, 3
X = np.random.default_rng(0).standard_normal((N, D))
ROWS = Rows(X, np.zeros(D), 1.0, torch.device("cpu"))


class Duel(nn.Module):
    """Two weight vectors, each pulled to the rows' mean plus a share of the other."""

    members = None

    def __init__(self, update_order=("left", "right")):
        super().__init__()
        self.left = nn.Parameter(torch.zeros(D))
        self.right = nn.Parameter(torch.ones(D))
        self.idle = nn.Parameter(torch.ones(D))
        self.update_order = update_order
        self.parameter_groups = {"left": [self.left], "right": [self.right]}
        self.log = []
        self.n_resets = 0

    def decayed_parameters(self):
        return [self.right]

    def reset(self):
        self.n_resets += 1

    def group_loss(self, name, x, weight=None, *, generator=None):
        self.log.append(name)
        other = self.right if name == "left" else self.left
        own = getattr(self, name)
        noise = 0.01 * torch.randn(x.shape, generator=generator)
        return (own - 0.5 * other - x - noise).square().sum(1).mean()


def trainer_of(module, *, n_rounds=3, weight_decay=0.0, patience=None, **options):
    schedule = Schedule(
        n_rounds,
        4 * n_rounds,
        8,
        1e-2,
        weight_decay=weight_decay,
        ema_decay=0.9,
        patience=patience,
    )
    generator = torch.Generator().manual_seed(0)
    return AlternatingTrainer(module, schedule=schedule, generator=generator, **options)


def train(trainer):
    generator = torch.Generator().manual_seed(1)
    trainer.train(Batches(ROWS, np.arange(N), 8, trainer.schedule.n_steps, generator))
    trainer.release()
    return trainer


def test_groups_are_updated_in_the_order_of_the_module():
    module = Duel(("left", "left", "right"))
    train(trainer_of(module, n_rounds=1))
    assert module.log == ["left", "left", "right"] * 4


def test_the_history_has_the_loss_of_every_group():
    trainer = train(trainer_of(Duel(), keep_last=True))
    for row in trainer.history:
        assert row["left_loss"] > 0
        assert row["train_loss"] == row["right_loss"]


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_a_step_is_that_of_adamw_for_each_group(weight_decay):
    module, twin = Duel(), Duel()
    settings = {
        "left": OptimizerSettings(0.5, (0.0, 0.9), ema_decay=0.0),
        "right": OptimizerSettings(1.0, (0.5, 0.9), ema_decay=0.0),
    }
    options = {"n_rounds": 1, "keep_last": True, "weight_decay": weight_decay}
    trainer = trainer_of(module, settings=settings, **options)
    train(trainer)
    generator = torch.Generator().manual_seed(0)
    batches = Batches(ROWS, np.arange(N), 8, 4, torch.Generator().manual_seed(1))
    left = torch.optim.AdamW([twin.left], betas=(0.0, 0.9), weight_decay=0.0)
    right = torch.optim.AdamW([twin.right], betas=(0.5, 0.9), weight_decay=weight_decay)
    rates = [1e-2 * rate for rate in cosine(4)]
    for rate, batch in zip(rates, batches, strict=True):
        for name, optimizer, share in (("left", left, 0.5), ("right", right, 1.0)):
            optimizer.param_groups[0]["lr"] = rate * share
            twin.zero_grad()
            twin.group_loss(name, *batch, generator=generator).backward()
            optimizer.step()
    for name in ("left", "right", "idle"):
        torch.testing.assert_close(getattr(module, name), getattr(twin, name))


def test_a_parameter_is_trained_at_its_share_of_the_rate():
    whole, slow = Duel(), Duel()
    rates = {slow.left: 0.0, slow.right: 0.5}
    for module, shares in ((whole, None), (slow, rates)):
        train(trainer_of(module, n_rounds=1, keep_last=True, rates=shares))
    assert torch.equal(slow.left, torch.zeros(D))
    moved = ((slow.right - 1).norm() / (whole.right - 1).norm()).item()
    assert moved == pytest.approx(0.5, abs=0.05)


def cosine(n_steps):
    """The schedule's rates as shares of the peak: one step of warm-up, then a fall."""
    done = torch.arange(n_steps - 1) / (n_steps - 1)
    fall = 0.001 + 0.999 * 0.5 * (1 + torch.cos(torch.pi * done))
    return [1.0, *fall.tolist()]


def test_a_parameter_without_a_group_stays():
    module = Duel()
    train(trainer_of(module, weight_decay=0.5))
    assert torch.equal(module.idle, torch.ones(D))


def test_callbacks_get_the_gradients_of_one_group():
    gradients = []

    class Watch(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            gradients.append([name for name, _ in named_parameters])

    train(trainer_of(Duel(), n_rounds=1, callbacks=[Watch()]))
    assert gradients == [["left"], ["right"]] * 4


def test_gradients_of_each_group_can_be_clipped():
    norms = []

    class Norm(Callback):
        def on_batch_end(self, net, **kwargs):
            norms.append([group.grad.norm().item() for group in net.flat_.groups])

    train(trainer_of(Duel(), callbacks=[GradientNormClipping(1e-3), Norm()]))
    np.testing.assert_allclose(norms, 1e-3, rtol=1e-3)


def test_the_average_of_a_group_is_over_its_own_updates():
    module = Duel(("left", "left", "right"))
    seen = []

    class Watch(Callback):
        def on_batch_end(self, net, **kwargs):
            seen.append(module.right.detach().clone())

    train(trainer_of(module, n_rounds=1, callbacks=[Watch()], keep_last=True))
    expected = torch.ones(D)
    for step, weights in enumerate(seen, start=1):
        decay = min(0.9, step / (step + 9))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(module.right.detach(), expected)


def test_the_last_round_within_the_tolerance_of_the_best_is_kept():
    losses = iter([9.0, 5.0, 3.0, 3.4, 4.0, 3.45, 3.6])
    seen = []

    def judge(module):
        seen.append(module.right.detach().clone())
        return next(losses)

    module = Duel()
    trainer = train(trainer_of(module, n_rounds=6, evaluate=judge, tolerance=0.5))
    assert trainer.kept_round_ == 5
    assert torch.equal(module.right, seen[5])


def test_the_same_seeds_give_the_same_bits():
    first, again = Duel(), Duel()
    for module in (first, again):
        train(trainer_of(module))
    assert torch.equal(first.left, again.left)
    assert torch.equal(first.right, again.right)


def test_a_loss_that_is_nan_for_one_group_backs_off():
    class Broken(Duel):
        def group_loss(self, name, *batch, generator=None):
            loss = super().group_loss(name, *batch, generator=generator)
            broken = name == "left" and 9 <= len(self.log) <= 16
            return loss * float("nan") if broken else loss

    module = Broken()
    with pytest.warns(ConvergenceWarning, match="lower learning rate"):
        train(trainer_of(module, n_rounds=4))
    assert torch.isfinite(module.left).all()
    assert module.n_resets == 1


def test_what_is_never_finite_raises():
    class Broken(Duel):
        def group_loss(self, name, *batch, generator=None):
            return super().group_loss(name, *batch, generator=generator) * float("nan")

    module = Broken()
    with pytest.raises(FloatingPointError, match="every round"):
        train(trainer_of(module, n_rounds=8))
    assert torch.isfinite(module.right).all()


def test_an_interrupted_training_keeps_the_best_weights():
    module = Duel()
    seen = []

    def judge(module):
        seen.append(module.right.detach().clone())
        if len(seen) == 4:
            raise KeyboardInterrupt
        return [9.0, 5.0, 7.0][len(seen) - 1]

    trainer = train(trainer_of(module, evaluate=judge))
    assert trainer.interrupted_
    assert torch.equal(module.right, seen[1])
