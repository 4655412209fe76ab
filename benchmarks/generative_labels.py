"""Are synthetic rows as good as real ones for training a classifier?

Trained on synthetic rows and tested on real images: a classifier (a support vector
machine on 50 principal components) sees 20,000 rows from a model that was fitted to all
training images. Then with few: 100 real images a class, alone and with synthetic rows
from a model that was fitted to those alone. `generative.py` calls `rows` and
`few_rows`.
"""

import time

import numpy as np
from benchmark_data import images
from report import progress
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from skae import GAN, ConditionalVAE

__all__ = ["few_rows", "rows"]

N_SYNTHETIC = 20_000
N_REAL, N_ADDED, N_DRAWS = 100, 400, 3


def rows(quick=False):
    """Return accuracies of classifiers that saw synthetic rows only."""
    data = images("mnist")
    n_rows = 3000 if quick else len(data.train)
    X, y = data.train[:n_rows], data.y_train[:n_rows]
    n_synthetic = min(N_SYNTHETIC, n_rows)
    labels = np.repeat(np.unique(y), n_synthetic // len(np.unique(y)))
    table = []
    real = score(X[: len(labels)], y[: len(labels)], data)
    table.append({"rows": f"{len(labels)} real", "accuracy": real, "fit_s": None})
    for name, model in models(data).items():
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
        synthetic = model.sample(len(labels), y=labels, random_state=1)
        accuracy = score(synthetic, labels, data)
        progress(f"{name}: {accuracy:.4f} in {seconds:.0f} s")
        table.append(
            {
                "rows": f"{len(labels)} from {name}",
                "accuracy": accuracy,
                "fit_s": seconds,
            }
        )
    return table


def few_rows(quick=False):
    """Return accuracies with few real rows, alone and with synthetic ones."""
    data = images("mnist")
    table = []
    for draw in range(1 if quick else N_DRAWS):
        random = np.random.default_rng(draw)
        kinds = np.unique(data.y_train)
        chosen = np.concatenate(
            [
                random.choice(np.flatnonzero(data.y_train == kind), N_REAL, False)
                for kind in kinds
            ]
        )
        X, y = data.train[chosen], data.y_train[chosen]
        row = {"draw": draw, "real": score(X, y, data)}
        for name, model in models(data, few=True).items():
            more, labels = model.fit(X, y).augment(X, y, N_ADDED)
            row[f"with {name}"] = score(more, labels, data)
            progress(f"draw {draw}, {name}: {row}")
        table.append(row)
    return table


def models(data, few=False):
    """Conditional models of images."""
    side = round(data.train.shape[1] ** 0.5)
    found = {
        "ConditionalVAE": ConditionalVAE(
            20, likelihood="bernoulli", hidden_layer_sizes=(500,), random_state=0
        )
    }
    if not few:
        found["GAN"] = GAN(
            architecture="conv", sample_shape=(1, side, side), random_state=0
        )
    return found


def score(X, y, data):
    """Accuracy on the real test images."""
    classifier = make_pipeline(PCA(50, random_state=0), SVC(C=10))
    n_components = min(50, *X.shape)
    classifier.set_params(pca__n_components=n_components)
    return classifier.fit(X, y).score(data.test, data.y_test)
