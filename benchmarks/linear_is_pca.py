"""Does the linear autoencoder, trained by gradient from random weights, reach PCA?

`AutoencoderTransformer(k, activation="identity", init="random")`, tied and untied, on
digits, breast_cancer and wine (both standardised) and MNIST / 255, k = min(15, d / 2).
The table has, over three seeds, the worst relative excess of its training error over
PCA's, the largest angle between its subspace and PCA's, and the worst deviation of a
component from PCA's own; and both medians of the fit time.

    python benchmarks/linear_is_pca.py
    python benchmarks/linear_is_pca.py --sets digits wine
"""

import argparse

import numpy as np
from benchmark_data import images, sklearn_tables
from report import print_table, progress, save, seconds
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer

SEEDS = range(3)
SETS = ("digits", "breast_cancer", "wine", "mnist")
# Of fits with one seed, whichever comes first.
ENOUGH_SECONDS, ENOUGH_REPEATS = 1.0, 10


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    options = parser.parse_args()

    rows = []
    for name, X in load(options.sets):
        k = min(15, X.shape[1] // 2)
        for tied in (True, False):
            rows.append(compare(name, X, k, tied))
            progress(f"{name} {'tied' if tied else 'untied'}: done")
    print_table("The linear autoencoder against PCA (worst of three seeds)", rows)
    is_full = set(options.sets) == set(SETS)
    save("linear_is_pca" if is_full else "linear_is_pca-partial", rows=rows)


def load(names):
    for name, X in sklearn_tables():
        if name in names:
            yield name, X if name == "digits" else StandardScaler().fit_transform(X)
    if "mnist" in names:
        data = images("mnist")
        if data.name == "mnist":
            yield "mnist", data.train.astype(np.float64)


def compare(name, X, k, tied):
    """One line of the table: a data set, tied or untied."""
    pca = PCA(n_components=k).fit(X)
    pca_error = training_error(pca, X)
    # Not in turns with the autoencoder: BLAS would compete with torch's threads, which
    # still spin for a while after its fit, and PCA would look slow.
    pca_times = fit_seconds(PCA(n_components=k), X)
    excess, angle, axis, times = [], [], [], []
    for seed in SEEDS:
        linear = AutoencoderTransformer(
            k,
            activation="identity",
            init="random",
            tied_weights=tied,
            random_state=seed,
        )
        times += fit_seconds(linear, X)
        components = np.asarray(linear.components_, np.float64)
        excess.append(training_error(linear, X) / pca_error - 1)
        angle.append(subspace_angles(components.T, pca.components_.T).max())
        axis.append(np.abs(components - pca.components_).max())
    return {
        "set": f"{name} {X.shape[0]} x {X.shape[1]}",
        "k": k,
        "weights": "tied" if tied else "untied",
        "excess error": float(max(excess)),
        "angle rad": float(max(angle)),
        "component off by": float(max(axis)),
        "PCA ms": 1e3 * float(np.median(pca_times)),
        "fit ms": 1e3 * float(np.median(times)),
        "x PCA": float(np.median(times) / np.median(pca_times)),
    }


def fit_seconds(model, X):
    """Fit until enough is measured, after one fit that is not when fits are short."""
    if X.size < 1e6:
        model.fit(X)
    times = []
    while sum(times) < ENOUGH_SECONDS and len(times) < ENOUGH_REPEATS:
        times.append(seconds(model.fit, X)[0])
    return times


def training_error(model, X):
    """Mean squared error in float64, by chunks: MNIST would need a gigabyte."""
    total = 0.0
    for chunk in np.array_split(X, max(1, len(X) // 5000)):
        total += np.square(
            chunk - model.inverse_transform(model.transform(chunk))
        ).sum()
    return float(total / X.size)


if __name__ == "__main__":
    main()
