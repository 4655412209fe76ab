"""Moments of parts, merged into those of the whole."""

import numpy as np
import pytest

from skae.rows.summary import merged, summary_of, total_of


def table(n_rows=600, n_features=7):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n_rows, n_features)) @ rng.standard_normal((7, 7))


def parts_of(X, weight=None, size=97):
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        w = None if weight is None else weight[rows]
        yield summary_of(X[rows], w, first=start, covariance=True)


def exact(X, weight=None):
    """Weight of the entries, mean and scatter, where NaN counts as the mean."""
    w = np.ones(len(X)) if weight is None else weight
    there = ~np.isnan(X)
    present = w @ there
    mean = w @ np.where(there, X, 0) / np.maximum(present, 1e-300)
    centred = np.where(there, X - mean, 0)
    return present, mean, (centred * w[:, None]).T @ centred


class TestSummary:
    @pytest.mark.parametrize("has_gaps", [False, True])
    @pytest.mark.parametrize("is_weighted", [False, True])
    def test_parts_make_the_whole(self, has_gaps, is_weighted):
        X, rng = table(), np.random.default_rng(1)
        if has_gaps:
            X[rng.random(X.shape) < 0.2] = np.nan
            X[:, 3] = np.nan
        weight = rng.uniform(0.1, 3, len(X)) if is_weighted else None
        present, mean, scatter = exact(X, weight)
        total = total_of(parts_of(X, weight))
        assert total.n_rows == len(X)
        np.testing.assert_allclose(total.present, present)
        np.testing.assert_allclose(total.mean, mean, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(total.squares, scatter.diagonal(), rtol=1e-12)
        np.testing.assert_allclose(total.scatter, scatter, rtol=1e-10, atol=1e-10)
        np.testing.assert_array_equal(total.low, np.fmin.reduce(X))
        np.testing.assert_array_equal(total.high, np.fmax.reduce(X))

    @pytest.mark.parametrize("has_gaps", [False, True])
    def test_any_tree_gives_the_same(self, has_gaps):
        X = table()
        if has_gaps:
            X[::3, 1] = np.nan
        one = total_of(parts_of(X))
        a, b, c, *rest = parts_of(X)
        tree = merged(merged(a, b), merged(c, total_of(rest)))
        np.testing.assert_allclose(tree.mean, one.mean, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(tree.scatter, one.scatter, rtol=1e-12, atol=1e-11)
        assert tree.first_missing == one.first_missing

    @pytest.mark.parametrize("order", ["sorted", "drifting"])
    def test_offsets_and_order_cost_no_digits(self, order):
        X = table()
        X = X[X[:, 0].argsort()]
        if order == "drifting":
            X += np.linspace(0, 1e4, len(X))[:, None]
        shifted = X + 2.0**30
        _, mean, scatter = exact(shifted.astype(np.longdouble))
        total = total_of(parts_of(shifted))
        np.testing.assert_allclose(total.mean, mean.astype(float), rtol=1e-15)
        np.testing.assert_allclose(
            total.scatter, scatter.astype(float), rtol=1e-9, atol=1e-9 * scatter.max()
        )

    @pytest.mark.parametrize("factor", [1e-170, 1e140])
    def test_squares_of_extreme_rows_are_finite(self, factor):
        X = table()
        X[:97] = 0
        total = total_of(parts_of(X * factor))
        expected = exact(X)[2] * (factor / total.unit) ** 2
        np.testing.assert_allclose(total.scatter, expected, rtol=1e-10)

    def test_the_first_gap_is_named(self):
        X = table()
        X[250:, 2] = X[410, 0] = np.nan
        assert total_of(parts_of(X)).first_missing == (250, 2)

    def test_grey_entries_are_counted_within_the_unit_interval(self):
        X = np.random.default_rng(0).random((300, 7))
        expected = np.count_nonzero((X > 0.05) & (X < 0.95))
        assert total_of(parts_of(X)).n_grey == expected
        X[200, 0] = 1.5
        assert total_of(parts_of(X)).n_grey is None

    def test_no_parts_are_refused(self):
        with pytest.raises(ValueError, match="no rows"):
            total_of([])
