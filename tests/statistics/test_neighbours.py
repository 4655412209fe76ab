"""Labels from neighbours: whom to compare by what, and when to ask nobody."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits

from skae.rows.chunks import Rows
from skae.statistics import label_graph
from skae.statistics.neighbours import NeighbourLabels

DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:600]
    return X[order], y[order]


def partly(y, n):
    """Labels of the first n rows."""
    return np.where(np.arange(len(y)) < n, y, -1)


def test_digits_know_their_neighbours(digits):
    X, y = digits
    graph = NeighbourLabels(X, partly(y, 100), 10, 0)
    assert graph.judge()
    found = graph.spread().target.argmax(axis=1)
    assert (found == y).mean() > 0.9


@pytest.fixture
def few_folds(monkeypatch):
    """The judgement is short, where the graph alone is tested."""
    monkeypatch.setattr(label_graph, "_FOLDS", 2)


@pytest.mark.usefixtures("few_folds")
def test_sparse_rows_have_the_same_neighbours(digits):
    X, y = digits
    dense = NeighbourLabels(X[:, :40], partly(y, 100), 10, 0)
    thin = NeighbourLabels(sparse.csr_array(X[:, :40]), partly(y, 100), 10, 0)
    assert dense.judge() == thin.judge()
    np.testing.assert_array_equal(
        dense.affinity.toarray() > 0, thin.affinity.toarray() > 0
    )


@pytest.mark.usefixtures("few_folds")
def test_rows_without_negative_values_are_compared_by_direction(digits):
    X, y = digits
    brightness = np.random.default_rng(0).uniform(0.5, 2, len(X))[:, None]
    one = NeighbourLabels(X[:, :40], partly(y, 100), 10, 0)
    two = NeighbourLabels(X[:, :40] * brightness, partly(y, 100), 10, 0)
    one.judge(), two.judge()
    changed = (one.affinity > 0) != (two.affinity > 0)
    assert changed.nnz < 0.01 * one.affinity.nnz


def test_nobody_is_asked_where_most_rows_are_labelled(digits):
    X, y = digits
    graph = NeighbourLabels(X, partly(y, 301), 10, 0)
    graph.judge()
    assert not graph.can_spread


def test_a_class_of_one_label_takes_no_part_in_the_judgement(digits):
    X, y = digits
    labels = partly(y, 100)
    labels[labels == 3] = -1
    without = NeighbourLabels(X, labels, 10, 0)
    assert without.judge()
    only = np.flatnonzero(y == 3)[0]
    labels[only] = 3
    graph = NeighbourLabels(X, labels, 10, 0)
    assert graph.judge()
    assert (graph.affinity != without.affinity).nnz == 0
    # It spreads all the same.
    assert graph.spread().target[:, 3].sum() > 1
    assert without.spread().target[:, 3].sum() == 0


@pytest.mark.parametrize("n_each", [1, 2])
def test_nobody_is_asked_where_only_one_class_has_two_labels(digits, n_each):
    X, y = digits
    labels = np.full(len(y), -1)
    labels[np.flatnonzero(y == 0)[:2]] = 0
    for number in range(1, 10):
        labels[np.flatnonzero(y == number)[:n_each]] = number
    graph = NeighbourLabels(X, labels, 10, 0)
    graph.judge()
    assert graph.can_spread == (n_each == 2)


def test_what_was_learned_adds_neighbours(digits):
    X, y = digits
    graph = NeighbourLabels(X, partly(y, 100), 10, 0)
    graph.judge()
    rows = Rows(X, X.mean(axis=0), 1.0, DEVICE)
    classes = torch.nn.functional.one_hot(torch.as_tensor(y)).float()
    noise = torch.randn(classes.shape, generator=torch.Generator().manual_seed(0))
    codes = classes + 0.1 * noise
    where = {
        tuple(row.tolist()): code for row, code in zip(rows[:], codes, strict=True)
    }

    def learned(x):
        return torch.stack([where[tuple(row.tolist())] for row in x])

    before = (graph.spread().target.argmax(axis=1) == y).mean()
    after = (graph.spread(learned, rows).target.argmax(axis=1) == y).mean()
    assert after > before


def test_of_too_many_rows_labelled_ones_are_among_those_taken(digits):
    X, y = digits
    labels = partly(y, 100)
    graph = NeighbourLabels(X, labels, 10, 0, max_rows=300)
    assert len(graph.index) == 300
    assert set(np.flatnonzero(labels >= 0)) <= set(graph.index)
    graph.judge()
    found = graph.spread()
    left_out = np.setdiff1d(np.arange(len(y)), graph.index)
    assert found.target.shape == (600, 10)
    np.testing.assert_array_equal(found.confidence[left_out], 0)
    np.testing.assert_allclose(found.target.sum(axis=1), 1, rtol=1e-5)
