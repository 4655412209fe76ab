"""Members of the outlier ensemble, their errors and the rows they trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skae.outliers.ensemble import Ensemble, Member
from skae.outliers.ensemble_training import EnsembleSettings, train
from skae.parts.dense import Dense

N, D = 80, 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def table(n=N, seed=0):
    """Correlated rows, as they look in robust units."""
    return normal(n, 2, seed=seed) @ normal(2, D, seed=99) + 0.2 * normal(n, D, seed=7)


def shuffled(n, n_pairs, seed=0):
    random = np.random.default_rng(seed)
    return [random.permutation(n) for _ in range(n_pairs)]


def settings_of(hidden_layer_sizes=(6,), **options):
    defaults = {
        "noise_level": 0.3,
        "support_fraction": 0.6,
        "n_features": D,
        "max_iter": None,
        "batch_size": 64,
        "learning_rate_init": 0.015,
        "verbose": 0,
    }
    return EnsembleSettings(hidden_layer_sizes, **{**defaults, **options})


def trained(x=None, n_members=4, n_features=D, seed=0, weight=None, **settings):
    x = table() if x is None else x
    pairs = shuffled(len(x), (n_members + 1) // 2)
    settings = settings_of(n_features=n_features, **{"max_iter": 3, **settings})
    return train(x, pairs, n_members, settings, generator(seed), weight)


def strangers(members):
    """The members, without what they recognise rows by."""
    return [replace(m, n_copies=torch.full_like(m.n_copies, 9)) for m in members]


def errors(members, x, weights=(1.0, 1.0)):
    return Ensemble(strangers(members), weights).contributions(x)


# The errors of autoencoders alone and of codebooks alone, of which members have means.
APART = [(1.0, 0.0), (0.0, 1.0)]


def joined(parts):
    """Contributions to the root of the sum of two squares, from both errors' parts."""
    sums = parts.sum(-1, keepdims=True)
    size = np.sqrt((sums**2).sum(0))
    return (parts * sums / np.maximum(size, 1e-30)).sum(0)


def hand_made(features, n_codes=7, seed=0, bias=0.0, left_out=False):
    """A member that reconstructs every row as the bias."""
    n_used = len(features)
    codec = Dense((4,), "tanh").build(n_used, 2, generator=generator(seed))
    codec.requires_grad_(False)
    codec.decoder_weights[-1].zero_()
    codec.decoder_biases[-1].fill_(bias)
    codes = normal(n_codes, n_used, seed=seed)
    return Member(
        features=torch.tensor(features),
        codec=codec,
        low=torch.linspace(-2, 0.5, n_used),
        high=torch.linspace(1, 2, n_used),
        codes=codes,
        left_out=torch.full((n_codes,), left_out),
        typical=torch.tensor([0.7, 0.3]),
        tolerance=torch.tensor(1e-3),
        signatures=normal(n_codes, 8, seed=seed),
        n_copies=torch.zeros(n_codes, dtype=torch.long),
    )


def members_by_hand():
    return [
        hand_made([0, 1, 2, 3, 4]),
        hand_made([4, 0, 2], n_codes=4, seed=1, bias=0.4),
        hand_made([3, 0, 2], n_codes=9, seed=2, bias=-9.0),
    ]


def contribution_of(member, row, bias):
    """What a hand-made member adds to both errors of every feature, by definition."""
    features = member.features.numpy()
    low, high, codes, typical = (
        getattr(member, name).double().numpy()
        for name in ("low", "high", "codes", "typical")
    )
    u = row[features]
    residual = np.abs(np.clip(bias, low, high) - u)
    differences = (codes - u) ** 2
    nearest = differences.sum(1).argmin()
    total = np.zeros((2, len(row)))
    total[0, features] = residual / len(u) / typical[0]
    total[1, features] = np.abs(codes[nearest] - u) / len(u) / typical[1]
    return total


class TestTraining:
    @pytest.mark.parametrize("n", [32, 33, N])
    def test_a_pair_shares_out_its_rows_without_overlap(self, n):
        x = table(n)
        members, in_bag = trained(x)
        known = {tuple(row): number for number, row in enumerate(x.tolist())}
        for first, second in (members[:2], members[2:]):
            held = [
                [known[tuple(c)] for c in m.codes.tolist()] for m in (first, second)
            ]
            assert not set(held[0]) & set(held[1])
            assert sorted(held[0] + held[1]) == list(range(n))
            assert 0 <= len(held[0]) - len(held[1]) <= 1
        assert (in_bag[:, 0] ^ in_bag[:, 1]).all()
        assert (in_bag[:, 2] ^ in_bag[:, 3]).all()
        assert not np.array_equal(in_bag[:, 0], in_bag[:, 2])

    def test_every_row_is_out_of_bag_for_half_of_the_members(self):
        members, in_bag = trained(n_members=6)
        recognised = Ensemble(members).recognised(table())
        assert (recognised.sum(0) == 3).all()
        assert np.array_equal(recognised.T, in_bag)
        held = torch.stack(
            [(m.codes[:, None] == table()).all(2).any(0) for m in members]
        )
        assert torch.equal(recognised, held)

    def test_the_last_pair_may_lack_its_second_member(self):
        even, odd = (trained(n_members=n)[0] for n in (4, 3))
        assert len(odd) == 3
        assert [len(m.codes) for m in odd] == [len(m.codes) for m in even[:3]]

    def test_rows_that_were_not_drawn_are_unknown(self):
        x = table()
        drawn = [np.arange(40), np.arange(20, 60)]
        members, in_bag = train(x, drawn, 4, settings_of(max_iter=1), generator())
        recognised = Ensemble(members).recognised(x)
        assert np.array_equal(recognised.T, in_bag)
        assert not recognised[:, 60:].any()
        assert not recognised[2:, :20].any()
        assert recognised[:2, :20].any(0).all()

    def test_ranges_are_those_of_trusted_rows(self):
        x = table()
        x[:4] = 50.0
        members, _ = trained(x)
        for member in members:
            assert (member.high < 40).all()
            assert (member.low >= member.codes.amin(0)).all()
            assert (member.low <= member.high).all()

    @pytest.mark.parametrize("n_features", [D, 3])
    def test_typical_errors_are_those_of_the_other_half(self, n_features):
        x = table()
        members, _ = trained(x, n_features=n_features)
        for member in members:
            in_bag = (x[:, None, member.features] == member.codes).all(2).any(1)
            raw = replace(member, typical=torch.ones(2))
            expected = Ensemble([raw]).mean_errors(x[~in_bag])
            torch.testing.assert_close(member.typical, expected)
            u = x[~in_bag][:, member.features]
            rows = u.clamp(member.low, member.high)
            rebuilt = member.codec.decode(member.codec.encode(rows))
            rebuilt = rebuilt.clamp(member.low, member.high)
            nearest = member.codes[torch.cdist(u, member.codes).argmin(1)]
            by_hand = torch.stack(
                [(rebuilt - u).abs().mean(), (nearest - u).abs().mean()]
            )
            torch.testing.assert_close(expected, by_hand, rtol=1e-4, atol=1e-4)

    def test_training_rebuilds_rows_better_than_the_median_does(self):
        x = table(300)
        pairs = shuffled(300, 2)
        members, *_ = train(x, pairs, 4, settings_of((16,)), generator())
        new = table(300, seed=3).clamp(-2, 2)
        rebuilt = Ensemble(members).expected(new)
        assert (rebuilt - new).square().mean() < 0.5 * new.square().mean()

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("n_features", [D, 3])
    def test_the_generator_alone_decides(self, n_features, weighted):
        x = table()
        weight = torch.linspace(0.5, 2, N) if weighted else None
        before = torch.random.get_rng_state()
        first, again, other = (
            errors(trained(x, seed=s, n_features=n_features, weight=weight)[0], x)
            for s in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), before)

    @pytest.mark.parametrize("n_members", [5, 6, 8])
    @pytest.mark.parametrize("n_features", [2, 3, 4])
    def test_pairs_cover_all_features(self, n_members, n_features):
        members, _ = trained(n_members=n_members, n_features=n_features)
        features = [member.features.tolist() for member in members]
        assert all(len(set(used)) == n_features for used in features)
        assert all(
            one == two for one, two in zip(features[::2], features[1::2], strict=False)
        )
        counts = np.bincount(np.concatenate(features[::2]), minlength=D)
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 1

    def test_members_that_look_at_everything_see_it_in_order(self):
        members, _ = trained()
        assert all(m.features.tolist() == list(range(D)) for m in members)


class TestLeaveOneOut:
    N = 12

    @staticmethod
    def oracle(x):
        """Errors of rows that are judged by the median and the nearest other row."""
        x = x.double().numpy()
        median = np.clip(0, x.min(0), x.max(0))
        residual = np.abs(x - median)
        square = (x[:, None] - x) ** 2
        mean = square.mean(2)
        np.fill_diagonal(mean, np.inf)
        difference = np.abs(x - x[mean.argmin(1)])
        parts = np.stack([residual / residual.mean(), difference / difference.mean()])
        return joined(parts / x.shape[1])

    @pytest.mark.parametrize("n", [2, N, 31])
    def test_a_training_row_is_not_compared_with_itself(self, n):
        x = table(n)
        members, _ = trained(x)
        np.testing.assert_allclose(errors(members, x), self.oracle(x), rtol=1e-4)

    def test_a_training_row_is_compared_with_its_copy(self):
        x = table(self.N)
        x[3] = x[8]
        members, _ = trained(x)
        np.testing.assert_allclose(
            errors(members, x), self.oracle(x), rtol=1e-4, atol=1e-7
        )

    def test_a_new_row_is_compared_with_all(self):
        x = table(self.N)
        members, _ = trained(x)
        step = 2 * members[0].tolerance
        new = x + step
        assert (torch.cdist(new, x).argmin(1) == torch.arange(self.N)).all()
        other = torch.cdist(x, x).fill_diagonal_(torch.inf).argmin(1)
        nearest = (x - x[other]).abs().mean(1)
        near, far = (errors(members, rows, (0.0, 1.0)).sum(1) for rows in (new, x))
        expected = (nearest - step) / members[0].typical[1]
        torch.testing.assert_close(far - near, expected, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("n", [2, N, 31])
    def test_no_randomness_matters(self, n):
        x = table(n)
        settings = settings_of()
        found = []
        for seed in (1, 2):
            pairs = shuffled(n, 2, seed)
            members, _ = train(x, pairs, 4, settings, generator(seed))
            new = torch.cat([x, table(9, seed=5)])
            found.append(Ensemble(members).contributions(new))
        assert torch.equal(*found)

    def test_every_member_judges_every_row(self):
        x = table(self.N)
        members, in_bag = trained(x)
        assert not Ensemble(members).recognised(x).any()
        assert not in_bag.any()

    def test_rows_that_are_all_equal_have_no_error(self):
        x = torch.full((self.N, D), 0.5)
        members, _ = trained(x)
        found = errors(members, x)
        assert found.isfinite().all()
        assert (found == 0).all()


class TestRecognition:
    """Members leave the rows that they trained on to the others."""

    @pytest.mark.parametrize("n_features", [D, 3])
    @pytest.mark.parametrize("n", [12, N])
    def test_rows_that_come_back_rounded_have_the_same_error(self, n, n_features):
        x = table(n)
        members, _ = trained(x, n_features=n_features)
        ensemble = Ensemble(members)
        for rounded in (x + 1e-5 * normal(n, D, seed=8), (1e5 * x).round() / 1e5):
            assert torch.equal(ensemble.recognised(rounded), ensemble.recognised(x))
            error = ensemble.errors(rounded)
            torch.testing.assert_close(error, ensemble.errors(x), rtol=1e-3, atol=1e-3)

    def test_a_row_beyond_the_tolerance_is_new(self):
        x = table()
        members, in_bag = trained(x)
        ensemble, tolerance = Ensemble(members), members[0].tolerance
        direction = normal(N, D, seed=8)
        direction /= direction.square().mean(1, keepdim=True).sqrt()
        near = ensemble.recognised(x + 0.5 * tolerance * direction)
        assert np.array_equal(near.T, in_bag)
        assert ensemble.recognised(x + 10 * tolerance * direction).sum() < 5

    def test_a_row_that_differs_where_a_member_does_not_look_is_new(self):
        x = table()
        members, in_bag = trained(x, n_features=3)
        moved = x.clone()
        for member, mine in zip(members, in_bag.T, strict=True):
            blind = np.setdiff1d(np.arange(D), member.features)
            moved[:, blind] = x[:, blind] + 3
            recognised = Ensemble([member]).recognised(moved)[0]
            assert not (recognised & torch.from_numpy(mine)).any()
            moved[:, blind] = x[:, blind]

    def test_the_tolerance_is_a_share_of_the_typical_distance(self):
        members, _ = trained()
        typical = np.mean([member.typical[1].item() for member in members])
        assert all(m.tolerance.item() == pytest.approx(0.05 * typical) for m in members)

    def test_coarse_features_widen_the_tolerance_within_bounds(self):
        x = table()
        pairs = shuffled(N, 2)

        def tolerances(size):
            resolution = torch.full((D,), size)
            members, _ = train(
                x, pairs, 4, settings_of(max_iter=3), generator(), None, resolution
            )
            typical = np.mean([member.typical[1].item() for member in members])
            return members[-1].tolerance.item() / typical, typical

        (fine, typical), (coarse, _), (hopeless, _) = map(tolerances, (1e-9, 0.05, 9.0))
        assert fine == pytest.approx(0.05)
        assert coarse == pytest.approx(0.05 / typical)
        assert hopeless == pytest.approx(0.15)

    def test_rows_that_occur_twice_are_not_recognised(self):
        x = table()
        x[9] = x[0] + 1e-6
        members, in_bag = trained(x)
        recognised = Ensemble(members).recognised(x)
        assert not recognised[:, [0, 9]].any()
        others = np.setdiff1d(np.arange(N), [0, 9])
        assert np.array_equal(recognised.T[others], in_bag[others])

    def test_of_two_copies_in_training_neither_is_judged_where_the_other_is(self):
        x = table()
        x[9] = x[0]
        members, in_bag = trained(x, n_members=6)
        judges = ~(in_bag[0] | in_bag[9])
        assert judges.any()
        error = Ensemble(members).errors(x[:1], torch.from_numpy(in_bag[:1].T), 1)
        by_them = [m for m, judge in zip(members, judges, strict=True) if judge]
        torch.testing.assert_close(error, errors(by_them, x[:1]).sum(1))

    def test_members_with_a_row_in_bag_do_not_judge_it(self):
        members = strangers(trained()[0])
        x, ensemble = normal(5, D, seed=4), Ensemble(members)
        in_bag = torch.zeros(4, 5, dtype=torch.bool)
        in_bag[1:, 0] = True
        in_bag[:, 1] = True
        error = ensemble.errors(x, in_bag)
        torch.testing.assert_close(error[1:], ensemble.errors(x)[1:])
        torch.testing.assert_close(error[:1], Ensemble(members[:1]).errors(x[:1]))

    def test_where_all_recognise_a_row_those_without_it_in_bag_judge(self):
        x = normal(1, D, seed=4)
        hand = [hand_made(range(D), seed=seed) for seed in range(3)]
        far = torch.tensor(1e9)
        members = [replace(member, tolerance=far) for member in hand]
        in_bag = torch.tensor([[True], [False], [False]])
        for weights in APART:
            ensemble = Ensemble(members, weights)
            apart = [Ensemble([m], weights).errors(x) for m in members]
            torch.testing.assert_close(ensemble.errors(x), sum(apart) / 3)
            torch.testing.assert_close(ensemble.errors(x, in_bag), sum(apart[1:]) / 2)

    def test_what_is_recognised_does_not_depend_on_the_batch(self):
        members, _ = trained()
        ensemble, x = Ensemble(members), table() + 1e-6
        parts = [ensemble.recognised(part) for part in x.split(7)]
        assert torch.equal(torch.cat(parts, dim=1), ensemble.recognised(x))


class TestEnsemble:
    def test_contributions_of_hand_made_members_match_their_definition(self):
        members, biases = members_by_hand(), (0.0, 0.4, -9.0)
        x = 2 * normal(11, D, seed=4)
        expected = [
            joined(
                sum(
                    contribution_of(member, row, bias) / 3
                    for member, bias in zip(members, biases, strict=True)
                )
            )
            for row in x.double().numpy()
        ]
        actual = Ensemble(members).contributions(x)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)

    def test_contributions_sum_to_multiples_of_the_typical_errors(self):
        member = hand_made(range(D))
        x = normal(11, D, seed=4)
        residual, distance = Ensemble([member]).mean_errors(x)
        for weights, expected in zip(
            [(1.5, 0.0), (0.0, 2.0)],
            [1.5 * residual / 0.7, 2 * distance / 0.3],
            strict=True,
        ):
            found = errors([member], x, weights).sum(1).mean()
            torch.testing.assert_close(found, expected)

    @pytest.mark.parametrize("n_features", [D, 3])
    def test_errors_are_the_sums_of_contributions(self, n_features):
        members, _ = trained(n_members=6, n_features=n_features)
        x = torch.cat([table(), 30 * table(20, seed=3)])
        ensemble = Ensemble(members)
        expected = ensemble.contributions(x).sum(1)
        torch.testing.assert_close(ensemble.errors(x), expected)

    def test_expected_rows_are_the_mean_of_those_who_look(self):
        members = members_by_hand()[1:]
        x = normal(4, D, seed=4)
        first, second = (
            torch.full((3,), bias).clamp(member.low, member.high)
            for bias, member in zip((0.4, -9.0), members, strict=True)
        )
        row = torch.zeros(D)
        row[4], row[3] = first[0], second[0]
        row[0] = (first[1] + second[1]) / 2
        row[2] = (first[2] + second[2]) / 2
        actual = Ensemble(members).expected(x)
        torch.testing.assert_close(actual, row.expand(4, D))

    @pytest.mark.parametrize("n_features", [D, 3])
    def test_results_do_not_depend_on_how_members_are_grouped(self, n_features):
        members, _ = trained(n_members=6, n_features=n_features)
        x = torch.cat([table(), 30 * table(20, seed=3)])
        together, apart = Ensemble(members), Ensemble(members, max_entries=1)
        assert (len(together._groups), len(apart._groups)) == (1, 6)
        for name in ("errors", "contributions", "expected"):
            one, other = (getattr(e, name)(x) for e in (together, apart))
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.mean_errors(x), apart.mean_errors(x))

    def test_codebooks_of_several_sizes_stand_side_by_side(self):
        members = [
            hand_made(range(D), n_codes=n, seed=n, left_out=n == 3) for n in (3, 8, 5)
        ]
        x = torch.cat([normal(6, D, seed=4), *(m.codes for m in members)])
        for weights in APART:
            expected = sum(errors([member], x, weights) for member in members) / 3
            torch.testing.assert_close(errors(members, x, weights), expected)

    def test_members_of_several_widths_stand_side_by_side(self):
        narrow, wide = trained(n_members=2)[0], trained(n_members=2, seed=1)[0]
        codec = Dense((3,), "tanh").build(D, 2, generator=generator())
        wide = [replace(m, codec=codec.requires_grad_(False)) for m in wide]
        members = [narrow[0], *wide, narrow[1]]
        x = table()
        for weights in APART:
            expected = sum(errors([member], x, weights) for member in members) / 4
            torch.testing.assert_close(errors(members, x, weights), expected)

    def test_the_error_is_the_root_of_the_sum_of_both_squares(self):
        members, x = members_by_hand(), normal(11, D, seed=4)
        of_codecs, of_codes = (Ensemble(members, w).errors(x) for w in APART)
        torch.testing.assert_close(
            Ensemble(members, (3.0, 4.0)).errors(x),
            (9 * of_codecs**2 + 16 * of_codes**2).sqrt(),
        )

    def test_rows_are_not_written_into(self):
        members, _ = trained()
        x = table()
        errors(members, x)
        Ensemble(members).expected(x)
        assert torch.equal(x, table())

    @pytest.mark.parametrize("n", [20, N])
    @pytest.mark.parametrize("n_features", [D, 3])
    def test_the_error_never_falls_on_the_way_out(self, n, n_features):
        x = table(n)
        members, _ = trained(x, n_features=n_features)
        # All coordinates leave the range, about 3, before the tenfold.
        direction = normal(60, D, seed=5).sign() * (0.7 + normal(60, D, seed=6).abs())
        factors = torch.logspace(1, 8, 29)
        on_the_way = torch.stack(
            [errors(members, factor * direction).sum(1) for factor in factors]
        )
        assert on_the_way.isfinite().all()
        assert (on_the_way.diff(dim=0) >= 0).all()

    @pytest.mark.parametrize("n_features", [D, 3])
    def test_tenfold_distance_is_a_larger_error_in_every_direction(self, n_features):
        members, _ = trained(n_features=n_features, n_members=6)
        direction = torch.cat([normal(200, D, seed=5), torch.eye(D), -torch.eye(D)])
        direction /= direction.norm(dim=1, keepdim=True)
        on_the_way = torch.stack(
            [errors(members, 10.0**p * direction).sum(1) for p in range(1, 9)]
        )
        assert (on_the_way.diff(dim=0) > 0).all()


class TestMember:
    def test_a_copy_is_equal_and_independent(self):
        (member, *_), _ = trained()
        x = table()
        copied = member.to("cpu")
        before = errors([member], x)
        assert torch.equal(errors([copied], x), before)
        with torch.no_grad():
            for name in ("low", "high", "codes", "typical"):
                getattr(copied, name).add_(1)
            copied.features.zero_()
            copied.left_out.fill_(True)
            for parameter in copied.codec.parameters():
                parameter.add_(1)
        assert torch.equal(errors([member], x), before)
