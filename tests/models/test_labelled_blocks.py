"""Batches of labelled rows of a source have the rows, labels and weights they say."""

import numpy as np
import pytest
import torch

import skae.models.labelled_blocks as labelled_blocks
import skae.rows.chunks
from skae.models.classifier import PartlyLabelled
from skae.models.labelled_blocks import BlockLabelled, partly_labelled
from skae.rows.chunks import Rows
from skae.rows.derived import StoredRows
from skae.statistics.label_graph import SpreadLabels

N = 90
CPU = torch.device("cpu")


@pytest.fixture
def made(monkeypatch):
    """Batches of rows that are their numbers; one in three has its number's label."""
    monkeypatch.setattr(skae.rows.chunks, "resident_bytes", lambda device: 0)
    X = np.arange(2.0 * N, dtype=np.float32).reshape(N, 2) // 2
    labels = np.where(np.arange(N) % 3 == 0, np.arange(N), -1)
    weight = torch.arange(N, dtype=torch.float32, device=CPU)

    def make(rows=None, n_batches=40):
        rows = Rows(StoredRows(X) if rows is None else rows, 0.0, 1.0, CPU)
        generator = torch.Generator("cpu").manual_seed(0)
        options = weight, 2 * weight, (10, 20), n_batches, generator
        return partly_labelled(rows, labels, *options)

    return make


@pytest.mark.parametrize("held_bytes", [0, 2**20])
def test_batches_belong_together_and_all_rows_come(made, monkeypatch, held_bytes):
    monkeypatch.setattr(labelled_blocks, "HELD_BYTES", held_bytes)
    batches = made()
    assert isinstance(batches, BlockLabelled)
    seen = [set(), set()]
    for labelled, unlabelled in batches:
        assert labelled.x.shape == (10, 2)
        assert unlabelled.x.shape == (20, 2)
        numbers = labelled.x[:, 0]
        torch.testing.assert_close(labelled.y.float(), numbers)
        torch.testing.assert_close(labelled.weight, 2 * numbers)
        torch.testing.assert_close(unlabelled.weight, unlabelled.x[:, 0])
        seen[0] |= set(numbers.tolist())
        seen[1] |= set(unlabelled.x[:, 0].tolist())
    assert seen == [set(range(0, N, 3)), set(range(N))]


def test_labels_of_a_graph_come_with_their_rows(made):
    batches = made(n_batches=3)
    target = np.tile(np.arange(N, dtype=np.float32)[:, None], 2)
    batches.spread = SpreadLabels(target, target[:, 0] / 2)
    for _, unlabelled in batches:
        torch.testing.assert_close(unlabelled.target, unlabelled.x)
        torch.testing.assert_close(unlabelled.confidence, unlabelled.x[:, 0] / 2)


def test_batches_go_on_where_they_were(made):
    whole = [both[1].x for both in made(n_batches=8)]
    first = made(n_batches=8)
    begun = [both[1].x for _, both in zip(range(3), first, strict=False)]
    second = made(n_batches=8)
    second.load(first.state())
    rest = [both[1].x for both in second]
    torch.testing.assert_close(torch.stack(begun + rest), torch.stack(whole))


def test_rows_in_memory_are_drawn_as_ever(made, monkeypatch):
    monkeypatch.undo()
    assert isinstance(made(np.zeros((N, 2), np.float32)), PartlyLabelled)
