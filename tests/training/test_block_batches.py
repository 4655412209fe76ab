"""Batches of rows that are read by blocks."""

import numpy as np
import pytest
import torch

from skae.rows import blocks, devices, sources
from skae.rows.chunks import Rows
from skae.rows.readers import row_source
from skae.training import block_batches as module
from skae.training.batches import Batches
from skae.training.block_batches import AllBut, BlockBatches, batches_of

CPU = torch.device("cpu")
N, BLOCK = 60, 5


class Stored:
    """Rows that hold their own number, in chunks; counts what is read."""

    dtype = np.dtype(np.float32)

    def __init__(self, n_rows=N, block=BLOCK):
        self.shape, self.chunks = (n_rows, 1), (block, 1)
        self.n_read = 0

    def __getitem__(self, rows):
        self.n_read += rows.stop - rows.start
        return np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks as they are stored, four of them in the buffer, nothing resident."""
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(devices, "_RESIDENT_BYTES", 0)
    monkeypatch.setattr(module, "_BUFFER_BYTES", 4 * 4 * BLOCK)


def rows_of(X):
    return Rows(row_source(X), np.zeros(1), 1.0, CPU)


def batches(size=4, n_batches=30, *, seed=0, index=None, X=None, **options):
    rows = rows_of(Stored() if X is None else X)
    generator = torch.Generator().manual_seed(seed)
    index = AllBut(len(rows)) if index is None else index
    return BlockBatches(rows, index, size, n_batches, generator, **options)


def numbers(stream):
    return [batch[0].flatten().int().tolist() for batch in stream]


class TestBlockBatches:
    def test_every_row_comes_once_an_epoch(self):
        found = np.ravel(numbers(batches(n_batches=3 * N // 4)))
        for epoch in range(3):
            assert sorted(found[epoch * N : (epoch + 1) * N]) == list(range(N))
        assert list(found[:N]) != list(found[N : 2 * N])

    def test_blocks_are_read_once_an_epoch(self):
        X = Stored()
        list(batches(n_batches=2 * N // 4, X=X))
        assert X.n_read == 2 * N

    def test_rows_of_several_blocks_are_mixed(self):
        for batch in numbers(batches(10, 24)):
            assert len({row // BLOCK for row in batch}) >= 2
            assert np.any(np.diff(batch) < 0)

    @pytest.mark.parametrize("size", [1, 3, 4, 7, 16, 59, 60])
    def test_batches_have_full_size(self, size):
        found = numbers(batches(size, 40))
        assert {len(batch) for batch in found} == {size}

    def test_a_batch_is_at_most_all_rows(self):
        assert sorted(numbers(batches(99, 1))[0]) == list(range(N))

    def test_rows_that_are_left_out_are_not_drawn(self):
        out = np.array([0, 7, 8, 9, 59])
        kept = sorted(set(range(N)) - set(out))
        for index in (AllBut(N, out), np.array(kept)):
            found = np.ravel(numbers(batches(5, 11, index=index)))
            assert sorted(found) == kept

    def test_a_block_may_be_left_out_as_a_whole(self):
        out = np.arange(10, 25)
        found = np.ravel(numbers(batches(9, 5, index=AllBut(N, out))))
        assert sorted(found) == sorted(set(range(N)) - set(out))

    def test_the_seed_decides_the_order(self):
        assert numbers(batches()) == numbers(batches())
        assert numbers(batches()) != numbers(batches(seed=1))

    def test_rounds_continue_one_another(self):
        stream = batches(4, 7)
        found = [*numbers(stream), *numbers(stream)]
        assert found == numbers(batches(4, 14))

    def test_batches_are_not_overwritten(self):
        kept = [batch[0] for batch in batches()]
        assert [x.flatten().int().tolist() for x in kept] == numbers(batches())

    @pytest.mark.parametrize("lead", [(), (2,)])
    def test_what_belongs_to_a_row_stays_with_it(self, lead):
        weight = torch.arange(float(N)).expand(*lead, N)
        inputs = rows_of(Stored(block=7))
        context = Rows(np.arange(float(N))[:, None], 0.0, 1.0, CPU)
        options = {"weight": weight, "inputs": inputs, "context": context}
        for x, w, x_tilde, condition in batches(6, 25, **options):
            assert torch.equal(x_tilde, x)
            assert torch.equal(condition, x)
            assert torch.equal(w, x.flatten().expand(*lead, 6))

    def test_inputs_alone_may_be_read_by_blocks(self):
        rows = Rows(np.arange(float(N))[:, None], 0.0, 1.0, CPU)
        options = [torch.Generator().manual_seed(0), None, rows_of(Stored())]
        for x, w, x_tilde in batches_of(rows, np.arange(N), 4, 20, *options):
            assert w is None
            assert torch.equal(x_tilde, x)

    @pytest.mark.parametrize("n_drawn", [0, 1, 2, 5, 14, 15, 16, 29])
    def test_batches_go_on_from_a_state(self, n_drawn):
        made = [batches(seed=seed) for seed in (0, 1)]
        stream = iter(made[0])
        for _ in range(n_drawn):
            next(stream)
        made[1].load(made[0].state())
        rest = numbers(stream)
        assert rest == numbers(made[1])
        assert len(rest) == 30 - n_drawn

    def test_rows_in_order_only_are_copied(self, monkeypatch):
        def start():
            for first in range(0, N, 11):
                yield np.arange(first, min(first + 11, N), dtype=np.float32)[:, None]

        found = np.ravel(numbers(batches(n_batches=2 * N // 4, X=start)))
        for epoch in (found[:N], found[N:]):
            assert sorted(epoch) == list(range(N))


def test_rows_in_memory_have_batches_of_permutations(monkeypatch):
    options = 4, 5, torch.Generator().manual_seed(0)
    rows = Rows(np.arange(float(N))[:, None], 0.0, 1.0, CPU)
    out = np.array([3, 4])
    found = batches_of(rows, AllBut(N, out), *options)
    assert isinstance(found, Batches)
    assert not set(out) & set(np.ravel(numbers(found)))
    assert isinstance(batches_of(rows_of(Stored()), AllBut(N), *options), BlockBatches)
    # Sources whose rows are resident are drawn from like arrays.
    monkeypatch.setattr(devices, "_RESIDENT_BYTES", 2**20)
    assert isinstance(batches_of(rows_of(Stored()), AllBut(N), *options), Batches)
    assert sources.RowSource.ndim == 2
