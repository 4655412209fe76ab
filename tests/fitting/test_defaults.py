"""What "auto" resolves to stays within what can be trained."""

import dataclasses

import pytest

from skae.fitting.defaults import (
    defaults_for,
    defaults_for_sequences,
    defaults_from_random,
    length_of,
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


def test_small_tables_are_cross_validated_and_bounded():
    assert defaults_for(600, 30, 2).n_folds == 4
    assert defaults_for(600, 30, 2).bound is not None
    assert defaults_for(601, 30, 2).n_folds is None


def test_steps_shrink_with_their_cost():
    narrow, wide = defaults_for(10_000, 20, 2), defaults_for(10_000, 450, 2)
    assert wide.n_steps < narrow.n_steps


def test_more_rows_are_trained_on_for_longer_up_to_a_limit():
    few, many, most = (defaults_for(n, 20, 2) for n in (20_000, 80_000, 10**7))
    assert (few.n_steps, many.n_steps, most.n_steps) == (1500, 3000, 6000)
    # As many evaluations, further apart.
    assert few.n_rounds == most.n_rounds


class TestLength:
    def test_the_default_is_the_nearest_number_of_epochs(self):
        found = length_of(1000, 64, 400, 20, None)
        assert (found.n_epochs, found.steps_per_epoch) == (27, 15)
        assert found.n_steps == 405
        assert found.n_rounds == 20

    @pytest.mark.parametrize("n_train", [2, 63, 64, 900, 10**6])
    def test_as_many_epochs_as_the_default_are_the_default(self, n_train):
        batch = min(64, n_train)
        default = length_of(n_train, batch, 400, 20, None)
        assert default.n_epochs >= 1
        assert length_of(n_train, batch, 400, 20, default.n_epochs) == default

    def test_evaluations_are_as_far_apart_in_a_long_training(self):
        assert length_of(1000, 100, 400, 20, 400).n_rounds == 200

    @pytest.mark.parametrize(("max_iter", "n_rounds"), [(1, 1), (7, 7), (12, 10)])
    def test_a_short_training_is_evaluated_ten_times_or_each_epoch(
        self, max_iter, n_rounds
    ):
        assert length_of(100, 100, 4000, 20, max_iter).n_rounds == n_rounds

    def test_there_are_no_more_evaluations_than_steps(self):
        assert length_of(100, 100, 20, 40, 3).n_rounds == 3


def test_defaults_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        defaults_for(100, 3, 2).lr = 1.0


def test_trainings_beside_pca_grow_with_the_rows_beyond_those_that_are_seen_often():
    few, many, most = (defaults_for(n, 20, 5) for n in (40_000, 80_000, 10**6))
    assert [many.n_steps, most.n_steps] == [2 * few.n_steps, 4 * few.n_steps]
    assert [few.is_long, many.is_long, most.is_long] == [False, True, True]
