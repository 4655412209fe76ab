"""Does a GAN find all kinds of rows, and how good are its images?

Grid: 10,000 rows of 25 Gaussians, of standard deviation 0.05 and 2 apart. A mode is
found where it gets at least a fifth of the samples due to it within three standard
deviations; the second figure is the share of all 5,000 samples that lie as near to some
centre (98.9% of rows do). `GAN` with its defaults, with each remedy of mode collapse
and without what keeps the default game steady.

Images: `GAN(architecture="conv")` on Fashion-MNIST (under `SKAE_DATA`, or from OpenML).
A small convolutional classifier of the real images counts the kinds among 5,000 samples
and gives the features for the Frechet distance to test images (Heusel et al. 2017,
arXiv 1706.08500, with this classifier in place of Inception), beside a variational
autoencoder's.

    python benchmarks/generative_modes.py                        # about an hour
    python benchmarks/generative_modes.py --tables grid --seeds 1
"""

import argparse
import warnings

import numpy as np
from benchmark_data import images
from image_classifier import classifier, frechet, predicted
from report import merge, print_table, progress, save, seconds
from sklearn.exceptions import ConvergenceWarning

from skae import GAN, VariationalAE

N_ROWS, N_SAMPLES, DEVIATION, SPACING = 10_000, 5000, 0.05, 2
QUICK_ROWS = 1000
GRID = {
    "defaults": {},
    "minibatch discrimination": {"minibatch_discrimination": True},
    "replay 0.5": {"replay": 0.5},
    "both": {"minibatch_discrimination": True, "replay": 0.5},
    "no penalty": {"gradient_penalty": 0.0},
    "no average": {"ema": 0.0},
    "non-saturating": {"loss": "non_saturating"},
    "wasserstein_gp": {"loss": "wasserstein_gp"},
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=["grid", "images"])
    parser.add_argument("--settings", nargs="+", default=list(GRID), help="of the grid")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)

    found = {}
    if "grid" in options.tables:
        found["grid"] = grid_table(options.settings, options.seeds)
        print_table(f"25 Gaussians, {options.seeds} seeds", found["grid"])
    if "images" in options.tables:
        found["images"] = image_table()
        print_table(f"{N_SAMPLES} generated images", found["images"])
    save("generative_modes", **merge("generative_modes", found))


def grid_table(settings, n_seeds):
    """Modes found and samples near one, for each setting."""
    table = []
    for name in settings:
        modes, near, spent = [], [], []
        for seed in range(n_seeds):
            centers, X = grid(seed)
            gan = GAN(random_state=seed, device="cpu", **GRID[name])
            took, _ = seconds(gan.fit, X)
            n_modes, share = judged(gan.sample(N_SAMPLES), centers)
            modes.append(n_modes)
            near.append(100 * share)
            spent.append(took)
            progress(f"{name}, seed {seed}: {n_modes} modes, {share:.1%}, {took:.0f} s")
        table.append(
            {
                "setting": name,
                "modes, mean": float(np.mean(modes)),
                "modes, worst": int(min(modes)),
                "near %, mean": float(np.mean(near)),
                "near %, worst": float(min(near)),
                "seconds": float(np.mean(spent)),
            }
        )
    return table


def grid(seed):
    """Centres and rows."""
    rng = np.random.default_rng(seed)
    line = SPACING * np.arange(-2.0, 3.0)
    centers = np.array([(a, b) for a in line for b in line])
    drawn = centers[rng.integers(len(centers), size=N_ROWS)]
    return centers, drawn + DEVIATION * rng.standard_normal(drawn.shape)


def judged(samples, centers):
    """Number of modes found, and the share of samples near a mode."""
    distances = np.linalg.norm(samples[:, None] - centers, axis=2)
    near = distances.min(axis=1) < 3 * DEVIATION
    counts = np.bincount(distances.argmin(axis=1)[near], minlength=len(centers))
    return int((counts >= 0.2 * len(samples) / len(centers)).sum()), float(near.mean())


def image_table(quick=False):
    """Frechet distance and kinds of samples, of the GAN and of an autoencoder."""
    data = images("fashion_mnist")
    train = data.train[:QUICK_ROWS] if quick else data.train
    max_iter = 1 if quick else None
    judge = classifier(data.train, data.y_train, n_steps=100 if quick else 1500)
    side = round(data.train.shape[1] ** 0.5)
    models = {
        "GAN, conv": GAN(
            architecture="conv",
            sample_shape=(1, side, side),
            max_iter=max_iter,
            random_state=0,
            device="cpu",
        ),
        "VariationalAE": VariationalAE(
            20,
            likelihood="bernoulli",
            max_iter=max_iter,
            random_state=0,
            device="cpu",
        ),
    }
    table = []
    for name, model in models.items():
        took, _ = seconds(model.fit, train)
        made = np.asarray(model.sample(N_SAMPLES), dtype=np.float32)
        kinds = np.bincount(predicted(judge, made), minlength=10)
        line = {
            "model": name,
            "Frechet distance": frechet(judge, made, data.test),
            "rarest kind %": 100 * float(kinds.min() / kinds.sum()),
            "kinds": int((kinds > 0).sum()),
            "seconds": took,
        }
        progress(str(line))
        table.append(line)
    real = frechet(judge, data.train[:N_SAMPLES], data.test)
    table.append({"model": "training images", "Frechet distance": real})
    keys = table[0]
    table = [{key: line.get(key) for key in keys} for line in table]
    return table


if __name__ == "__main__":
    main()
