import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance as scipy_energy_distance

from skae.statistics.energy import Modes, energy_distance, mean_distance


def by_hand(a, b):
    def mean(first, second):
        pairs = itertools.product(first, second)
        return np.mean([np.sqrt(((u - v) ** 2).sum()) for u, v in pairs])

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def samples(n, m, width, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), rng.normal(shift, 1.0, size=(m, width))


@pytest.mark.parametrize("width", [1, 2, 50, 70])
def test_energy_distance_is_the_loop_over_pairs(width):
    a, b = samples(13, 9, width, shift=0.3)
    assert energy_distance(a, b) == pytest.approx(by_hand(a, b), rel=1e-10)


def test_energy_distance_on_a_line_is_scipys_squared():
    a, b = samples(40, 30, 1, shift=0.5)
    expected = scipy_energy_distance(a[:, 0], b[:, 0]) ** 2
    assert energy_distance(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("width", [2, 70])
def test_samples_of_several_blocks_are_compared_as_a_whole(width):
    # 524 rows of a against all of b make a block.
    a, b = samples(1100, 4000, width, shift=0.1)
    assert mean_distance(a, b) == pytest.approx(cdist(a, b).mean(), rel=1e-12)
    assert mean_distance(b, b) == pytest.approx(cdist(b, b).mean(), rel=1e-12)


def test_a_sample_is_at_no_distance_from_itself():
    a, _ = samples(20, 1, 70)
    assert energy_distance(a, a) == pytest.approx(0, abs=1e-7)
    assert energy_distance(a, a[::-1].copy()) == pytest.approx(0, abs=1e-7)


def test_weights_repeat_rows():
    a, b = samples(3, 4, 2)
    repeated = energy_distance(a[[0, 1, 1, 1]], b)
    assert energy_distance(a, b, [1, 3, 0]) == pytest.approx(repeated, rel=1e-12)
    other = energy_distance(b, a, weight_b=[1, 3, 0])
    assert other == pytest.approx(repeated, rel=1e-12)


def test_far_from_the_origin_nothing_is_lost():
    a, b = samples(20, 20, 70, shift=0.3)
    near = energy_distance(a, b)
    assert energy_distance(a + 1e4, b + 1e4) == pytest.approx(near, rel=1e-6)


def test_tensors_and_arrays_agree():
    a, b = (rows.astype(np.float32) for rows in samples(30, 20, 3))
    tensors = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b)
    assert energy_distance(*tensors) == energy_distance(a, b)


def test_samples_that_cannot_be_compared_are_named():
    with pytest.raises(ValueError, match="a has 3 columns and b has 2"):
        energy_distance(np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"b must be .* got shape \(0, 3\)"):
        energy_distance(np.ones((4, 3)), np.ones((0, 3)))


def grid(n_each, modes=9, seed=0):
    corners = 5.0 * np.array(list(itertools.product(range(3), range(3))))[:modes]
    rows = np.repeat(corners, n_each, axis=0)
    return rows + 0.1 * np.random.default_rng(seed).normal(size=rows.shape)


def test_modes_are_the_cells_of_the_rows():
    modes = Modes(grid(20), 9, random_state=0)
    assert np.allclose(modes.shares, 1 / 9)
    assert modes.coverage(grid(7, seed=1), least=1.0) == 1


@pytest.mark.parametrize("found", [1, 4, 9])
def test_coverage_is_the_share_of_modes_that_get_samples(found):
    modes = Modes(grid(20), 9, random_state=0)
    assert modes.coverage(grid(10, found, seed=1)) == pytest.approx(found / 9)


def test_a_mode_with_too_few_samples_is_not_covered():
    modes = Modes(grid(20), 9, random_state=0)
    # Each is expected to get ten.
    samples = np.concatenate([grid(11, 8), grid(2)[-1:]])
    assert modes.coverage(samples) == pytest.approx(8 / 9)
    assert modes.coverage(samples, least=0.1) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_cover_no_mode(value):
    modes = Modes(grid(20), 9, random_state=0)
    lost = np.full((90, 2), value)
    assert modes.coverage(lost) == 0
    assert modes.coverage(np.concatenate([grid(10, 4), lost])) == pytest.approx(4 / 9)
