"""How long does a single row take, and the import?

    python benchmarks/latency.py [--quick]

Digits, on one thread. Models and what they are compared with take turns: a few calls to
warm up, one that is timed, the next model. A figure is the median over the turns; a
ratio that of the ratios within a turn, so that other work on the machine hits both.
Imports are timed in fresh processes, which take turns as well. A second table has the
main methods of every estimator, for one row and for 1,000 at once.
"""

import argparse
import subprocess
import sys
import time
import warnings

import numpy as np
from report import one_thread, print_table, progress, save, seconds
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import skae

# Of which the trials with the first rows that come are some.
N_FIRST, N_WARM, N_TIMED = 10, 2, 1
N_TURNS, N_PROCESSES, N_MANY = 500, 5, 1000
HIDDEN = (100, 50)
EPOCHS = {"max_iter": 2, "random_state": 0, "device": "cpu"}
IMPORTS = {
    "import torch, sklearn": None,
    "import skae": 1.2,
    "from skae import AutoencoderTransformer": None,
}


def fitted_models(X, y):
    """Every estimator, briefly trained, with the methods to be timed."""
    coder = ["transform", "inverse_transform", "reconstruct", "score_samples"]
    judge = ["score_samples", "predict"]
    pairs = [
        (skae.AutoencoderTransformer(16, random_state=0, device="cpu"), coder),
        (skae.AutoencoderTransformer(16, activation="identity", device="cpu"), coder),
        (skae.DenoisingAE(16, **EPOCHS), [*coder, "denoise"]),
        (skae.ContractiveAE(16, **EPOCHS), coder),
        (skae.SparseAE(16, **EPOCHS), coder),
        (skae.VariationalAE(16, **EPOCHS), coder),
        (skae.ConditionalVAE(16, **EPOCHS), coder[:1]),
        (skae.AdversarialAE(16, **EPOCHS), coder),
        (skae.ConvAE(16, sample_shape=(1, 8, 8), **EPOCHS), coder),
        (skae.RecurrentAE(16, sample_shape=(8, 8), **EPOCHS), coder),
        (skae.GAN(16, **EPOCHS), ["score_samples"]),
        (skae.AEOutlierDetector(random_state=0, device="cpu"), [*judge, "explain"]),
        (skae.AEOutlierDetector(novelty=True, random_state=0, device="cpu"), judge),
        (
            skae.StackedAEClassifier(HIDDEN, pretrain_max_iter=1, **EPOCHS),
            ["predict_proba", "predict", "transform"],
        ),
    ]
    # The first is trained in full: what has learned nothing is PCA, which is faster.
    for model, methods in pairs:
        label = type(model).__name__
        progress(f"fitting {label}")
        if getattr(model, "activation", None) == "identity":
            label += ", linear"
        if getattr(model, "novelty", False):
            label += ", novelty"
        takes_labels = isinstance(model, skae.StackedAEClassifier | skae.ConditionalVAE)
        yield label, model.fit(X, y if takes_labels else None), methods


def goals(models, X, y):
    """What is timed beside what: name, call, call of the peer, goal."""
    row = X[:1]
    deep, linear, detector, novelty, classifier = (
        models[name]
        for name in (
            "AutoencoderTransformer",
            "AutoencoderTransformer, linear",
            "AEOutlierDetector",
            "AEOutlierDetector, novelty",
            "StackedAEClassifier",
        )
    )
    pca, forest = PCA(16).fit(X), IsolationForest(random_state=0).fit(X)
    network = MLPClassifier(HIDDEN, max_iter=5, random_state=0).fit(X, y)
    code = pca.transform(row)
    return [
        ("transform", deep.transform, pca.transform, row, 2.0),
        ("transform, linear", linear.transform, pca.transform, row, 2.0),
        (
            "inverse_transform",
            deep.inverse_transform,
            pca.inverse_transform,
            code,
            None,
        ),
        ("score_samples", detector.score_samples, forest.score_samples, row, 0.5),
        (
            "score_samples, novelty",
            novelty.score_samples,
            forest.score_samples,
            row,
            0.5,
        ),
        (
            "predict_proba",
            classifier.predict_proba,
            network.predict_proba,
            row,
            2.0,
        ),
    ]


def turns_of(calls, n_turns):
    """Seconds of a call in every turn, shape (n_turns, n_calls)."""
    for call in calls:
        for _ in range(N_FIRST):
            call()
    found = np.empty((n_turns, len(calls)))
    for turn in found:
        for number, call in enumerate(calls):
            for _ in range(N_WARM):
                call()
            start = time.perf_counter()
            for _ in range(N_TIMED):
                call()
            turn[number] = (time.perf_counter() - start) / N_TIMED
    return found


def goal_lines(models, X, y, n_turns):
    lines = []
    for name, ours, peer, row, goal in goals(models, X, y):
        calls = (lambda f=ours, r=row: f(r)), (lambda f=peer, r=row: f(r))
        spent = turns_of(calls, n_turns)
        against = f"{type(peer.__self__).__name__}.{peer.__name__}"
        lines.append(line_of(name, against, *spent.T, 1e6, goal))
    return lines


def import_lines(n_processes):
    """Imports in fresh processes, the interpreter's start included."""
    spent = {statement: [] for statement in IMPORTS}
    for _ in range(n_processes):
        for statement, turns in spent.items():
            command = [sys.executable, "-c", statement]
            turns.append(seconds(subprocess.run, command)[0])
    peer, *_ = IMPORTS
    base = np.array(spent.pop(peer))
    return [
        line_of(statement, peer, np.array(turns), base, 1e3, IMPORTS[statement])
        for statement, turns in spent.items()
    ]


def line_of(name, peer, ours, theirs, unit, goal):
    ratio = float(np.median(ours / theirs))
    return {
        "what": name,
        "unit": "us" if unit == 1e6 else "ms",
        "skae": unit * float(np.median(ours)),
        "peer": unit * float(np.median(theirs)),
        "beside": peer,
        "ratio": ratio,
        "goal": goal,
        "met": None if goal is None else ratio <= goal,
    }


def method_lines(models, X, n_turns):
    """Microseconds of one row, and of a row among many."""
    lines = []
    for label, model, methods in models:
        for name in methods:
            method = getattr(model, name)
            rows = X[:N_MANY]
            if name == "inverse_transform":
                rows = model.transform(rows)
            calls = [lambda m=method, r=rows[:n]: m(r) for n in (1, len(rows))]
            one, many = np.median(turns_of(calls, max(3, n_turns // 20)), axis=0)
            lines.append(
                {
                    "estimator": label,
                    "method": name,
                    "us, 1 row": 1e6 * one,
                    f"us a row of {N_MANY}": 1e6 * many / len(rows),
                }
            )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few turns")
    quick = parser.parse_args().quick
    n_turns, n_processes = (20, 3) if quick else (N_TURNS, N_PROCESSES)
    X, y = load_digits(return_X_y=True)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = list(fitted_models(X, y))
        models = {label: model for label, model, _ in fitted}
        single = goal_lines(models, X, y, n_turns)
        print_table("One row of digits", single)
        methods = method_lines(fitted, X, n_turns)
        print_table("All methods", methods)
    imports = import_lines(n_processes)
    print_table("Imports in fresh processes", imports)
    if not quick:
        save("latency", single=single, methods=methods, imports=imports)


if __name__ == "__main__":
    main()
