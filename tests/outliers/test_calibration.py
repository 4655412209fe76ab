"""Ranks among calibration scores, against their definition and by simulation."""

import numpy as np
import pytest

from skae.outliers.calibration import Calibration, extreme_outliers

RATES = (0.01, 0.05, 0.1, 0.15, 0.3, 0.35, 0.5, 0.7, 0.95)


def random(seed=0):
    return np.random.default_rng(seed)


def between(scores):
    """The scores, and values below, between and above them."""
    known = np.unique(scores)
    middle = (known[1:] + known[:-1]) / 2
    return np.r_[known[0] - 1, known, middle, known[-1] + 1]


def with_ties(n, seed):
    scores = random(seed).standard_normal(n)
    return scores.round(1) if seed % 2 else scores


class TestPValues:
    @pytest.mark.parametrize("seed", range(6))
    def test_p_is_the_share_of_rows_that_score_no_higher(self, seed):
        scores = with_ties(37, seed)
        new = between(scores)
        expected = [(np.sum(scores <= one) + 1) / (len(scores) + 1) for one in new]
        np.testing.assert_allclose(
            Calibration(scores).p_values(new), expected, rtol=1e-14
        )

    @pytest.mark.parametrize("seed", range(6))
    def test_a_weight_stands_for_repeated_rows(self, seed):
        scores = with_ties(25, seed)
        weight = random(seed).integers(1, 5, size=25)
        new = between(scores)
        weighted = Calibration(scores, weight).p_values(new)
        repeated = Calibration(np.repeat(scores, weight)).p_values(new)
        np.testing.assert_allclose(weighted, repeated, rtol=1e-14)

    def test_the_order_of_the_rows_does_not_matter(self):
        scores, weight = random().standard_normal(25), random(1).random(25)
        order = random(2).permutation(25)
        one = Calibration(scores, weight)
        other = Calibration(scores[order], weight[order])
        assert len(one.scores) == len(other.scores) == 25
        assert np.array_equal(one.scores, other.scores)
        np.testing.assert_allclose(
            one.p_values(scores), other.p_values(scores), rtol=1e-14
        )

    def test_p_lies_between_one_row_and_all(self):
        p = Calibration(random().standard_normal(19)).p_values([-np.inf, np.inf])
        assert p.tolist() == [1 / 20, 1]

    @pytest.mark.parametrize("n", [9, 19, 40])
    def test_p_is_small_no_more_often_than_it_says(self, n):
        repetitions = 4000
        drawn = random(n).standard_normal((repetitions, n + 1))
        p = np.array([Calibration(row[1:]).p_values(row[:1])[0] for row in drawn])
        for rate in RATES:
            exact = np.floor(rate * (n + 1) + 1e-9) / (n + 1)
            error = 4 * np.sqrt(max(exact, 1 / repetitions) / repetitions)
            assert abs(np.mean(p <= rate) - exact) < error
            assert exact <= rate + 1e-12


class TestThreshold:
    @pytest.mark.parametrize("seed", range(60))
    def test_below_the_threshold_is_p_of_at_most_the_rate(self, seed):
        n = int(random(seed).integers(2, 120))
        scores = with_ties(n, seed)
        calibration = Calibration(scores)
        new = between(scores)
        p = calibration.p_values(new)
        whole = np.arange(1, n + 1) / (n + 1)
        drawn = random(seed).uniform(1 / (n + 1), 1 - 1e-9, size=20)
        for rate in (*RATES, *whole, *drawn):
            if rate * (n + 1) < 1 - 1e-9:
                continue
            below = new < calibration.threshold(rate)
            assert np.array_equal(below, p <= rate), rate

    @pytest.mark.parametrize("rate", RATES[1:])
    @pytest.mark.parametrize("n", [19, 99, 999])
    def test_rates_that_mean_a_whole_number_of_rows(self, rate, n):
        scores = np.sort(random().standard_normal(n))
        rank = round(rate * (n + 1))
        assert rank == pytest.approx(rate * (n + 1))
        assert Calibration(scores).threshold(rate) == scores[rank - 1]

    @pytest.mark.parametrize("n", [1, 2, 7, 18])
    def test_too_few_rows_flag_what_is_lower_than_all(self, n):
        scores = random().standard_normal(n)
        assert Calibration(scores).threshold(0.05) == scores.min()

    @pytest.mark.parametrize("seed", range(6))
    def test_a_weight_stands_for_repeated_rows(self, seed):
        scores = with_ties(25, seed)
        weight = random(seed).integers(1, 5, size=25)
        weighted = Calibration(scores, weight)
        repeated = Calibration(np.repeat(scores, weight))
        for rate in np.linspace(0.02, 0.98, 49):
            assert weighted.threshold(rate) == repeated.threshold(rate)

    def test_a_higher_rate_has_no_lower_threshold(self):
        calibration = Calibration(random().standard_normal(50))
        found = [calibration.threshold(rate) for rate in np.linspace(0.01, 0.99, 99)]
        assert (np.diff(found) >= 0).all()

    @pytest.mark.parametrize("rate", RATES)
    def test_equal_scores_flag_only_what_is_lower(self, rate):
        calibration = Calibration(np.full(30, -2.0))
        assert calibration.threshold(rate) == -2.0


class TestBeyondDoubt:
    @staticmethod
    def scores(n=2000, spread=0.3, seed=0):
        return -2 * np.exp(spread * random(seed).standard_normal(n))

    def far_cluster(self, n=20):
        return np.r_[self.scores(), 30 * self.scores(n, seed=1)]

    def test_a_far_cluster_is_left_out_and_nothing_else(self):
        far = np.r_[np.zeros(2000, dtype=bool), np.ones(20, dtype=bool)]
        assert np.array_equal(extreme_outliers(self.far_cluster()), far)

    def test_of_a_large_far_cluster_the_lowest_are_left_out(self):
        scores = self.far_cluster(60)
        lowest = scores <= np.sort(scores)[int(0.015 * len(scores)) - 1]
        assert np.array_equal(extreme_outliers(scores), lowest)

    @pytest.mark.parametrize("unit", [1.0, 1e-9, 1e6])
    @pytest.mark.parametrize("shift", [0.0, 2.0, 1e3])
    def test_neither_unit_nor_sign_of_the_scores_matters(self, unit, shift):
        scores = self.far_cluster()
        moved = unit * (scores + shift)
        assert np.array_equal(extreme_outliers(moved), extreme_outliers(scores))

    @pytest.mark.parametrize(
        "tail",
        [
            lambda r: r.standard_normal(100_000),
            lambda r: -r.exponential(size=100_000),
            lambda r: -np.exp(2 * r.standard_normal(100_000)),
            lambda r: -(r.standard_t(3, size=100_000) ** 2),
            lambda r: -np.abs(r.standard_cauchy(100_000)),
        ],
    )
    def test_no_tail_of_one_law_is_left_out(self, tail):
        assert extreme_outliers(tail(random())).mean() < 1e-3

    @pytest.mark.parametrize("seed", range(20))
    @pytest.mark.parametrize("rare", [0.02, 0.1, 0.3, 0.45])
    def test_at_most_a_few_of_two_values_or_modes_are_left_out(self, rare, seed):
        is_rare = random(seed).random(1000) < rare
        exact = np.where(is_rare, -50.0, 0.0)
        noisy = exact + 1e-9 * random(seed).standard_normal(1000)
        for scores in (exact, noisy, exact + 7):
            assert extreme_outliers(scores).mean() <= 0.015

    def test_equal_scores_are_left_out_together(self):
        body = self.scores(1000)
        few, many = (extreme_outliers(np.r_[body, np.full(n, -1e3)]) for n in (15, 16))
        assert few.sum() == 15
        assert many.sum() == 0

    def test_a_weight_stands_for_repeated_rows(self):
        scores = np.r_[self.scores(200), -100.0, -101.0]
        weight = np.r_[np.full(200, 3), 2, 9]
        repeated = extreme_outliers(np.repeat(scores, weight))
        expected = np.repeat(extreme_outliers(scores, weight), weight)
        assert np.array_equal(expected, repeated)
        assert extreme_outliers(scores).sum() == 2
        assert extreme_outliers(scores, weight).nonzero()[0].tolist() == [201]

    def test_of_few_rows_a_quarter_may_be_left_out(self):
        scores = np.r_[-1.35, -0.96, -1.14, -0.61, -0.8, -0.99, -4.26, -5.9]
        assert np.array_equal(extreme_outliers(scores), scores < -4)
        assert np.array_equal(extreme_outliers(1e6 * scores + 7), scores < -4)
        assert not extreme_outliers(np.r_[scores[:5], scores[-2:]])[:5].any()

    @pytest.mark.parametrize("n", [5, 12, 18])
    def test_of_few_gaussian_scores_hardly_any_is_left_out(self, n):
        left_out = [
            extreme_outliers(random(seed).standard_normal(n)).mean()
            for seed in range(400)
        ]
        assert np.mean(left_out) < 0.05

    @pytest.mark.parametrize("value", [0.0, -2.0, 5.0])
    def test_none_of_equal_scores_is_left_out(self, value):
        for n in (5, 200):
            flagged = extreme_outliers(np.full(n, value))
            assert flagged.dtype == bool
            assert not flagged.any()

    def test_what_is_left_out_is_counted(self):
        calibration = Calibration.robust(self.far_cluster())
        assert calibration.n_left_out == 20
        assert len(calibration.scores) == 2000
        assert Calibration(self.far_cluster()).n_left_out == 0
