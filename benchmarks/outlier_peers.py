"""What users would otherwise detect outliers with, as they come.

Each is a function `(X, seed, new=None) -> scores`, higher for outliers: it fits the
rows X and scores the rows `new`, or X itself. `seed` is ignored where nothing is
random. All but the forest see features that are standardised by the rows of X; PyOD
does that itself.
"""

import importlib.util
import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

__all__ = [
    "has_pyod",
    "isolation_forest",
    "local_outlier_factor",
    "nearest_neighbours",
    "pca_reconstruction",
    "pyod_autoencoder",
]

N_NEIGHBOURS = 5
VARIANCE = 0.9


def isolation_forest(X, seed, new=None):
    """scikit-learn's `IsolationForest`."""
    forest = IsolationForest(random_state=seed).fit(X)
    return -forest.score_samples(X if new is None else new)


def nearest_neighbours(X, seed, new=None):
    """Distance to the fifth neighbour; a row of X is not its own neighbour."""
    X, new = standardised(X, new)
    neighbours = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(X)
    return neighbours.kneighbors(new)[0][:, -1]


def local_outlier_factor(X, seed, new=None):
    """scikit-learn's `LocalOutlierFactor`, told whether the rows are new."""
    X, new = standardised(X, new)
    factor = LocalOutlierFactor(novelty=new is not None)
    with warnings.catch_warnings():
        # Of duplicates, and of fewer rows than its default 20 neighbours.
        warnings.simplefilter("ignore", UserWarning)
        factor.fit(X)
    if new is None:
        return -factor.negative_outlier_factor_
    return -factor.score_samples(new)


def pca_reconstruction(X, seed, new=None):
    """Squared error of the components that hold 90% of the variance."""
    X, new = standardised(X, new)
    rows = X if new is None else new
    pca = PCA(n_components=VARIANCE, svd_solver="full").fit(X)
    reconstructed = pca.inverse_transform(pca.transform(rows))
    return np.square(rows - reconstructed).sum(axis=1)


def pyod_autoencoder(X, seed, new=None):
    """PyOD's `AutoEncoder`; fitting it scores X as well."""
    from pyod.models.auto_encoder import AutoEncoder

    detector = AutoEncoder(random_state=seed, device="cpu", verbose=0).fit(X)
    return detector.decision_scores_ if new is None else detector.decision_function(new)


def has_pyod():
    return importlib.util.find_spec("pyod") is not None


def standardised(X, new):
    """Both by the mean and deviation of X; `new` may be None."""
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), None if new is None else scaler.transform(new)
