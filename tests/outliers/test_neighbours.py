"""Nearest training rows against distances computed one by one."""

import pytest
import torch

from skae.outliers.neighbours import Neighbours

D = 4


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def neighbours(x, tolerance=1e-4):
    return Neighbours(x, torch.tensor(tolerance))


def distance(found):
    return found.mean(1)


def to_nearest(x, rows):
    return torch.cdist(x, rows, p=1).amin(1) / x.shape[1]


class TestNeighbours:
    @pytest.mark.parametrize("n", [2, 3, 63, 64, 130])
    def test_of_few_rows_the_nearest_in_absolute_differences_is_found(self, n):
        rows, x = normal(n, D), normal(30, D, seed=1)
        found = neighbours(rows).differences(x)
        assert found.shape == x.shape
        near = distance(found)
        assert (near >= to_nearest(x, rows) - 1e-6).all()
        exact = (near - to_nearest(x, rows)).abs() < 1e-6
        assert exact.float().mean() > 0.9

    def test_of_many_rows_it_is_nearly_the_nearest(self):
        rows, x = normal(5000, D), normal(200, D, seed=1)
        near, nearest = distance(neighbours(rows).differences(x)), to_nearest(x, rows)
        assert (near >= nearest - 1e-6).all()
        assert (near - nearest).mean() < 0.03 * nearest.mean()

    @pytest.mark.parametrize("step", [0.0, 5e-5])
    def test_a_training_row_is_measured_by_the_others(self, step):
        rows = normal(40, D)
        near = distance(neighbours(rows).differences(rows + step))
        others = torch.cdist(rows, rows, p=1).fill_diagonal_(torch.inf).amin(1) / D
        assert (near >= others - 2e-4).all()
        assert ((near - others).abs() < 2e-4).float().mean() > 0.9

    def test_a_training_row_with_a_copy_is_near_it(self):
        rows = normal(40, D)
        rows[3] = rows[8]
        found = neighbours(rows)
        assert (distance(found.differences(rows[[3, 8]])) == 0).all()
        of_copy = distance(found.differences(rows[[3, 8]], most_copies=1))
        others = to_nearest(rows[[3]], rows[[n for n in range(40) if n not in (3, 8)]])
        torch.testing.assert_close(of_copy, others.expand(2))

    def test_rows_do_not_depend_on_their_batch(self):
        rows, x = normal(500, D), normal(64, D, seed=1)
        found = neighbours(rows)
        together = found.differences(x)
        assert torch.equal(found.differences(x.flip(0)).flip(0), together)

    def test_x_is_not_written_into(self):
        rows = normal(40, D)
        x = rows.clone()
        neighbours(rows).differences(x)
        assert torch.equal(x, rows)

    def test_a_copy_has_the_same_neighbours(self):
        rows, x = normal(100, D), normal(9, D, seed=1)
        found = neighbours(rows)
        assert torch.equal(found.to("cpu").differences(x), found.differences(x))
