"""Neighbours by products against exact distances, and scikit-learn's where it helps."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from skae.rows.isolation import isolated
from skae.statistics import nearest as module
from skae.statistics.nearest import nearest


def rng(seed=0):
    return np.random.default_rng(seed)


def by_distance(Z, n_neighbors):
    """By distance, then by row number."""
    D = cdist(Z, Z)
    np.fill_diagonal(D, np.inf)
    return np.argsort(D, axis=1, kind="stable")[:, :n_neighbors]


@pytest.fixture
def by_products(monkeypatch):
    """Small tables too; gives the numbers of rows left to scikit-learn."""
    left = []
    others = module._others

    def counted(Z, queries, n_neighbors):
        left.append(len(queries))
        return others(Z, queries, n_neighbors)

    monkeypatch.setattr(module, "_MIN_ROWS", 0)
    # Several blocks, the last of them shorter.
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", 2**17)
    monkeypatch.setattr(module, "_others", counted)
    return left


class TestByProducts:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_samples", [1280, 1281, 1500])
    def test_neighbours_are_those_of_exact_distances(
        self, by_products, dtype, n_samples
    ):
        Z = rng().standard_normal((n_samples, 20)).astype(dtype)
        np.testing.assert_array_equal(nearest(Z, 7), by_distance(Z, 7))
        assert by_products == []

    def test_an_offset_costs_no_precision(self, by_products):
        Z = rng().standard_normal((1300, 20))
        np.testing.assert_array_equal(nearest(Z + 1e6, 7), by_distance(Z, 7))
        assert by_products == []

    def test_rows_within_rounding_are_searched_exactly(self, by_products):
        Z = rng().standard_normal((1300, 20))
        Z[::2] += 1e4
        np.testing.assert_array_equal(nearest(Z, 7), by_distance(Z, 7))
        assert by_products == [1300]

    def test_equal_distances_go_by_row_number(self, by_products):
        Z = rng().standard_normal((650, 20))
        Z = np.concatenate([Z, Z])
        found = nearest(Z, 3)
        np.testing.assert_array_equal(found, by_distance(Z, 3))
        assert by_products == []

    def test_more_duplicates_than_neighbours(self, by_products):
        Z = rng().standard_normal((1300, 20))
        Z[:30] = Z[0]
        found = nearest(Z, 7)
        assert 30 <= by_products[0] < 60
        assert (found != np.arange(1300)[:, None]).all()
        assert all(len(set(row)) == 7 for row in found)
        distances = [
            np.take_along_axis(cdist(Z, Z), index, 1)
            for index in (found, by_distance(Z, 7))
        ]
        np.testing.assert_allclose(*distances)

    def test_numbers_too_large_for_single_precision(self, by_products):
        Z = 1e30 * rng().standard_normal((1300, 20))
        np.testing.assert_array_equal(nearest(Z, 7), by_distance(Z, 7))
        assert by_products == [1300]

    @pytest.mark.usefixtures("by_products")
    def test_the_same_for_any_number_of_threads(self):
        Z = rng().standard_normal((3000, 20)).astype(np.float32)
        before, found = torch.get_num_threads(), []
        try:
            for n_threads in (1, 2, 3):
                torch.set_num_threads(n_threads)
                found.append(isolated(nearest)(Z, 7))
                assert torch.get_num_threads() == n_threads
        finally:
            torch.set_num_threads(before)
        np.testing.assert_array_equal(found[1], found[0])
        np.testing.assert_array_equal(found[2], found[0])


def test_a_large_table_is_searched_as_scikit_learn_does(monkeypatch):
    Z = rng().standard_normal((8500, 16)).astype(np.float32)
    found = nearest(Z, 10)
    monkeypatch.setattr(module, "_MIN_ROWS", len(Z) + 1)
    np.testing.assert_array_equal(found, nearest(Z, 10))


@pytest.mark.parametrize(("n_samples", "n_features"), [(40, 3), (500, 30)])
def test_small_tables(n_samples, n_features):
    Z = rng().standard_normal((n_samples, n_features))
    np.testing.assert_array_equal(nearest(Z, 5), by_distance(Z, 5))
