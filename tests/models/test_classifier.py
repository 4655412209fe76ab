"""The classifier's loss against torch's cross-entropy, and the batches it is fed."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skae.models.classifier import (
    Classification,
    Labelled,
    PartlyLabelled,
    Unlabelled,
)
from skae.models.semi_supervised_losses import (
    Consistency,
    GraphLabels,
    LadderReconstruction,
)
from skae.models.stack import NormalisedLayer, Product, Stack
from skae.parts.corruption import NoCorruption
from skae.rows.chunks import Rows
from skae.statistics.label_graph import SpreadLabels

D, H, K = 6, 5, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def stack_of():
    hidden = NormalisedLayer(
        Product(drawn(D, H, seed=1)), D, H, "tanh", drawn(H, seed=2)
    )
    output = NormalisedLayer(
        Product(drawn(H, K, seed=3)), H, K, "identity", drawn(K, seed=4)
    )
    return Stack([hidden, output]).double()


def labelled_of(n=9, seed=10):
    weight = torch.linspace(0.5, 2.5, n, dtype=torch.float64)
    return Labelled(drawn(n, D, seed=seed), torch.arange(n) % K, weight)


def unlabelled_of(n=16, seed=20, graph=False):
    x = drawn(n, D, seed=seed)
    weight = torch.linspace(0.5, 2.5, n, dtype=torch.float64)
    if not graph:
        return Unlabelled(x, weight)
    target = drawn(n, K, seed=seed + 1).softmax(1)
    return Unlabelled(x, weight, target, torch.linspace(0, 1, n, dtype=torch.float64))


def shaken(x, generator):
    """A corruption that draws."""
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x + 0.5 * noise


def loss_of(stack=None, terms=(), *, corruption=shaken, noise=0.3, n_steps=10, **other):
    stack = stack_of() if stack is None else stack
    loss = Classification(
        stack, corruption, noise, n_steps, seeded(5), terms, **other
    ).double()
    if terms:
        # Random combinators: at its start the decoder ignores its weights.
        generator = seeded(6)
        with torch.no_grad():
            for combinator in loss.decoder.combinators:
                units = combinator.parameters_of_units
                units.copy_(torch.randn(units.shape, generator=generator))
    return loss


def noisy_pass(stack, x, generator, **options):
    return stack.run(shaken(x, generator), 0.3, generator, **options)


def gradients(loss, module):
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    names = (name for name, _ in module.named_parameters())
    return dict(zip(names, found, strict=True))


class Nothing:
    """A term that costs nothing, and notes what it saw."""

    def __init__(self):
        self.seen = []

    def weight(self, progress):
        self.seen.append(progress)
        return 0.0

    def __call__(self, state):
        return state.noisy.logits.sum(1)


class TestLabelledRows:
    @pytest.mark.parametrize("uses_running_statistics", [False, True])
    def test_the_loss_is_torchs_cross_entropy_of_the_noisy_pass(
        self, uses_running_statistics
    ):
        stack, batch = stack_of(), labelled_of()
        found = loss_of(
            stack, uses_running_statistics=uses_running_statistics
        ).batch_loss(batch, generator=seeded())
        logits = noisy_pass(
            stack, batch.x, seeded(), uses_running_statistics=uses_running_statistics
        ).logits
        nats = F.cross_entropy(logits, batch.y, reduction="none")
        torch.testing.assert_close(found, (nats * batch.weight).mean())

    def test_a_weight_stands_for_repeated_rows(self):
        x, y, _ = labelled_of()
        times = torch.arange(9) % 3
        # The layers' own statistics: those of a batch know no weights.
        loss = loss_of(
            corruption=NoCorruption(), noise=0.0, uses_running_statistics=True
        )
        weighted = loss.batch_loss(Labelled(x, y, times.double()))
        again = [part.repeat_interleave(times, dim=0) for part in (x, y)]
        repeated = loss.batch_loss(Labelled(*again, torch.ones(9).double()))
        torch.testing.assert_close(weighted, repeated)

    def test_without_terms_rows_without_labels_change_nothing(self):
        loss, batch = loss_of(), labelled_of()
        alone = loss.batch_loss(batch, generator=seeded())
        beside = loss.batch_loss(batch, unlabelled_of(), generator=seeded())
        assert torch.equal(alone, beside)
        assert loss.decoder is None

    def test_labelled_rows_have_statistics_of_their_own(self):
        loss, batch = loss_of(terms=[Nothing()]), labelled_of()
        alone = loss.batch_loss(batch, generator=seeded())
        for unlabelled in (unlabelled_of(), unlabelled_of(40, seed=30)):
            beside = loss.batch_loss(batch, unlabelled, generator=seeded())
            torch.testing.assert_close(beside, alone)

    def test_rows_are_judged_as_the_stack_predicts(self):
        stack, batch = stack_of(), labelled_of()
        stack.calibrate(unlabelled_of().x)
        found = loss_of(stack).nll(batch.x, batch.y)
        expected = F.cross_entropy(stack(batch.x), batch.y, reduction="none")
        torch.testing.assert_close(found, expected)
        with torch.no_grad():
            one = loss_of(stack).nll(batch.x[:1], batch.y[:1])
        torch.testing.assert_close(one, found[:1].detach())

    def test_matrices_alone_are_decayed(self):
        loss = loss_of(terms=[Nothing()])
        stack, decoder = loss.stack, loss.decoder
        expected = [layer.pre.weight for layer in stack] + list(decoder.weights)
        assert {id(p) for p in loss.decayed_parameters()} == {id(p) for p in expected}
        assert {id(p) for p in loss_of(stack).decayed_parameters()} == {
            id(layer.pre.weight) for layer in stack
        }


def two_passes_of(loss, rows, generator):
    return loss.two_passes(rows, noisy_pass(loss.stack, rows.x, generator))


class TestTerms:
    @pytest.mark.parametrize(
        "term", [LadderReconstruction(), Consistency(), GraphLabels()]
    )
    def test_the_weighted_mean_of_each_term_is_added(self, term):
        labelled, unlabelled = labelled_of(), unlabelled_of(graph=True)
        loss = loss_of(terms=[term], n_steps=4)
        alone = loss_of().batch_loss(labelled, generator=seeded())
        for step in range(4):
            loss.progress = (step + 1) / 4
            generator = seeded()
            found = loss.batch_loss(labelled, unlabelled, generator=generator)
            generator = seeded()
            noisy_pass(loss.stack, labelled.x, generator)
            two_passes = two_passes_of(loss, unlabelled, generator)
            share = (term(two_passes) * unlabelled.weight).mean()
            torch.testing.assert_close(found, alone + term.weight(step / 4) * share)

    def test_several_terms_add_up(self):
        labelled, unlabelled = labelled_of(), unlabelled_of(graph=True)
        terms = [LadderReconstruction(), GraphLabels()]
        alone, first, second, both = (
            loss_of(terms=some).batch_loss(labelled, unlabelled, generator=seeded())
            for some in ([], terms[:1], terms[1:], terms)
        )
        torch.testing.assert_close(both - alone, (first - alone) + (second - alone))

    def test_weights_follow_the_share_of_the_steps_that_is_over(self):
        term = Nothing()
        loss = loss_of(terms=[term], n_steps=4)
        for number in range(1, 5):
            loss.progress = number / 4
            loss.batch_loss(labelled_of(), unlabelled_of(), generator=seeded())
        assert term.seen == [0, 0.25, 0.5, 0.75]

    def test_rows_of_weight_zero_teach_nothing(self):
        labelled, unlabelled = labelled_of(), unlabelled_of(graph=True)
        unlabelled = unlabelled._replace(weight=torch.zeros(16).double())
        terms = [LadderReconstruction(), Consistency(), GraphLabels()]
        found = loss_of(terms=terms).batch_loss(
            labelled, unlabelled, generator=seeded()
        )
        alone = loss_of().batch_loss(labelled, generator=seeded())
        torch.testing.assert_close(found, alone)

    def test_evidence_is_a_noisy_and_a_clean_pass_of_the_same_rows(self):
        loss, rows = loss_of(terms=[Nothing()]), unlabelled_of(graph=True)
        found = two_passes_of(loss, rows, seeded())
        noisy, clean = noisy_pass(loss.stack, rows.x, seeded()), loss.stack.run(rows.x)
        torch.testing.assert_close(found.noisy.logits, noisy.logits)
        torch.testing.assert_close(found.clean.logits, clean.logits)
        for name in ("x", "target", "confidence"):
            assert getattr(found, name) is getattr(rows, name)
        assert found.decoder is loss.decoder


class TestTargets:
    """The clean pass is a target: what it computes is not what is to be changed."""

    def test_the_clean_pass_carries_no_gradient(self):
        found = two_passes_of(loss_of(terms=[Nothing()]), unlabelled_of(), seeded())
        for tensor in (*found.clean.z, found.clean.logits, found.x):
            assert not tensor.requires_grad
        for tensor in (*found.noisy.z, found.noisy.logits):
            assert tensor.requires_grad

    @pytest.mark.parametrize("term", [LadderReconstruction(), Consistency()])
    def test_the_gradient_is_that_of_another_networks_clean_pass(self, term):
        # A copy computes the same targets, and no gradient comes back from it.
        loss, rows = loss_of(terms=[term]), unlabelled_of()
        other = copy.deepcopy(loss.stack)
        two_passes = two_passes_of(loss, rows, seeded())
        found = gradients(term(two_passes).sum(), loss)
        apart = replace(
            two_passes,
            clean=other.run(rows.x),
            noisy=noisy_pass(loss.stack, rows.x, seeded()),
        )
        expected = gradients(term(apart).sum(), loss)
        attached = replace(
            apart,
            clean=loss.stack.run(rows.x),
            noisy=noisy_pass(loss.stack, rows.x, seeded()),
        )
        wrong = gradients(term(attached).sum(), loss)
        for name, slope in found.items():
            torch.testing.assert_close(slope, expected[name])
        first = "stack.layers.0.pre.weight"
        assert not torch.allclose(wrong[first], found[first])

    def test_reconstruction_of_the_input_teaches_every_layer(self):
        term = LadderReconstruction(input=1.0, first=0.0, rest=0.0)
        loss = loss_of(terms=[term])
        share = term(two_passes_of(loss, unlabelled_of(), seeded())).sum()
        found = gradients(share, loss.stack)
        assert all((slope != 0).any() for slope in found.values())


class TestPartlyLabelled:
    LABELS = np.array([-1, 0, 2, -1, -1, 1, -1, 0, -1, -1, 2, -1, -1])
    KNOWN = np.flatnonzero(LABELS >= 0)
    N = len(LABELS)

    def batches(self, sizes=(2, 4), n_batches=5, seed=0):
        # Every row tells its number.
        rows = Rows(
            np.arange(self.N, dtype=float)[:, None],
            0.0,
            1.0,
            torch.device("cpu"),
            torch.float64,
        )
        number = torch.arange(self.N, dtype=torch.float64)
        return PartlyLabelled(
            rows,
            self.LABELS,
            number + 0.1,
            number + 0.2,
            sizes,
            n_batches,
            seeded(seed),
        )

    @staticmethod
    def numbers(parts):
        return torch.cat([part.x[:, 0] for part in parts]).long().numpy()

    def test_a_round_has_the_stated_number_of_batches_of_full_size(self):
        batches = self.batches((2, 4), 7)
        drawn = list(batches)
        assert len(batches) == len(drawn) == 7
        for labelled, unlabelled in drawn:
            assert labelled.x.shape == (2, 1)
            assert unlabelled.x.shape == (4, 1)

    @pytest.mark.parametrize("sizes", [(2, 4), (2, 0)])
    @pytest.mark.parametrize("n_drawn", [0, 3, 5])
    def test_batches_go_on_from_a_state(self, sizes, n_drawn):
        batches, other = self.batches(sizes), self.batches(sizes, seed=1)
        stream = iter(batches)
        for _ in range(n_drawn):
            next(stream)
        target = np.eye(self.N, dtype=np.float32)
        batches.spread = SpreadLabels(target, target[0])
        other.load(batches.state())
        rest, again = list(stream), list(other)
        assert len(rest) == len(again) == 5 - n_drawn
        for one, same in zip(rest, again, strict=True):
            assert one[0].x.equal(same[0].x)
            if sizes[1]:
                assert one[1].x.equal(same[1].x)
                assert one[1].target.equal(same[1].target)

    def test_labelled_batches_hold_labelled_rows_with_their_labels_and_weights(self):
        for labelled, _ in self.batches(n_batches=20):
            numbers = self.numbers([labelled])
            assert set(numbers) <= set(self.KNOWN)
            np.testing.assert_array_equal(labelled.y, self.LABELS[numbers])
            np.testing.assert_allclose(labelled.weight, numbers + 0.2)

    def test_rows_without_labels_come_with_their_weights(self):
        for _, unlabelled in self.batches(n_batches=20):
            numbers = self.numbers([unlabelled])
            np.testing.assert_allclose(unlabelled.weight, numbers + 0.1)
            assert unlabelled.target is unlabelled.confidence is None

    # A batch larger than the rows, one that divides them, and one that does not.
    @pytest.mark.parametrize("sizes", [(2, 4), (5, 13), (1, 1), (12, 30)])
    def test_every_row_has_its_turn_once_a_permutation(self, sizes):
        batches = self.batches(sizes, n_batches=9)
        # Two rounds, so that what is left of one is seen to go before the next.
        labelled, unlabelled = zip(*batches, *batches, strict=True)
        for parts, everyone in ((labelled, self.KNOWN), (unlabelled, range(self.N))):
            numbers, n = self.numbers(parts), len(everyone)
            whole = len(numbers) // n * n
            for turn in numbers[:whole].reshape(-1, n):
                assert sorted(turn) == sorted(everyone)
            rest = numbers[whole:]
            assert len(set(rest)) == len(rest)

    def test_permutations_differ(self):
        (labelled, unlabelled), (_, again) = self.batches((5, 13), n_batches=2)
        assert self.numbers([unlabelled]).tolist() != self.numbers([again]).tolist()
        assert self.numbers([unlabelled]).tolist() != list(range(self.N))

    def test_the_same_seed_draws_the_same_batches(self):
        one, same, other = (
            [
                self.numbers(parts).tolist()
                for parts in zip(*self.batches(seed=seed), strict=True)
            ]
            for seed in (1, 1, 2)
        )
        assert one == same
        assert one != other

    def test_no_batch_of_all_rows_where_its_size_is_zero(self):
        drawn = list(self.batches((2, 0)))
        assert len(drawn) == 5
        assert all(unlabelled is None for _, unlabelled in drawn)

    def test_another_spread_takes_effect_in_the_next_batch(self):
        batches = self.batches(n_batches=2)
        first = iter(batches)
        assert next(first)[1].target is None
        number = np.arange(self.N, dtype=np.float32)
        for shift in (0.0, 100.0):
            target = number[:, None] + shift + np.array([0, 0.25, 0.5], np.float32)
            batches.spread = SpreadLabels(target, number + shift + 0.75)
            for _, unlabelled in (next(first),) if shift == 0 else batches:
                drawn = self.numbers([unlabelled])
                np.testing.assert_array_equal(unlabelled.target, target[drawn])
                np.testing.assert_array_equal(
                    unlabelled.confidence, drawn + shift + 0.75
                )

    def test_a_spread_does_not_change_what_is_drawn(self):
        plain, spread = self.batches(), self.batches()
        target = np.full((self.N, K), 1 / K, dtype=np.float32)
        spread.spread = SpreadLabels(target, np.ones(self.N, dtype=np.float32))
        for one, other in zip(plain, spread, strict=True):
            assert torch.equal(one[0].x, other[0].x)
            assert torch.equal(one[1].x, other[1].x)
