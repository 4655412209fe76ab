"""Seeded batches."""

import numpy as np
import pytest
import torch

from skae.rows.chunks import Rows
from skae.training import batches as module
from skae.training.batches import Batches

CPU = torch.device("cpu")


def table(n_samples=20, n_features=3):
    return np.random.default_rng(0).standard_normal((n_samples, n_features))


def numbered(n_samples):
    """Rows that hold their own number."""
    X = np.arange(n_samples, dtype=float)[:, None]
    return Rows(X, np.zeros(1), 1.0, CPU)


def drawn(batch_size, n_batches, *, n_samples=10, seed=0, index=None, rounds=1):
    rows = numbered(n_samples)
    index = np.arange(n_samples) if index is None else index
    generator = torch.Generator().manual_seed(seed)
    batches = Batches(rows, index, batch_size, n_batches, generator)
    return [x.flatten().int().tolist() for _ in range(rounds) for x, weight in batches]


class TestBatches:
    def test_every_row_comes_once_a_permutation(self):
        found = drawn(5, 6)
        for start in (0, 2, 4):
            both = found[start] + found[start + 1]
            assert sorted(both) == list(range(10))
        assert found[0] + found[1] != found[2] + found[3]

    def test_batches_have_full_size(self):
        found = drawn(4, 7)
        assert [len(batch) for batch in found] == [4] * 7
        assert all(len(set(found[i] + found[i + 1])) == 8 for i in (0, 2, 4))

    def test_a_batch_is_at_most_all_rows(self):
        assert sorted(drawn(99, 1)[0]) == list(range(10))

    def test_only_training_rows_are_drawn(self):
        found = drawn(2, 9, index=np.array([1, 4, 7, 8]))
        assert set(np.ravel(found)) == {1, 4, 7, 8}

    def test_the_seed_decides_the_order(self):
        assert drawn(3, 9) == drawn(3, 9)
        assert drawn(3, 9) != drawn(3, 9, seed=1)

    def test_rounds_continue_one_another(self):
        assert drawn(3, 2, rounds=4) == drawn(3, 8)

    def test_the_block_size_changes_nothing(self, monkeypatch):
        expected = drawn(3, 9)
        monkeypatch.setattr(module, "_BLOCK_BYTES", 1)
        assert drawn(3, 9) == expected

    @pytest.mark.parametrize("lead", [(), (2,)])
    def test_weights_stay_with_their_rows(self, lead):
        weight = torch.arange(10.0).expand(*lead, 10)
        generator = torch.Generator().manual_seed(0)
        batches = Batches(numbered(10), np.arange(10), 4, 5, generator, weight)
        assert len(batches) == 5
        for x, w in batches:
            assert torch.equal(w, x.flatten().expand(*lead, 4))


@pytest.mark.parametrize("n_drawn", [0, 1, 2, 3, 5, 8])
def test_batches_go_on_from_a_state(n_drawn, monkeypatch):
    """Within a block of batches, at its end, and within a permutation."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", 3 * 4 * 4)
    made = [
        Batches(numbered(14), np.arange(14), 4, 8, torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    ]
    stream = iter(made[0])
    for _ in range(n_drawn):
        next(stream)
    made[1].load(made[0].state())
    rest, again = ([x.flatten().tolist() for x, _ in s] for s in (stream, made[1]))
    assert rest == again
    assert len(rest) == 8 - n_drawn
