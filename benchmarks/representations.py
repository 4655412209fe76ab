"""What are codes worth to a linear classifier?

A linear support vector machine on raw pixels, on PCA's codes and on those of plain,
denoising, sparse and contractive autoencoders with their defaults, of equal width. Rows
are images: MNIST turned by random angles (as in Vincent et al. 2010) and Fashion-MNIST
under `SKAE_DATA`, or else scikit-learn's digits. Encoders see the training images
without labels; all codes are standardised, and the classifier's C is chosen on a fifth
of the training rows. Everything runs on one thread.

    python benchmarks/representations.py               # about 15 minutes
    python benchmarks/representations.py --widths 64 --rows 3000
"""

import argparse
import math

import numpy as np
from benchmark_data import images
from report import one_thread, print_table, progress, save, seconds
from scipy.ndimage import rotate
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skae import ContractiveAE, DenoisingAE, SparseAE

STRENGTHS = (1e-4, 1e-3, 1e-2)
N_TEST = 5_000
ENCODERS = {
    "PCA": lambda k: PCA(k, random_state=0),
    "plain": lambda k: DenoisingAE(k, noise=None, random_state=0, device="cpu"),
    "denoising, Gaussian": lambda k: DenoisingAE(k, random_state=0, device="cpu"),
    "denoising, masking": lambda k: DenoisingAE(
        k, noise="masking", noise_level=0.25, random_state=0, device="cpu"
    ),
    "denoising, salt and pepper": lambda k: DenoisingAE(
        k, noise="salt_and_pepper", noise_level=0.25, random_state=0, device="cpu"
    ),
    "sparse, KL": lambda k: SparseAE(k, random_state=0, device="cpu"),
    "sparse, L1": lambda k: SparseAE(
        k, kind="l1", activation="relu", random_state=0, device="cpu"
    ),
    "contractive": lambda k: ContractiveAE(k, random_state=0, device="cpu"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="to train on")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 500])
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=[*ENCODERS])
    options = parser.parse_args()

    lines = []
    with one_thread():
        for name, *data in sets(options.rows):
            lines += measure(name, data, options)
    print_table("Test error of a linear support vector machine", lines)
    save("representations", options=vars(options), lines=lines)


def sets(n_rows):
    """Name, training and test images in [0, 1] with their labels."""
    data = images("mnist")
    if data.name == "digits":
        yield "digits", data.train, data.y_train, data.test, data.y_test
        return
    yield cut("MNIST, turned", data, n_rows, turned)
    yield cut("Fashion-MNIST", images("fashion_mnist"), n_rows, lambda X, seed: X)


def cut(name, data, n_rows, change):
    """The first rows of a set, changed."""
    X, X_test = change(data.train[:n_rows], 0), change(data.test[:N_TEST], 1)
    return name, X, data.y_train[:n_rows], X_test, data.y_test[:N_TEST]


def turned(X, seed):
    """Images turned by uniformly random angles."""
    side = math.isqrt(X.shape[1])
    angles = np.random.default_rng(seed).uniform(0, 360, len(X))
    pictures = [
        rotate(row.reshape(side, side), angle, reshape=False, order=1).ravel()
        for row, angle in zip(X, angles, strict=True)
    ]
    return np.stack(pictures)


def measure(name, data, options):
    """One line for each representation of a set."""
    X, y, X_test, y_test = data
    lines = [
        {
            "set": name,
            "width": X.shape[1],
            "codes": "pixels",
            "error": error(*data),
            "seconds": None,
        }
    ]
    for width in options.widths:
        for encoder in options.encoders:
            if encoder == "PCA" and width > min(X.shape):
                continue
            spent, model = seconds(ENCODERS[encoder](width).fit, X)
            codes = model.transform(X), y, model.transform(X_test), y_test
            lines.append(
                {
                    "set": name,
                    "width": width,
                    "codes": encoder,
                    "error": error(*codes),
                    "seconds": spent,
                }
            )
            progress(f"{name}, {width}, {encoder}: {lines[-1]['error']:.3f}")
    return lines


def error(Z, y, Z_test, y_test):
    """Test error; C is chosen on a fifth of the training rows."""
    split = train_test_split(Z, y, test_size=0.2, random_state=0, stratify=y)
    Z_fit, Z_held_out, y_fit, y_held_out = split
    scores = [
        classifier(C).fit(Z_fit, y_fit).score(Z_held_out, y_held_out) for C in STRENGTHS
    ]
    best = classifier(STRENGTHS[int(np.argmax(scores))]).fit(Z, y)
    return float(1 - best.score(Z_test, y_test))


def classifier(C):
    return make_pipeline(
        StandardScaler(), LinearSVC(C=C, dual=False, tol=1e-2, random_state=0)
    )


if __name__ == "__main__":
    main()
