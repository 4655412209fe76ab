"""The permutation test that benchmarks/ judges generated samples with."""

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest

from skae.statistics.energy import energy_distance

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
energy_test = runpy.run_path(BENCHMARKS / "energy_test.py")["energy_test"]


def samples(n, m, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), rng.normal(shift, 1.0, size=(m, 2))


def test_the_statistic_of_the_test_is_the_energy_distance():
    # All splits of four rows: the p-value can be counted.
    a, b = samples(3, 2, shift=2.0)
    pooled = np.concatenate([a, b])
    every = [
        energy_distance(pooled[list(chosen)], np.delete(pooled, chosen, axis=0))
        for chosen in itertools.combinations(range(5), 3)
    ]
    exact = np.mean(np.array(every) >= energy_distance(a, b) - 1e-9)
    assert energy_test(a, b, 20_000, 0) == pytest.approx(exact, abs=0.02)


def test_the_test_keeps_its_level_under_the_null():
    p_values = [energy_test(*samples(30, 20, seed), 99, seed) for seed in range(400)]
    for level in (0.05, 0.2, 0.5):
        # Three standard deviations of the count.
        margin = 3 * np.sqrt(level * (1 - level) / 400)
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=margin)


def test_the_test_sees_a_shift_and_a_shape():
    a, b = samples(200, 200, shift=0.5)
    assert energy_test(a, b, 199, 0) == 1 / 200
    angle = np.random.default_rng(1).uniform(0, 2 * np.pi, 300)
    ring = np.sqrt(2) * np.c_[np.cos(angle), np.sin(angle)]
    assert energy_test(samples(300, 1)[0], ring, 199, 0) == 1 / 200


def test_equal_samples_are_never_rejected():
    a, _ = samples(30, 1)
    assert energy_test(a, a, 99, 0) == 1.0


def test_the_same_seed_gives_the_same_p_value():
    a, b = samples(30, 30)
    assert energy_test(a, b, 99, 3) == energy_test(a, b, 99, 3)
