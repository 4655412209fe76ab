"""Are synthetic rows as good as real ones for training a classifier?

Trained on synthetic rows and tested on real images: two classifiers, a support vector
machine on 50 principal components and a small convolutional network, see 20,000 rows
from a model that was fitted to all training images. Then with few: 100 real images a
class, alone and with as many synthetic rows from a model that was fitted to those
alone. `generative.py` calls `rows` and `few_rows`.
"""

import time

import numpy as np
from benchmark_data import images
from image_classifier import classifier, predicted
from report import progress
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from skae import GAN, ConditionalVAE

__all__ = ["few_rows", "rows"]

N_SYNTHETIC = 20_000
N_REAL, N_ADDED, N_DRAWS = 100, 100, 5


def rows(quick=False):
    """Return accuracies of classifiers that saw synthetic rows only."""
    data = images("mnist")
    n_rows = 3000 if quick else len(data.train)
    X, y = data.train[:n_rows], data.y_train[:n_rows]
    n_synthetic = min(N_SYNTHETIC, n_rows)
    labels = np.repeat(np.unique(y), n_synthetic // len(np.unique(y)))
    table = []
    real = scores(X[: len(labels)], y[: len(labels)], data)
    table.append({"rows": f"{len(labels)} real", **real, "fit_s": None})
    for name, model in models(data).items():
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
        synthetic = model.sample(len(labels), y=labels, random_state=1)
        line = {"rows": f"{len(labels)} from {name}"}
        line |= {**scores(synthetic, labels, data), "fit_s": seconds}
        progress(str(line))
        table.append(line)
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
        table.append({"draw": draw, "rows": f"{len(y)} real", **scores(X, y, data)})
        for name, model in models(data, few=True).items():
            more, labels = model.fit(X, y).augment(X, y, N_ADDED)
            line = {"draw": draw, "rows": f"and as many from {name}"}
            table.append(line | scores(more, labels, data))
            progress(str(table[-2:]))
    return [*table, *mean_gains(table)]


def mean_gains(table):
    """What synthetic rows add, over draws."""
    kinds = ("SVC", "convolutional")
    before = [row for row in table if row["rows"].endswith("real")]
    names = dict.fromkeys(row["rows"] for row in table if row not in before)
    gains = []
    for name in names:
        after = [row for row in table if row["rows"] == name]
        line = {"draw": "mean", "rows": f"gain, {name}"}
        for kind in kinds:
            pairs = zip(before, after, strict=True)
            line[kind] = float(np.mean([b[kind] - a[kind] for a, b in pairs]))
        gains.append(line)
    return gains


def models(data, few=False):
    """Conditional models of images."""
    side = round(data.train.shape[1] ** 0.5)
    found = {
        "ConditionalVAE": ConditionalVAE(
            20,
            likelihood="bernoulli",
            hidden_layer_sizes=(500,),
            random_state=0,
            device="cpu",
        )
    }
    if not few:
        found["GAN"] = GAN(
            architecture="conv",
            sample_shape=(1, side, side),
            random_state=0,
            device="cpu",
        )
    return found


def scores(X, y, data):
    """Accuracies in percent on the real test images."""
    machine = make_pipeline(PCA(min(50, *X.shape), random_state=0), SVC(C=10))
    network = classifier(X.astype(np.float32), y)
    right = {
        "SVC": machine.fit(X, y).predict(data.test) == data.y_test,
        "convolutional": predicted(network, data.test) == data.y_test,
    }
    return {name: 100 * float(found.mean()) for name, found in right.items()}
