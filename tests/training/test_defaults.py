"""What "auto" resolves to stays within what can be trained."""

import dataclasses

import pytest

from skae.training.defaults import (
    defaults_for,
    defaults_for_sequences,
    defaults_from_random,
)

SHAPES = [(2, 1), (80, 3), (600, 30), (601, 30), (20_000, 784), (10**7, 5000)]


@pytest.mark.parametrize(("n_samples", "n_features"), SHAPES)
@pytest.mark.parametrize("n_components", [1, 32])
@pytest.mark.parametrize(
    "rule", [defaults_for, defaults_from_random, defaults_for_sequences]
)
def test_defaults_are_in_range(rule, n_samples, n_features, n_components):
    found = rule(n_samples, n_features, n_components)
    assert all(width >= 1 for width in found.hidden_layer_sizes)
    assert 1 <= found.batch_size <= 1024
    assert 0 < found.lr <= 0.1
    assert found.weight_decay >= 0
    assert 0 <= found.ema_decay < 1
    assert found.n_steps >= found.n_rounds >= 1
    assert found.n_folds is None or found.n_folds >= 2
    assert found.bound is None or found.bound > 0


def test_small_tables_are_cross_validated_and_guarded():
    assert defaults_for(600, 30, 2).n_folds == 4
    assert defaults_for(600, 30, 2).always_guard
    assert defaults_for(601, 30, 2).n_folds is None


def test_steps_shrink_with_their_cost():
    narrow, wide = defaults_for(10_000, 20, 2), defaults_for(10_000, 450, 2)
    assert wide.n_steps < narrow.n_steps


def test_defaults_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        defaults_for(100, 3, 2).lr = 1.0
