"""Neighbours against a brute-force count, spread labels against dense iterations."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.datasets import make_moons

from skae.statistics import label_graph as graph
from skae.statistics.label_graph import held_out_errors, neighbour_graph, spread


def rng(seed=0):
    return np.random.default_rng(seed)


def blobs(n=40, distance=2.0, seed=0):
    """Two clusters, one after the other in turns, and their numbers."""
    y = np.arange(n) % 2
    Z = rng(seed).standard_normal((n, 3))
    Z[:, 0] += distance * y
    return Z, y


def partly(y, n_each=3):
    """Labels of the first rows of each class alone."""
    labels = np.full(len(y), -1)
    for number in np.unique(y):
        labels[np.flatnonzero(y == number)[:n_each]] = number
    return labels


def by_brute_force(Z, size):
    """Jaccard indices of neighbourhoods of this size, a row's own among them."""
    order = np.argsort(cdist(Z, Z), axis=1)[:, :size]
    around = [set(row) for row in order]
    affinity = np.zeros((len(Z), len(Z)))
    for i, neighbours in enumerate(around):
        for j in neighbours - {i}:
            common = len(around[i] & around[j]) / len(around[i] | around[j])
            affinity[i, j] += common
            affinity[j, i] += common
    return affinity


def walk_of(affinity):
    root = np.sqrt(affinity.sum(1))
    return affinity / np.outer(root, root)


def sources(labels, n_classes):
    Y = np.zeros((len(labels), n_classes))
    Y[labels >= 0, labels[labels >= 0]] = 1
    return Y


def by_dense_iterations(affinity, labels, n_classes):
    S, Y = walk_of(affinity), sources(labels, n_classes)
    F = Y
    for _ in range(60):
        F = 0.99 * S @ F + 0.01 * Y
    return F / F.sum(1, keepdims=True)


def entropy_of(P):
    return -np.sum(P * np.log(np.where(P > 0, P, 1)), axis=1)


class TestNeighbourGraph:
    def test_affinities_are_the_jaccard_indices_of_neighbourhoods(self):
        Z, _ = blobs(40)
        found = neighbour_graph(Z).toarray()
        np.testing.assert_allclose(found, by_brute_force(Z, 4), rtol=1e-6)

    @pytest.mark.parametrize("duplicates", [False, True])
    def test_is_symmetric_without_a_diagonal(self, duplicates):
        Z, _ = blobs(40)
        if duplicates:
            Z[:10] = Z[0]
        found = neighbour_graph(Z)
        assert found.dtype == np.float32
        assert (found.diagonal() == 0).all()
        assert (found != found.T).nnz == 0
        assert (found.data > 0).all()
        assert (np.diff(found.indptr) >= 3).all()

    # Neighbourhoods grow with the logarithm of the rows; a row is one of its own.
    @pytest.mark.parametrize(
        ("n", "size"), [(2, 2), (3, 3), (20, 3), (40, 4), (300, 6), (1000, 7)]
    )
    def test_a_row_that_is_nobodys_neighbour_has_its_own_neighbours(self, n, size):
        Z, _ = blobs(n)
        Z[0] = 1000
        assert np.diff(neighbour_graph(Z).indptr)[0] == size - 1

    def test_permuting_the_rows_permutes_the_graph(self):
        Z, _ = blobs(40)
        order = rng(1).permutation(40)
        found = neighbour_graph(Z[order])
        assert (found != neighbour_graph(Z)[order][:, order]).nnz == 0


class TestSpread:
    def test_targets_are_those_of_dense_iterations(self):
        Z, y = blobs(40)
        affinity, labels = neighbour_graph(Z), partly(y)
        assert connected_components(affinity)[0] == 1
        found = spread(affinity, labels, 2).target
        expected = by_dense_iterations(affinity.toarray(), labels, 2)
        asked = labels < 0
        np.testing.assert_allclose(found[asked], expected[asked], rtol=1e-4)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_likeliest_class_is_that_of_the_closed_form(self, seed):
        # Two cliques of random affinities, with a bridge between them.
        affinity = np.zeros((12, 12))
        for start in (0, 6):
            affinity[start : start + 6, start : start + 6] = rng(seed).random((6, 6))
        affinity[5, 6] = 0.2
        affinity = np.triu(affinity, 1)
        affinity = affinity + affinity.T
        labels = np.full(12, -1)
        labels[[1, 10]] = [1, 0]
        found = spread(sparse.csr_array(affinity), labels, 2).target
        identity, Y = np.eye(12), sources(labels, 2)
        F = 0.01 * np.linalg.solve(identity - 0.99 * walk_of(affinity), Y)
        np.testing.assert_array_equal(found.argmax(1), F.argmax(1))
        assert set(found.argmax(1)) == {0, 1}

    def test_targets_are_probabilities_and_confidences_shares(self):
        Z, y = blobs(40)
        found = spread(neighbour_graph(Z), partly(y), 3)
        assert found.target.shape == (40, 3)
        assert found.target.dtype == found.confidence.dtype == np.float32
        np.testing.assert_allclose(found.target.sum(1), 1, rtol=1e-5)
        assert (found.target >= 0).all()
        assert (found.target[:, 2] == 0).all()
        assert found.confidence.min() >= 0
        assert found.confidence.max() <= 1

    def test_labels_stay_as_they_are_with_confidence_one(self):
        Z, y = blobs(40, distance=0.0)
        labels = partly(y, 6)
        affinity = neighbour_graph(Z)
        # Neighbours contradict some of them.
        expected = by_dense_iterations(affinity.toarray(), labels, 2)
        labelled = labels >= 0
        assert (expected[labelled].argmax(1) != labels[labelled]).any()
        found = spread(affinity, labels, 2)
        np.testing.assert_array_equal(
            found.target[labelled], np.eye(2)[labels[labelled]]
        )
        assert (found.confidence[labelled] == 1).all()

    # Far apart, each component knows one class, and all rows are equally certain.
    @pytest.mark.parametrize("distance", [2.0, 1000.0])
    def test_confidence_is_the_share_of_rows_with_at_least_the_entropy(self, distance):
        Z, y = blobs(40, distance)
        affinity, labels = neighbour_graph(Z), partly(y)
        found = spread(affinity, labels, 2).confidence
        entropy = entropy_of(by_dense_iterations(affinity.toarray(), labels, 2))
        for row in np.flatnonzero(labels < 0):
            assert found[row] == pytest.approx((entropy >= entropy[row]).mean())

    def test_rows_that_no_label_reaches_are_uniform_with_confidence_zero(self):
        Z, y = blobs(40, distance=1000)
        labels = np.where(y == 0, partly(y), -1)
        found = spread(neighbour_graph(Z), labels, 4)
        assert (found.target[y == 1] == 0.25).all()
        assert (found.confidence[y == 1] == 0).all()
        assert (found.confidence[y == 0] > 0).all()

    def test_a_row_without_neighbours_is_not_reached(self):
        affinity = sparse.csr_array((3, 3), dtype=np.float32)
        found = spread(affinity, np.array([1, -1, 0]), 2)
        np.testing.assert_array_equal(found.target, [[0, 1], [0.5, 0.5], [1, 0]])
        np.testing.assert_array_equal(found.confidence, [1, 0, 1])

    @pytest.mark.parametrize("distance", [2.0, 1000.0])
    def test_permuting_the_rows_permutes_the_result(self, distance):
        Z, y = blobs(40, distance)
        affinity, labels = neighbour_graph(Z), partly(y)
        found = spread(affinity, labels, 2)
        order = rng(1).permutation(40)
        again = spread(affinity[order][:, order].tocsr(), labels[order], 2)
        np.testing.assert_allclose(again.target, found.target[order], rtol=1e-4)
        np.testing.assert_allclose(again.confidence, found.confidence[order], rtol=1e-6)

    def test_nothing_given_is_changed(self):
        Z, y = blobs(40)
        affinity, labels = neighbour_graph(Z), partly(y)
        before, given = affinity.toarray(), labels.copy()
        spread(affinity, labels, 2)
        np.testing.assert_array_equal(affinity.toarray(), before)
        np.testing.assert_array_equal(labels, given)


@pytest.fixture(params=[2000, 20], ids=["cross-validation", "held-out half"])
def max_judged(request, monkeypatch):
    """Above this many labels, one split and a part of them decide."""
    monkeypatch.setattr(graph, "_MAX_JUDGED", request.param)


@pytest.mark.usefixtures("max_judged")
class TestIsBetter:
    def judge(self, Z, labels, X, seed=0):
        labelled = labels >= 0
        state = np.random.RandomState(seed)
        errors = held_out_errors(neighbour_graph(Z), labels, X[labelled], state)
        return errors.is_graph_better

    @pytest.fixture(params=[0, 1, 2])
    def moons(self, request):
        X, y = make_moons(200, noise=0.05, random_state=request.param)
        return X, partly(y, 12)

    def test_yes_where_clusters_follow_the_labels(self, moons):
        X, labels = moons
        assert self.judge(X, labels, X[:, :1]) is True

    def test_no_where_the_rows_alone_do_as_well(self, moons):
        X, labels = moons
        separated = X + 100 * (labels >= 0)[:, None] * labels[:, None]
        assert self.judge(X, labels, separated) is False

    def test_no_where_the_graph_joins_rows_at_random(self, moons):
        X, labels = moons
        assert self.judge(rng().permutation(X), labels, X) is False

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_no_where_the_labels_lie_in_what_the_graph_does_not_know(self, seed):
        X = rng(seed).standard_normal((200, 3))
        labels = partly((X[:, 0] > 0).astype(int), 12)
        assert self.judge(X[:, 1:], labels, X) is False
        # The same graph does where that feature means nothing.
        labels = partly((X[:, 1] > 0).astype(int), 12)
        assert self.judge(X[:, 1:], labels, X[:, :1]) is True

    def test_the_same_seed_judges_alike_and_changes_nothing(self, moons):
        X, labels = moons
        given = labels.copy()
        assert self.judge(X, labels, X, 3) is self.judge(X, labels, X, 3)
        np.testing.assert_array_equal(labels, given)


def test_two_labels_a_class_are_enough_to_judge():
    Z, y = blobs(40, distance=1000)
    labels = partly(y, 2)
    state = np.random.RandomState(0)
    blind = np.zeros((4, 2))
    errors = held_out_errors(neighbour_graph(Z), labels, blind, state)
    assert errors.is_graph_better
