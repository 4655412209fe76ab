"""Is any architecture worse than PCA?

Held-out mean squared error, in the units of the rows, over that of exact PCA with as
many components and the same training rows, on one thread:

- `ConvAE` on 5,000 images of Fashion-MNIST and of MNIST, and on the 520 colour
  patches of 32 x 32 pixels of scikit-learn's two photographs; k = 8, 32;
- `RecurrentAE` on ECG5000, on sums of two sines and on sequences of three features that
  follow one wave; k = 4, 8, 16;
- `VariationalAE` on the patches and on Fashion-MNIST; k = 8, 32;
- two torch modules, 784-64-k and back, as `AutoencoderTransformer(architecture=...)` on
  MNIST; k = 8, 32.

    python benchmarks/anchored.py                       # about 10 minutes
    python benchmarks/anchored.py --quick               # one setting of each estimator
    python benchmarks/anchored.py --only RecurrentAE "ConvAE, MNIST"
"""

import argparse
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from benchmark_data import heartbeats, images, is_wanted
from pca_ratio import exact_pca, geometric_mean, mean_squared_error
from report import one_thread, print_table, progress, save, seconds
from sklearn.datasets import load_sample_images
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from torch import nn

from skae import AutoencoderTransformer, ConvAE, RecurrentAE, VariationalAE

WORSE = 1.001
N_IMAGES, N_TEST_IMAGES = 5_000, 2_000
PATCH_SIDE = 32
N_SEQUENCES = 600
HIDDEN = 64


class Samples(NamedTuple):
    """Flat rows, and the shape of one as `ConvAE` or `RecurrentAE` takes it."""

    train: np.ndarray
    test: np.ndarray
    sample_shape: tuple


class Case(NamedTuple):
    """An estimator on a data set, for several numbers of components."""

    name: str
    data: Callable
    make: Callable
    widths: tuple


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one of each estimator")
    parser.add_argument("--only", nargs="+", help="names containing one of these")
    parser.add_argument("--seeds", type=int, default=1, help="0, 1, ... of the fits")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)

    cases = [case for case in CASES if is_wanted(case.name, options.only)]
    with one_thread():
        fits = [
            fit
            for case in (one_of_each(cases) if options.quick else cases)
            for fit in measure(case, options.seeds)
        ]
    print_table("Held-out error / exact PCA's", fits)
    lines = summary(fits)
    print_table(f"Worse than PCA: ratio > {WORSE}", lines)
    save(
        "anchored-partial" if options.quick or options.only else "anchored",
        options=vars(options),
        summary=lines,
        fits=fits,
    )


# The data ------------------------------------------------------------------------


def pictures(name):
    """Images in [0, 1]."""
    data = images(name)
    side = math.isqrt(data.train.shape[1])
    return Samples(data.train[:N_IMAGES], data.test[:N_TEST_IMAGES], (1, side, side))


def patches():
    """Colour patches in [0, 1], channels first, that do not overlap."""
    side = PATCH_SIDE
    tiles = [
        photo[top : top + side, left : left + side].transpose(2, 0, 1).ravel()
        for photo in load_sample_images().images
        for top in range(0, photo.shape[0] - side + 1, side)
        for left in range(0, photo.shape[1] - side + 1, side)
    ]
    X = np.stack(tiles).astype(np.float32) / np.float32(255)
    return split(X, (3, side, side))


def ecg():
    """Heartbeats of 140 steps."""
    X = heartbeats().X
    return split(X, (X.shape[1], 1), train_size=350, test_size=150)


def sines():
    """Sums of two sines of random frequency, amplitude and phase, with noise."""
    rng = np.random.default_rng(0)
    time = np.arange(80)
    frequency, amplitude, phase = (
        rng.uniform(low, high, (2, N_SEQUENCES, 1))
        for low, high in ((0.05, 0.5), (0.5, 1.5), (0, 2 * np.pi))
    )
    waves = amplitude * np.sin(frequency * time + phase)
    noise = 0.1 * rng.standard_normal((N_SEQUENCES, len(time)))
    return split(waves.sum(axis=0) + noise, (len(time), 1))


def waves():
    """Sequences of three features that follow one wave of random frequency."""
    rng = np.random.default_rng(0)
    n_steps = 40
    frequency, phase = (
        rng.uniform(low, high, (N_SEQUENCES, 1))
        for low, high in ((0.1, 0.5), (0, 2 * np.pi))
    )
    angle = frequency * np.arange(n_steps) + phase
    X = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle)], axis=-1)
    X += 0.05 * rng.standard_normal(X.shape)
    return split(X.reshape(N_SEQUENCES, -1), (n_steps, 3))


def split(X, sample_shape, **sizes):
    train, test = train_test_split(X, random_state=0, **sizes)
    return Samples(train, test, sample_shape)


# The estimators ------------------------------------------------------------------


def conv(k, samples, seed):
    return ConvAE(k, sample_shape=samples.sample_shape, **anchored(seed))


def recurrent(k, samples, seed):
    return RecurrentAE(k, sample_shape=samples.sample_shape, **anchored(seed))


def variational(k, samples, seed):
    return VariationalAE(n_components=k, **anchored(seed))


def modules(k, samples, seed):
    d = samples.train.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pair = perceptron(d, k), perceptron(k, d)
    return AutoencoderTransformer(n_components=k, architecture=pair, **anchored(seed))


def anchored(seed):
    return {"init": "pca", "device": "cpu", "random_state": seed}


def perceptron(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, n_out))


def fashion_mnist():
    return pictures("fashion_mnist")


def mnist():
    return pictures("mnist")


CASES = (
    Case("ConvAE, MNIST", mnist, conv, (8, 32)),
    Case("ConvAE, Fashion-MNIST", fashion_mnist, conv, (8, 32)),
    Case("ConvAE, colour patches", patches, conv, (8, 32)),
    Case("RecurrentAE, ECG5000", ecg, recurrent, (4, 8, 16)),
    Case("RecurrentAE, two sines", sines, recurrent, (4, 8, 16)),
    Case("RecurrentAE, one wave", waves, recurrent, (4, 8, 16)),
    Case("VariationalAE, colour patches", patches, variational, (8, 32)),
    Case("VariationalAE, Fashion-MNIST", fashion_mnist, variational, (8, 32)),
    Case("torch modules, MNIST", mnist, modules, (8, 32)),
)


# What is measured ----------------------------------------------------------------


def one_of_each(cases):
    """The first case of each estimator, with its first width."""
    first = {case.make: case for case in reversed(cases)}
    return [case._replace(widths=case.widths[:1]) for case in first.values()][::-1]


def measure(case, n_seeds):
    """One record for each width and seed."""
    samples = case.data()
    records = []
    for k in case.widths:
        pca_error = mean_squared_error(exact_pca(samples.train, k), samples.test)
        for seed in range(n_seeds):
            model = case.make(k, samples, seed)
            spent, _ = seconds(model.fit, samples.train)
            error = mean_squared_error(model.reconstruct, samples.test)
            records.append(
                {
                    "setting": case.name,
                    "k": k,
                    "seed": seed,
                    "ratio": error / pca_error,
                    "PCA's error": pca_error,
                    "fit s": spent,
                    "kept": getattr(model, "departure_", None),
                }
            )
            progress(f"{case.name}, k={k}: {error / pca_error:.4f} in {spent:.1f} s")
    return records


def summary(fits):
    """One line for each estimator, and one for all."""
    estimators = dict.fromkeys(fit["setting"].split(",")[0] for fit in fits)
    return [ratios_of(name, fits) for name in estimators] + [ratios_of("", fits)]


def ratios_of(estimator, fits):
    ratios = [fit["ratio"] for fit in fits if fit["setting"].startswith(estimator)]
    return {
        "estimator": estimator or "all",
        "fits": len(ratios),
        "worse": sum(ratio > WORSE for ratio in ratios),
        "geometric mean": geometric_mean(ratios),
        "worst": max(ratios),
    }


if __name__ == "__main__":
    main()
