"""Do an adversarial autoencoder's codes follow the prior that was asked for?

Codes of 1,000 rows that were not trained on against as many samples of the prior, by a
permutation test on the energy distance, for three priors and several seeds with one
setting for all. Beside them the codes of a plain autoencoder of the same size, trained
by its own, shorter defaults, as they are and moved and turned to the prior's mean and
covariance, so that only their shape counts against them. Each test is repeated on other
rows. Rows are MNIST's under `SKAE_DATA`, shuffled and split at random (its own test
images are by other writers), or else scikit-learn's digits. Everything runs on one
thread.

    python benchmarks/generative_codes.py              # about 15 minutes
    python benchmarks/generative_codes.py --seeds 0 --priors swiss_roll
"""

import argparse

import numpy as np
import torch
from benchmark_data import images
from energy_test import energy_test
from report import one_thread, print_table, progress, save, seconds
from scipy.linalg import sqrtm

from skae import AdversarialAE, AutoencoderTransformer
from skae.parts.targets import TARGETS

N_POINTS = 1_000
N_DRAWS = 5
LEVEL = 0.01


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--priors", nargs="+", choices=TARGETS, default=[*TARGETS])
    options = parser.parse_args()

    with one_thread():
        name, lines = measure(options.priors, options.seeds)
    print_table(f"{name}: codes of rows not trained on, against the prior", lines)
    save("generative_codes", options=vars(options), rows=name, lines=lines)


def measure(priors=tuple(TARGETS), seeds=(0, 1, 2)):
    """Name of the rows, and one line for each prior and seed."""
    name, X, X_test = split()
    plain = {seed: plain_codes(X, X_test, seed) for seed in seeds}
    lines = [
        line(prior, seed, X, X_test, *plain[seed]) for prior in priors for seed in seeds
    ]
    return name, lines


def split():
    """Name, training rows and others: 5,000 of MNIST, a quarter of digits."""
    data = images("mnist")
    rows = np.concatenate([data.train, data.test])
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    n_test = min(N_DRAWS * N_POINTS, len(rows) // 4)
    return data.name, rows[n_test:], rows[:n_test]


def plain_codes(X, X_test, seed):
    """Codes and mean squared error of the autoencoder without a critic."""
    hidden = (500, 250) if X.shape[1] > 200 else (128, 64)
    model = AutoencoderTransformer(
        2, hidden_layer_sizes=hidden, init="random", random_state=seed, device="cpu"
    )
    model.fit(X)
    return model.transform(X_test), squared_error(model, X_test)


def line(prior, seed, X, X_test, Z_plain, error_plain):
    model = AdversarialAE(prior=prior, random_state=seed, device="cpu")
    spent, _ = seconds(model.fit, X)
    generator = torch.Generator().manual_seed(1000 + seed)
    samples = TARGETS[prior]().sample(len(X_test), 2, generator).double().numpy()
    codes = {
        "p": model.transform(X_test),
        "p, plain": Z_plain,
        "p, plain moved": moved(Z_plain, samples),
    }
    p_values = {name: tests(Z, samples) for name, Z in codes.items()}
    progress(f"{prior}, seed {seed}, {spent:.0f} s: {p_values}")
    n_tests = len(p_values["p"])
    return {
        "prior": prior,
        "seed": seed,
        **{name: values[0] for name, values in p_values.items()},
        **{
            name.replace("p", "rejected", 1): f"{sum(p <= LEVEL for p in values)}"
            f" of {n_tests}"
            for name, values in p_values.items()
        },
        "squared error": squared_error(model, X_test),
        "plain's": error_plain,
        "seconds": spent,
    }


def tests(Z, samples):
    """p-values of 1,000 codes each, or of all where there are fewer."""
    places = range(0, max(1, len(Z) - N_POINTS + 1), N_POINTS)
    parts = [slice(start, start + N_POINTS) for start in places]
    return [energy_test(Z[part], samples[part], random_state=0) for part in parts]


def moved(Z, samples):
    """Codes with the mean and the covariance of samples."""
    white = np.linalg.inv(sqrtm(np.cov(Z.T)).real)
    turned = (Z - Z.mean(axis=0)) @ white @ sqrtm(np.cov(samples.T)).real
    return turned + samples.mean(axis=0)


def squared_error(model, X):
    """Mean over rows and features, in units of the features' mean variance."""
    return float(np.mean((model.reconstruct(X) - X) ** 2) / X.var(axis=0).mean())


if __name__ == "__main__":
    main()
