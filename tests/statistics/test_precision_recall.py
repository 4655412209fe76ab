"""Precision and recall against balls counted one by one."""

import numpy as np
import pytest

from skae.statistics.precision_recall import precision_recall


def counted(rows, others, k):
    inside = 0
    for other in others:
        for i, row in enumerate(rows):
            far = sorted(np.linalg.norm(np.delete(rows, i, 0) - row, axis=1))[k - 1]
            if np.linalg.norm(other - row) <= far:
                inside += 1
                break
    return inside / len(others)


def test_they_are_shares_of_rows_in_the_balls_of_the_others():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(40, 2)), 0.5 + rng.normal(size=(30, 2))
    for k in (1, 3):
        expected = counted(real, made, k), counted(made, real, k)
        assert precision_recall(real, made, k) == pytest.approx(expected)


def test_one_mode_of_two_is_precise_and_forgets_the_other():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(2000, 2)) + 20 * (np.arange(2000) % 2)[:, None]
    precision, recall = precision_recall(real, rng.normal(size=(1500, 2)))
    assert precision > 0.97
    assert recall == pytest.approx(0.5, abs=0.05)
    far = precision_recall(real, 100 + rng.normal(size=(1500, 2)))
    assert far == (0.0, 0.0)


def test_samples_that_are_the_rows_have_both():
    rows = np.random.default_rng(2).normal(size=(50, 3))
    assert precision_recall(rows, rows[::-1]) == (1.0, 1.0)


def test_too_few_rows_and_other_widths_are_named():
    rows = np.zeros((5, 2))
    with pytest.raises(ValueError, match=r"made must be .* more than n_neighbors=3"):
        precision_recall(rows, rows[:3])
    with pytest.raises(ValueError, match="real has 2 columns and made has 1"):
        precision_recall(rows, rows[:, :1])
