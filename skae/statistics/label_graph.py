"""Labels that spread over a graph of nearest neighbours.

Zhou et al. (2004), *Learning with local and global consistency*, NeurIPS 16. `nearest`
finds the neighbours; the functions here weigh them, spread labels over them and judge
the result by held-out labels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedShuffleSplit
from sklearn.svm import SVC

from skae.rows.chunks import chunks
from skae.statistics.nearest import nearest

__all__ = [
    "HeldOutErrors",
    "SpreadLabels",
    "held_out_errors",
    "neighbour_graph",
    "spread",
]

# Neighbours per doubling of the rows, each row one of its own: 7 of 1,000 rows, 11 of
# 60,000.
_DENSITY = 0.7
_ALPHA = 0.99
_STEPS = 60
_FOLDS = 5
_LEAD = 0.9
_MAX_REPEATED = 200
_MAX_JUDGED = 2000


@dataclass(frozen=True)
class SpreadLabels:
    """Class probabilities of every row from a graph.

    Attributes
    ----------
    target : ndarray of shape (n_samples, n_classes), float32
        One for the class of a labelled row.
    confidence : ndarray of shape (n_samples,), float32
        Share of the rows whose probabilities have at least this entropy; one for
        labelled rows, zero for rows that no label reaches.
    """

    target: np.ndarray
    confidence: np.ndarray


def neighbour_graph(Z: np.ndarray) -> sparse.csr_array:
    """Symmetric affinities of each row to its nearest neighbours.

    Two neighbours are as close as the share of neighbours that they have in common
    (Jarvis and Patrick 1973): a chance encounter of two classes counts little.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)

    Returns
    -------
    affinity : CSR array of shape (n_samples, n_samples), float32
        The Jaccard index of the neighbourhoods, each with its own row, summed over both
        directions; zero between rows that are not neighbours.
    """
    n_samples = len(Z)
    n_neighbors = min(max(3, round(_DENSITY * np.log2(n_samples))), n_samples)
    own = np.arange(n_samples)[:, None]
    index = np.hstack([own, nearest(Z, n_neighbors - 1)])
    common = np.concatenate(
        [
            # Neighbours that a row and each of its neighbours share.
            (index[index[rows]][..., None] == index[rows][:, None, None]).sum((2, 3))
            for rows in chunks(n_samples, n_neighbors**3)
        ]
    )
    affinity = (common / (2 * n_neighbors - common)).astype(np.float32)[:, 1:]
    starts = np.arange(0, affinity.size + 1, n_neighbors - 1)
    directed = sparse.csr_array(
        (affinity.ravel(), index[:, 1:].ravel(), starts), shape=(n_samples, n_samples)
    )
    return (directed + directed.T).tocsr()


def spread(
    affinity: sparse.csr_array, labels: np.ndarray, n_classes: int
) -> SpreadLabels:
    """Spread labels over a graph.

    Iterates F <- .99 S F + .01 Y with the symmetrically normalised affinities S.

    Parameters
    ----------
    affinity : CSR array of shape (n_samples, n_samples)
    labels : ndarray of int of shape (n_samples,)
        Class numbers, -1 for rows without a label.
    n_classes : int
    """
    labelled = np.flatnonzero(labels >= 0)
    source = np.zeros((len(labels), n_classes), dtype=np.float32)
    source[labelled, labels[labelled]] = 1
    degree = affinity.sum(axis=1)
    scale = sparse.diags_array(1 / np.sqrt(np.maximum(degree, 1e-12)))
    walk = (scale @ affinity @ scale).astype(np.float32)
    spread_mass = source.copy()
    for _ in range(_STEPS):
        spread_mass = _ALPHA * (walk @ spread_mass) + (1 - _ALPHA) * source
    mass = spread_mass.sum(axis=1)
    reached = mass > 0
    target = np.full_like(spread_mass, 1 / n_classes)
    target[reached] = spread_mass[reached] / mass[reached, None]
    entropy = -(target * np.log(np.maximum(target, 1e-12))).sum(axis=1)
    share = rankdata(-entropy, method="max") / len(labels)
    confidence = np.where(reached, share, 0).astype(np.float32)
    target[labelled], confidence[labelled] = source[labelled], 1
    return SpreadLabels(target, confidence)


class HeldOutErrors(NamedTuple):
    """Shares of held-out labels that are predicted wrongly.

    Attributes
    ----------
    graph : float
        By labels that spread over the graph.
    alone : float
        By the better of two models of the labelled rows.
    n_labelled : int
    """

    graph: float
    alone: float
    n_labelled: int

    @property
    def is_clustered(self) -> bool:
        """Whether neighbours share their class: 10% fewer errors by the graph."""
        return bool(self.graph <= _LEAD * self.alone > 0)

    @property
    def is_graph_better(self) -> bool:
        """Whether these are at least one labelled row's too.

        Neighbours that mislead cost more than good ones bring where the rows alone do
        well.
        """
        gain = self.alone - self.graph
        return self.is_clustered and bool(gain >= 1 / self.n_labelled)


def held_out_errors(
    affinity: sparse.csr_array,
    labels: np.ndarray,
    X_labelled: np.ndarray,
    random_state: np.random.RandomState,
) -> HeldOutErrors:
    """How well the graph and the rows alone predict held-out labels.

    All predictors get the same labels in repeated cross-validation: labels that spread
    over the graph, a support vector machine and a logistic regression of the labelled
    rows.

    Parameters
    ----------
    affinity : CSR array of shape (n_samples, n_samples)
    labels : ndarray of int of shape (n_samples,)
        Class numbers, -1 for rows without a label; each class at least twice.
    X_labelled : ndarray of shape (n_labelled, n_features)
        The labelled rows, in order, centred and scaled.
    random_state : RandomState
    """
    labelled = np.flatnonzero(labels >= 0)
    y = labels[labelled]
    wrong, n_held_out = np.zeros(3), 0
    for kept, held_out in _splits(y, random_state):
        partial = np.full_like(labels, -1)
        partial[labelled[kept]] = y[kept]
        target = spread(affinity, partial, y.max() + 1).target
        predictions = [target[labelled[held_out]].argmax(axis=1)]
        # More labels than this change the judgement little and take long.
        order = random_state.permutation(kept)
        _, first = np.unique(y[order], return_index=True)
        learned = np.union1d(order[first], order[:_MAX_JUDGED])
        # Without a seed the former draws from NumPy's global generator.
        for model in (SVC(random_state=0), LogisticRegression(max_iter=300)):
            model.fit(X_labelled[learned], y[learned])
            predictions.append(model.predict(X_labelled[held_out]))
        wrong += [(predicted != y[held_out]).sum() for predicted in predictions]
        n_held_out += len(held_out)
    errors = wrong / n_held_out
    return HeldOutErrors(errors[0], errors[1:].min(), len(y))


def _splits(y, random_state):
    if len(y) > _MAX_JUDGED:
        size = _MAX_JUDGED // 2
        splitter = StratifiedShuffleSplit(1, test_size=size, random_state=random_state)
    else:
        splitter = RepeatedStratifiedKFold(
            n_splits=min(_FOLDS, np.bincount(y)[np.unique(y)].min()),
            n_repeats=_FOLDS if len(y) <= _MAX_REPEATED else 1,
            random_state=random_state,
        )
    return splitter.split(np.zeros(len(y)), y)
