"""Judges, and what they let an anchored model keep of its training."""

import pytest
import torch

from skae.fitting.departure import choose_departure
from skae.models.autoencoder import Autoencoder
from skae.parts.anchored import Anchor, AnchoredCodec
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.training.held_out import Folds, HoldOut

N, D, K = 200, 5, 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def anchor(members=None, center=0.0):
    axes = torch.eye(D)[:, :K]
    center = torch.full((D,), center)
    one = torch.ones(K)
    found = Anchor(axes, one, center, center, torch.ones(D), one)
    if members is None:
        return found
    return Anchor(*(part.repeat(members, *[1] * part.ndim) for part in found))


def autoencoder(start=None, members=None):
    codec = Dense((8,)).build(D, K, generator=generator(), members=members)
    if start is not None:
        ones = torch.ones(D)
        codec = AnchoredCodec(codec, start, ones, ones, generator=generator())
    return Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior()).eval()


def disturb(model, size=0.3):
    with torch.no_grad():
        for seed, parameter in enumerate(model.parameters()):
            parameter += size * normal(*parameter.shape, seed=seed)
    return model


def nll(model, x):
    """Half the squared error of each row."""
    raw = model.codec.decode(model.codec.encode(x)).detach()
    return Gaussian().nll(raw, x)


class TestFolds:
    def test_each_row_is_held_out_once(self):
        folds = Folds(normal(N, D), 4, generator())
        counts = torch.bincount(folds.fold)
        assert counts.tolist() == [N // 4] * 4
        for fold in range(4):
            out = set(range(N)) - set(folds.training_rows(fold).tolist())
            assert out == set(torch.nonzero(folds.fold == fold).flatten().tolist())

    @pytest.mark.parametrize("weighted", [False, True])
    def test_members_train_on_the_other_folds(self, weighted):
        weight = 0.5 + torch.rand(N, generator=generator()) if weighted else None
        folds = Folds(normal(N, D), 4, generator(), weight)
        assert folds.train_weight.shape == (5, N)
        torch.testing.assert_close(folds.train_weight.mean(1), torch.ones(5))
        assert (folds.train_weight[0] > 0).all()
        for fold in range(4):
            held_out = folds.fold == fold
            assert (folds.train_weight[fold + 1][held_out] == 0).all()
            assert (folds.train_weight[fold + 1][~held_out] > 0).all()

    def test_a_row_is_judged_by_the_member_that_has_not_seen_it(self):
        x = normal(N, D)
        folds = Folds(x, 3, generator())
        model = disturb(autoencoder(members=4))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * normal(*parameter.shape, seed=9)
        found = folds.row_loss(model)
        for row in range(0, N, 17):
            codec = model.codec.member(int(folds.fold[row]) + 1)
            alone = Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior())
            expected = alone(x[row : row + 1]).detach()[0]
            torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)

    def test_the_seed_decides_the_folds(self):
        x = normal(N, D)
        first, again, other = (Folds(x, 4, generator(seed)).fold for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


class TestHoldOut:
    def test_row_loss_is_the_models(self):
        x = normal(3000, D)
        model = disturb(autoencoder())
        found = HoldOut(x).row_loss(model)
        torch.testing.assert_close(found, nll(model, x))

    def test_the_judgement_is_a_weighted_mean(self):
        x = normal(N, D)
        weight = torch.arange(1.0, N + 1)
        model = disturb(autoencoder())
        loss = nll(model, x)
        assert HoldOut(x)(model) == pytest.approx(loss.mean().item())
        expected = ((loss * weight).sum() / weight.sum()).item()
        assert HoldOut(x, weight)(model) == pytest.approx(expected, rel=1e-5)


class TestChooseDeparture:
    """The trained model is made by hand: the right departure is known."""

    @staticmethod
    def judged(x, start, members=None):
        training = normal(N, D, seed=3)
        model = autoencoder(start, members)
        if members is None:
            judge = HoldOut(x, training_x=training)
        else:
            judge = Folds(x, members - 1, generator())
        judge.record_start(model)
        return model, judge

    @pytest.mark.parametrize("members", [None, 5])
    def test_a_useless_departure_keeps_the_anchor(self, members):
        start = anchor(members)
        model, judge = self.judged(normal(N, D, seed=1), start, members)
        disturb(model, 0.1)
        choice = choose_departure(model, judge)
        assert choice.shrinkage == 0
        assert choice.t < 2.5

    @pytest.mark.parametrize("members", [None, 5])
    @pytest.mark.parametrize(("overshoot", "best"), [(1, 1.0), (2, 0.5), (4, 0.25)])
    def test_an_overshoot_is_shrunk_to_the_right_size(self, members, overshoot, best):
        # The rows lie one unit beside the anchor's mean, off its axes.
        off = torch.tensor([0.0] * K + [1.0] * (D - K))
        start = anchor(members)
        x = normal(N, D, seed=1) * 0.3 + off
        model, judge = self.judged(x, start, members)
        with torch.no_grad():
            model.codec.codec.decoder_biases[-1] += overshoot * off
        choice = choose_departure(model, judge)
        assert choice.shrinkage == best
        assert choice.t > 10
        bias = model.codec.codec.decoder_biases[-1].detach()
        torch.testing.assert_close(bias, (overshoot * best * off).expand_as(bias))

    def test_the_guard_follows_the_choice(self):
        off = torch.tensor([0.0] * K + [1.0] * (D - K))
        for size, kept in ((1.0, True), (-1.0, False)):
            model, judge = self.judged(normal(N, D, seed=1) * 0.3 + off, anchor())
            with torch.no_grad():
                model.codec.codec.decoder_biases[-1] += size * off
            choice = choose_departure(model, judge)
            assert (choice.shrinkage > 0) == (model.codec.guard is not None) == kept

    @pytest.mark.parametrize("members", [None, 5])
    def test_a_huge_gain_of_one_row_does_not_hide_the_gains_of_all(self, members):
        off = torch.tensor([0.0] * K + [1.0] * (D - K))
        start = anchor(members)
        x = normal(N, D, seed=1) * 0.3 + off
        x[0] = 1000 * off
        model, judge = self.judged(x, start, members)
        with torch.no_grad():
            model.codec.codec.decoder_biases[-1] += off
        gain = judge.start_loss - judge.row_loss(model)
        assert gain.mean() / gain.std() * N**0.5 < 2
        choice = choose_departure(model, judge)
        assert choice.shrinkage == 1
        assert choice.t > 10

    @pytest.mark.parametrize("members", [None, 5])
    def test_a_large_loss_of_one_row_counts_in_full(self, members):
        # All others gain, and so does the mean.
        off = torch.tensor([0.0] * K + [1.0] * (D - K))
        start = anchor(members)
        x = normal(N, D, seed=1) * 0.3 + off
        x[0] = -60 * off
        model, judge = self.judged(x, start, members)
        with torch.no_grad():
            model.codec.codec.decoder_biases[-1] += off
        gain = judge.start_loss - judge.row_loss(model)
        assert gain.mean() > 0
        assert choose_departure(model, judge).shrinkage == 0

    def test_a_training_row_that_training_blew_up_is_left_to_the_anchor(self):
        off = torch.tensor([0.0] * K + [1.0] * (D - K))
        start = anchor()
        training = normal(N, D, seed=3) * 0.3 + off
        training[0, D - 1] = 100.0
        model = autoencoder(start)
        judge = HoldOut(normal(N, D, seed=1) * 0.3 + off, training_x=training)
        judge.record_start(model)
        with torch.no_grad():
            model.codec.codec.decoder_biases[-1] += off
            model.codec.encoder_path[D - 1, 0] += 0.3
        choice = choose_departure(model, judge)
        assert choice.shrinkage > 0
        fresh = torch.stack([training[0], training[0] - off])
        with torch.no_grad():
            torch.testing.assert_close(model.codec.encode(fresh), fresh[:, :K])

    def test_zero_weights_take_rows_out_of_the_vote(self):
        off = torch.tensor([0.0] * K + [1.0] * (D - K))
        good, bad = normal(N, D, seed=1) * 0.3 + off, normal(N, D, seed=2) - 3 * off
        start = anchor()
        weight = torch.cat([torch.ones(N), torch.zeros(N)])
        model = autoencoder(start)
        judge = HoldOut(torch.cat([good, bad]), weight, normal(N, D, seed=3))
        judge.record_start(model)
        with torch.no_grad():
            model.codec.codec.decoder_biases[-1] += off
        choice = choose_departure(model, judge)
        assert choice.shrinkage == 1


def test_rounds_are_judged_with_a_guard_that_follows_the_codes():
    x = normal(N, D)
    model = autoencoder(anchor())
    judge = HoldOut(x[:50], training_x=x[50:])
    judge.record_start(model)
    with torch.no_grad():
        # Codes grow tenfold, and come back as they were.
        model.codec.encoder_path *= 10
        model.codec.decoder_path /= 10
    stale = judge(model)
    loss = judge.in_training(model)
    assert loss == pytest.approx(judge.mean(judge.start_loss), rel=1e-4)
    assert stale > 2 * loss
