"""Small fitted estimators of every kind, what they say of rows, and how they go on.

`benchmarks/fuzz_files.py`, `benchmarks/versions.py` and tests/test_persistence.py save
and load them. Run with a folder, `python benchmarks/saved_estimators.py FOLDER`, it
loads each file in it, writes what the estimator says to NAME.npz, trains it a bit more
and writes what it says then to NAME.more.npz: a fresh process, fitted to nothing.
"""

import inspect
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.frozen import FrozenEstimator
from torch import nn

import skae
from skae.parts.base import Penalty
from skae.parts.categorical import Categorical
from skae.parts.conv import Conv

__all__ = ["CASES", "Halves", "Pull", "TRUSTED", "answers", "fitted", "go_on"]

N_ROWS, N_COLUMNS = 48, 6
SIDE = 4
METHODS = (
    "transform",
    "reconstruct",
    "denoise",
    "score_samples",
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "p_values",
    "discriminate",
    "explain",
)


class Halves(nn.Module):
    """A user's encoder."""

    def __init__(self, n_out):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(N_COLUMNS, 4), nn.Tanh())
        self.last = nn.Linear(4, n_out)

    def forward(self, x):
        return self.last(self.layers(x)) / 2


class Pull(Penalty):
    """A user's penalty."""

    def __init__(self, strength=0.1):
        self.strength = strength

    def __call__(self, state):
        return self.strength * state.z.square().sum(-1)


def circle(n_samples, random_state):
    """A user's distribution of codes, shape ``(n_samples, 2)``."""
    angle = random_state.uniform(0, 6.28, n_samples)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


TRUSTED = [Halves, Pull, circle]


def _table(kind="numbers"):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 3)) @ rng.normal(size=(3, N_COLUMNS))
    X += 0.1 * rng.normal(size=X.shape)
    if kind == "names":
        import pandas as pd

        return pd.DataFrame(X, columns=[f"column {i}" for i in range(N_COLUMNS)])
    if kind == "missing":
        X[rng.random(X.shape) < 0.1] = np.nan
    if kind == "shares":
        return 1 / (1 + np.exp(-X))
    if kind == "classes":
        return (X > 0).astype(float) + (X > 1)
    return X


def _images(channels=1):
    rng = np.random.default_rng(1)
    shape = (N_ROWS, SIDE, SIDE) if channels == 1 else (N_ROWS, channels, SIDE, SIDE)
    return rng.random(shape)


def _sequences(kind="array"):
    rng = np.random.default_rng(2)
    steps = np.sin(np.arange(6)[None, :, None] + rng.normal(size=(N_ROWS, 1, 2)))
    if kind == "list":
        return [each[: 3 + number % 4] for number, each in enumerate(steps)]
    return steps


WORDS = np.where(np.arange(N_ROWS) % 3 == 0, "cat", "doggy")
NUMBERS = np.sin(np.arange(N_ROWS) / 3.0)
SHORT = {"max_iter": 2, "random_state": 0}


def _pair():
    return nn.Sequential(nn.Linear(N_COLUMNS, 4), nn.ReLU(), nn.Linear(4, 2)), (
        nn.Linear(2, N_COLUMNS)
    )


AE, VAE = skae.AutoencoderTransformer, skae.VariationalAE
DETECTOR, CLASSIFIER = skae.AEOutlierDetector, skae.StackedAEClassifier
SMALL_DETECTOR = {"n_estimators": 4, "max_iter": 3, "random_state": 0}
SMALL_CLASSIFIER = {"max_iter": 2, "pretrain_max_iter": 2, "random_state": 0}
# By name: what makes the estimator, the samples, and y where there is one.
CASES = {
    "linear": (lambda: AE(2, hidden_layer_sizes=(), random_state=0), _table),
    "dense": (lambda: AE(2, **SHORT), _table),
    "share": (lambda: AE(0.9, **SHORT), _table),
    "tied": (lambda: AE(2, hidden_layer_sizes=8, tied_weights=True, **SHORT), _table),
    "deep": (lambda: AE(2, hidden_layer_sizes=(9, 5), init="random", **SHORT), _table),
    "names": (lambda: AE(2, **SHORT), lambda: _table("names")),
    "float32": (lambda: AE(2, **SHORT), lambda: _table().astype(np.float32)),
    "shares": (
        lambda: AE(2, likelihood="bernoulli", **SHORT),
        lambda: _table("shares"),
    ),
    "student": (lambda: AE(2, likelihood="student_t", **SHORT), _table),
    "categorical": (
        lambda: AE(2, likelihood=Categorical(3), init="random", **SHORT),
        lambda: _table("classes"),
    ),
    "part": (lambda: AE(2, architecture=Conv((1, SIDE, SIDE)), **SHORT), _images),
    "pair": (lambda: AE(architecture=_pair(), init="random", **SHORT), _table),
    "user": (
        lambda: AE(
            architecture=(Halves(2), nn.Linear(2, N_COLUMNS)), penalty=Pull(), **SHORT
        ),
        _table,
    ),
    "state": (
        lambda: skae.DenoisingAE(2, max_iter=2, random_state=np.random.RandomState(3)),
        _table,
    ),
    "denoising": (lambda: skae.DenoisingAE(2, **SHORT), _table),
    "masked": (lambda: skae.DenoisingAE(2, noise="masking", **SHORT), _table),
    "peppered": (
        lambda: skae.DenoisingAE(2, noise="salt_and_pepper", **SHORT),
        _table,
    ),
    "sparse": (lambda: skae.SparseAE(8, **SHORT), _table),
    "sparse_l1": (lambda: skae.SparseAE(8, kind="l1", **SHORT), _table),
    "contractive": (lambda: skae.ContractiveAE(2, **SHORT), _table),
    "variational": (lambda: VAE(2, **SHORT), _table),
    "density": (lambda: VAE(2, code_density="mixture", **SHORT), _table),
    "words": (lambda: skae.ConditionalVAE(2, **SHORT), _table, WORDS),
    "conditions": (lambda: skae.ConditionalVAE(2, **SHORT), _table, NUMBERS),
    "images": (lambda: skae.ConvAE(3, **SHORT), _images),
    "colours": (lambda: skae.ConvAE(3, init="random", **SHORT), lambda: _images(3)),
    "lstm": (lambda: skae.RecurrentAE(2, hidden_size=5, **SHORT), _sequences),
    "gru": (
        lambda: skae.RecurrentAE(2, cell="gru", hidden_size=5, n_layers=2, **SHORT),
        lambda: _sequences("list"),
    ),
    "adversarial": (lambda: skae.AdversarialAE(2, prior="swiss_roll", **SHORT), _table),
    "circle": (lambda: skae.AdversarialAE(2, prior=circle, **SHORT), _table),
    "gan": (
        lambda: skae.GAN(
            hidden_layer_sizes=(8,), minibatch_discrimination=True, n_modes=2, **SHORT
        ),
        _table,
        WORDS,
    ),
    "replay": (
        lambda: skae.GAN(
            hidden_layer_sizes=(8,), replay=0.3, loss="wasserstein_gp", **SHORT
        ),
        _table,
    ),
    "image_gan": (
        lambda: skae.GAN(architecture="conv", channels=(4, 8), **SHORT),
        _images,
    ),
    "classifier": (lambda: CLASSIFIER((8, 4), **SMALL_CLASSIFIER), _table, WORDS),
    "unlabelled": (
        lambda: CLASSIFIER((8, 4), **SMALL_CLASSIFIER),
        _table,
        np.where(np.arange(N_ROWS) % 4, -1, np.arange(N_ROWS) % 3),
    ),
    "started": (
        lambda: CLASSIFIER(
            encoder=FrozenEstimator(AE(2, **SHORT).fit(_table())), **SMALL_CLASSIFIER
        ),
        _table,
        WORDS,
    ),
    "detector": (lambda: DETECTOR(**SMALL_DETECTOR), lambda: _table("names")),
    "missing": (
        lambda: DETECTOR(missing="unusual", **SMALL_DETECTOR),
        lambda: _table("missing"),
    ),
    "subspaces": (
        lambda: DETECTOR(max_features=0.5, bootstrap=True, **SMALL_DETECTOR),
        _table,
    ),
    "novelty": (lambda: DETECTOR(novelty=True, **SMALL_DETECTOR), _table),
    "judge": (
        lambda: DETECTOR(estimator=skae.DenoisingAE(2, **SHORT), random_state=0),
        _table,
    ),
    "image_judge": (
        lambda: DETECTOR(estimator=skae.ConvAE(2, **SHORT), random_state=0),
        _images,
    ),
}


def fitted(name):
    """The fitted estimator of a case; streaming ones have seen a second chunk."""
    make, samples, *y = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return go_on(make().fit(samples(), *y), name)


def go_on(estimator, name):
    """The estimator, after some more training on the same samples."""
    _, samples, *y = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if hasattr(estimator, "partial_fit"):
            return estimator.partial_fit(samples(), *y)
        more = (
            {"n_estimators": len(estimator.estimators_) + 2}
            if (hasattr(estimator, "estimators_"))
            else {}
        )
        estimator.set_params(warm_start=True, **more)
        return estimator.fit(samples(), *y)


def answers(estimator, name):
    """What every method says of the samples, by method."""
    _, samples, *y = CASES[name]
    X, found = samples(), {}
    for method in METHODS:
        call = getattr(estimator, method, None)
        if call is None:
            continue
        passed = y if "y" in inspect.signature(call).parameters else []
        found[method] = _array(call(X, *passed))
    if hasattr(estimator, "inverse_transform"):
        call = estimator.inverse_transform
        passed = y if "y" in inspect.signature(call).parameters else []
        found["inverse_transform"] = _array(call(found["transform"], *passed))
    if hasattr(estimator, "sample"):
        found["sample"] = np.asarray(estimator.sample(4, random_state=1))
    if hasattr(estimator, "corrupt"):
        found["corrupt"] = _array(estimator.corrupt(X, random_state=1))
    for attribute, value in sorted(vars(estimator).items()):
        is_shown = attribute.endswith("_") and not attribute.startswith("_")
        if is_shown and isinstance(value, np.ndarray | list | float | int | str):
            try:
                array = np.asarray(value)
            except ValueError:
                continue
            if array.dtype.kind in "biufU":
                found[attribute] = array
    return found


def _array(result):
    """What a method returned; sequences of different lengths after one another."""
    return np.concatenate(result) if isinstance(result, list) else np.asarray(result)


def _array(result):
    """A result as one array: sequences of different lengths stand in a row."""
    return np.concatenate(result) if isinstance(result, list) else np.asarray(result)


def main(folder):
    for path in sorted(Path(folder).glob("*.safetensors")):
        name = path.stem
        estimator = skae.load(path, trusted=TRUSTED)
        np.savez(path.with_suffix(".npz"), **answers(estimator, name))
        go_on(estimator, name)
        np.savez(path.with_suffix(".more.npz"), **answers(estimator, name))


if __name__ == "__main__":
    # Files name the classes above by this module, not by the script.
    import saved_estimators

    saved_estimators.main(sys.argv[1])
