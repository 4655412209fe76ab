"""Robust units and trusted rows, against plain statistics and brute force."""

import numpy as np
import pytest
import torch

from skae.outliers.robust_units import RobustUnits, nearest_other, trusted_rows


def random(seed=0):
    return np.random.default_rng(seed)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def table(n=500, d=3, seed=0):
    return random(seed).standard_normal((n, d)) * [1.0, 5.0, 0.1] + [0.0, 100.0, -3.0]


class TestRobustUnits:
    def test_gaussian_rows_have_their_mean_and_standard_deviation(self):
        units = RobustUnits.of(table(20_000))
        np.testing.assert_allclose(units.scale, [1.0, 5.0, 0.1], rtol=0.04)
        error = (units.center - [0.0, 100.0, -3.0]) / units.scale
        np.testing.assert_allclose(error, 0, atol=0.04)

    def test_rows_near_the_centre_are_standardised(self):
        X = table()
        units = RobustUnits.of(X)
        z = (X - units.center) / units.scale
        u = units.to_model(X)
        np.testing.assert_allclose(u, 3 * np.arcsinh(z / 3), atol=1e-6)
        near = np.abs(z) < 0.1
        np.testing.assert_allclose(u[near], z[near], rtol=1e-3, atol=1e-6)

    def test_far_rows_are_logarithmic(self):
        units = RobustUnits(np.zeros(1), np.ones(1))
        powers = np.arange(4, 20)
        u = units.to_model(10.0 ** powers[:, None]).double().numpy()
        np.testing.assert_allclose(np.diff(u[:, 0]), 3 * np.log(10), rtol=1e-5)

    def test_units_are_monotone(self):
        units = RobustUnits(np.array([0.5]), np.array([2.0]))
        size = np.logspace(-6, 300, 2000)
        X = np.r_[-size[::-1], size][:, None]
        u = units.to_model(X).numpy()
        assert (np.diff(u, axis=0) >= 0).all()
        assert (np.diff(u[np.abs(X) < 1e28]) >= 0).all()

    def test_to_x_inverts_to_model(self):
        X = table()
        X[:50] *= np.logspace(0, 20, 50)[:, None]
        units = RobustUnits.of(table())
        again = units.to_x(units.to_model(X).double().numpy())
        z, expected = ((one - units.center) / units.scale for one in (again, X))
        np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-6)

    def test_rows_are_contiguous_and_of_single_precision(self):
        u = RobustUnits.of(table()).to_model(np.asfortranarray(table()))
        assert u.is_contiguous()
        assert u.dtype == torch.float32

    def test_a_row_does_not_depend_on_the_rows_it_came_with(self):
        X = table(203)
        units = RobustUnits.of(X)
        whole = units.to_model(X)
        for rows in (slice(0, 1), slice(5, 7), slice(1, 18), slice(9, 203, 5)):
            assert torch.equal(units.to_model(X[rows]), whole[rows])

    def test_zero_has_no_sign(self):
        units = RobustUnits.of(np.array([[-1.0], [0.0], [1.0]]))
        zeros = units.to_model(np.array([[0.0], [-0.0], [-1e-300], [1e-300]]))
        assert (zeros.numpy().view(np.uint32) == 0).all()

    @pytest.mark.parametrize(
        "column",
        [
            np.zeros(101),
            np.full(101, 0.1),
            np.full(101, 1e300),
            np.full(101, -1e-300),
            np.full(101, 5e-324),
            np.r_[np.zeros(100), 1.0],
            np.r_[np.full(100, 0.1), 0.7],
            np.r_[np.zeros(100), 1e300],
            1e300 * random().standard_normal(101),
            1e-300 * random().standard_normal(101),
            np.r_[random().standard_normal(100), 1e300],
        ],
    )
    def test_strange_columns_stay_finite(self, column):
        X = column[:, None]
        units = RobustUnits.of(X)
        assert np.isfinite(units.center).all()
        assert np.isfinite(units.scale).all()
        assert (units.scale > 0).all()
        u = units.to_model(np.r_[X, [[1e300], [-1e300], [0.0]]])
        assert u.isfinite().all()
        assert u.square().sum().isfinite()

    @pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e300])
    def test_a_constant_column_has_unit_scale(self, value):
        units = RobustUnits.of(np.full((37, 1), value))
        assert units.center == value
        assert units.scale == 1
        assert (units.to_model(np.full((4, 1), value)) == 0).all()

    def test_a_spike_is_measured_by_the_standard_deviation(self):
        X = np.r_[np.zeros(99), 1.0][:, None]
        units = RobustUnits.of(X)
        np.testing.assert_allclose(units.scale, X.std())

    @pytest.mark.parametrize("unit", [1.0, 1e6, 1e300])
    def test_where_rows_hardly_vary_new_values_count_as_the_only_other_one(self, unit):
        rare, constant = np.zeros((2, 400, 1))
        rare[7] = unit
        of_rare, of_constant = map(RobustUnits.of, (rare, constant))
        u = of_rare.to_model(rare)[7].item()
        assert u == pytest.approx(3 * np.arcsinh(400**0.5 / 3), rel=1e-3)
        new = np.array([[1e4 * unit], [-1e4 * unit]])
        for units in (of_rare, of_constant):
            found = units.to_model(new).flatten().tolist()
            assert found == pytest.approx([u, -u], rel=1e-3)

    def test_resolution_is_what_rounding_to_six_digits_changes_at_most(self):
        X = 1e4 + random().standard_normal((1000, 3)) * [1.0, 10.0, 0.1]
        units = RobustUnits.of(X)
        digits = np.vectorize(lambda value: float(f"{value:.6g}"))(X)
        moved = np.abs(digits - X).max(axis=0) / units.scale
        np.testing.assert_allclose(units.resolution(), moved, rtol=0.05)

    @pytest.mark.parametrize("wild", [30.0, 100.0, 1e6, 1e300])
    def test_a_few_wild_values_do_not_move_the_units(self, wild):
        X = random().standard_normal((1000, 1))
        units = RobustUnits.of(X)
        X[:3] = wild
        disturbed = RobustUnits.of(X)
        np.testing.assert_allclose(disturbed.scale, units.scale, rtol=0.02)
        np.testing.assert_allclose(disturbed.center, units.center, atol=0.02)

    def test_missing_values_leave_the_units_as_they_are(self):
        X = random().standard_normal((2000, 2))
        holed = X.copy()
        holed[random(1).random(2000) < 0.3, 0] = np.nan
        units, of_holed = RobustUnits.of(X), RobustUnits.of(holed)
        np.testing.assert_allclose(of_holed.scale, units.scale, rtol=0.06)
        np.testing.assert_allclose(of_holed.center, units.center, atol=0.06)
        assert of_holed.scale[1] == units.scale[1]
        assert (of_holed.to_model(holed)[np.isnan(holed)] == 0).all()


class TestNearestOther:
    @pytest.mark.parametrize("d", [1, 4])
    @pytest.mark.parametrize("n_codes", [2, 5])
    def test_distances_match_brute_force(self, d, n_codes):
        x = random().standard_normal((30, d)).astype(np.float32)
        codebooks = np.stack([random(s).permutation(30)[:n_codes] for s in range(7)])
        expected = np.array(
            [
                [
                    min(
                        np.sqrt(np.mean((x[row] - x[code]) ** 2))
                        for code in codebook
                        if code != row
                    )
                    for codebook in codebooks
                ]
                for row in range(30)
            ]
        )
        actual = nearest_other(torch.from_numpy(x), torch.from_numpy(codebooks))
        np.testing.assert_allclose(actual, expected, atol=2e-3)

    def test_a_copy_is_another_row(self):
        x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [5.0, 2.0]])
        distance = nearest_other(x, torch.tensor([[0, 1], [0, 2]]))
        expected = torch.tensor([[0.0, 8**0.5], [0.0, 0.0], [8**0.5, 8**0.5]])
        torch.testing.assert_close(distance, expected, rtol=0, atol=2e-3)


class TestTrustedRows:
    @staticmethod
    def contaminated(n=300, n_far=30, seed=0):
        bulk = random(seed).standard_normal((n, 4))
        far = 8 + 0.1 * random(seed + 1).standard_normal((n_far, 4))
        return torch.from_numpy(np.r_[bulk, far]).float()

    @pytest.mark.parametrize("fraction", [0.01, 0.5, 0.6, 1.0])
    @pytest.mark.parametrize("n", [2, 3, 10, 101])
    def test_the_share_that_is_asked_for_is_trusted(self, n, fraction):
        trusted = trusted_rows(self.contaminated(n, 0), fraction, generator())
        assert trusted.dtype == bool
        assert trusted.shape == (n,)
        assert trusted.sum() == max(2, round(fraction * n))

    @pytest.mark.parametrize("seed", range(10))
    def test_a_small_far_cluster_is_not_trusted(self, seed):
        trusted = trusted_rows(self.contaminated(seed=seed), 0.6, generator(seed))
        assert not trusted[300:].any()

    def test_trusted_rows_lie_deeper_than_the_others(self):
        x = self.contaminated(n_far=0)
        trusted = trusted_rows(x, 0.6, generator())
        radius = x.norm(dim=1).numpy()
        assert np.median(radius[trusted]) < np.median(radius[~trusted]) - 0.5

    def test_copies_do_not_break_the_count(self):
        assert trusted_rows(torch.zeros(40, 3), 0.5, generator()).sum() == 20

    def test_the_generator_alone_decides(self):
        x = self.contaminated()
        before = torch.random.get_rng_state()
        first, again, other = (trusted_rows(x, 0.6, generator(s)) for s in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), before)
