"""Do autoencoders hold up on photographs?

Patches of scikit-learn's two sample photographs, channels first in [0, 1], on one
thread. A fifth of the patches, drawn at random, and the right third of each photograph
are held out; the latter shares no pixel with the training patches.

- codes: the error of `ConvAE(k)` over that of PCA(k), k = 16, 64, 256, for colour
  patches of 32 x 32 and 64 x 64 pixels and grey ones, and for images of Fashion-MNIST;
- maps: the error of the feature map as code by likelihood, and the error at the borders
  of the 4 x 4 patches, of which the network is made, over that inside, also elsewhere;
- samples: `VariationalAE` on Fashion-MNIST, the Frechet distance of 5,000 samples to
  test images in a classifier's features, and `ConditionalVAE` on MNIST, the accuracy on
  real test images of a classifier that saw 20,000 samples only.

    python benchmarks/photographs.py                     # about half an hour
    python benchmarks/photographs.py --parts codes       # beside what is saved already
    python benchmarks/photographs.py --quick             # one setting of each part
    python benchmarks/photographs.py --parts codes --only "colour, 32" --codes 64
"""

import argparse
import math
import warnings
from typing import NamedTuple

import numpy as np
from benchmark_data import images, is_wanted
from generative_labels import scores
from image_classifier import classifier, frechet
from pca_ratio import exact_pca, geometric_mean, mean_squared_error
from report import merge, one_thread, print_table, progress, save, seconds
from sklearn.datasets import load_sample_images
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skae import ConditionalVAE, ConvAE, VariationalAE
from skae.parts.likelihoods import Gaussian

CODES = (16, 64, 256)
STEP = 16
SEEN_SHARE = 0.7
PATCH = 4
N_IMAGES, N_TEST_IMAGES = 5_000, 2_000
N_SAMPLES, N_OF_CLASS = 5_000, 2_000
PARTS = ("codes", "maps", "samples")


class Patches(NamedTuple):
    """Flat images: to train on, of the same places, and of others."""

    train: np.ndarray
    test: np.ndarray
    elsewhere: np.ndarray | None
    shape: tuple


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--only", nargs="+", help="data whose name contains one of these"
    )
    parser.add_argument("--codes", nargs="+", type=int, default=CODES)
    parser.add_argument("--quick", action="store_true", help="one setting, few steps")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    found = {}
    with one_thread():
        for part in options.parts:
            found[part] = globals()[part](options)
            if not options.quick:
                found[part] = beside_earlier(part, found[part])
            print_table(part, found[part])
    if not options.quick:
        save("photographs", **merge("photographs", found))


def beside_earlier(part, rows):
    """Rows, and those that earlier runs have saved of other settings."""

    def setting(row):
        return row["data"], row.get("k"), row.get("model")

    new = {setting(row) for row in rows}
    earlier = merge("photographs", {}).get(part, [])
    rows = [row for row in earlier if setting(row) not in new] + rows
    if part != "codes":
        return rows
    rows = [row for row in rows if row["k"] is not None]
    order = list(DATA)
    rows.sort(key=lambda row: (order.index(row["data"]), row["k"]))
    return [*rows, mean_of(rows)]


# The data ------------------------------------------------------------------------


def patches(side, *, grey=False):
    """Overlapping patches of a side."""
    seen, elsewhere = [], []
    for photo in load_sample_images().images:
        photo = photo.mean(axis=2, keepdims=True) if grey else photo
        edge = int(SEEN_SHARE * photo.shape[1])
        seen += cut(photo[:, :edge], side, STEP)
        elsewhere += cut(photo[:, edge:], side, side // 2)
    seen, elsewhere = (np.float32(each) / np.float32(255) for each in (seen, elsewhere))
    train, test = train_test_split(seen, test_size=0.2, random_state=0)
    return Patches(train, test, elsewhere, (1 if grey else 3, side, side))


def cut(photo, side, step):
    """Flat patches, channels first."""
    return [
        photo[top : top + side, left : left + side].transpose(2, 0, 1).ravel()
        for top in range(0, photo.shape[0] - side + 1, step)
        for left in range(0, photo.shape[1] - side + 1, step)
    ]


def clothes():
    """Grey images of garments."""
    data = images("fashion_mnist")
    side = math.isqrt(data.train.shape[1])
    rows = data.train[:N_IMAGES], data.test[:N_TEST_IMAGES]
    return Patches(*rows, None, (1, side, side))


DATA = {
    "colour, 32 x 32": lambda: patches(32),
    "colour, 64 x 64": lambda: patches(64),
    "grey, 32 x 32": lambda: patches(32, grey=True),
    "Fashion-MNIST": clothes,
}


def wanted(options):
    names = [name for name in DATA if is_wanted(name, options.only)]
    return {name: DATA[name]() for name in (names[:1] if options.quick else names)}


# What is measured ----------------------------------------------------------------


def codes(options):
    """Errors of codes of some widths over PCA's."""
    table = []
    for name, data in wanted(options).items():
        for k in options.codes[:1] if options.quick else options.codes:
            model = ConvAE(k, **settings(data, options))
            spent, _ = seconds(model.fit, data.train)
            pca = exact_pca(data.train, k)
            line = {"data": name, "images": len(data.train), "k": k}
            for where in ("test", "elsewhere"):
                rows = getattr(data, where)
                line[where] = None if rows is None else ratio(model, pca, rows)
            line |= {"kept": model.departure_, "fit s": spent}
            progress(str(line))
            table.append(line)
    return [*table, mean_of(table)]


def ratio(model, pca, rows):
    error = mean_squared_error(model.reconstruct, rows)
    return error / mean_squared_error(pca, rows)


def mean_of(table):
    """Geometric means of the ratios."""
    means = {
        where: geometric_mean([row[where] for row in table if row[where] is not None])
        for where in ("test", "elsewhere")
        if any(row[where] is not None for row in table)
    }
    return dict.fromkeys(table[0]) | {"data": "geometric mean"} | means


def maps(options):
    """Errors of feature maps as codes, and where in a patch they lie."""
    table = []
    for name, data in wanted(options).items():
        model = ConvAE(**settings(data, options))
        spent, _ = seconds(model.fit, data.train)
        error = np.square(model.reconstruct(data.test) - data.test)
        of_gaussian = error.mean()
        if not isinstance(model.net_.likelihood, Gaussian):
            # Else it would be the same fit.
            gaussian = ConvAE(likelihood="gaussian", **settings(data, options))
            gaussian.fit(data.train)
            of_gaussian = mean_squared_error(gaussian.reconstruct, data.test)
        line = {"data": name, "error": float(error.mean())}
        line["auto / gaussian"] = float(error.mean() / of_gaussian)
        line["borders / inside"] = at_borders(error, data.shape)
        line["elsewhere"] = None
        if data.elsewhere is not None:
            error = np.square(model.reconstruct(data.elsewhere) - data.elsewhere)
            line["elsewhere"] = at_borders(error, data.shape)
        line["fit s"] = spent
        progress(str(line))
        table.append(line)
    return table


def at_borders(error, shape):
    """Mean error of the outer pixels of patches over that of the inner ones."""
    per_pixel = error.reshape(-1, *shape).mean(axis=(0, 1))
    outer = [np.isin(np.arange(size) % PATCH, (0, PATCH - 1)) for size in shape[1:]]
    is_outer = outer[0][:, None] | outer[1]
    return float(per_pixel[is_outer].mean() / per_pixel[~is_outer].mean())


def samples(options):
    """How good samples are of variational autoencoders."""
    common = {
        "random_state": 0,
        "device": "cpu",
        "max_iter": 1 if options.quick else None,
    }
    clothes, digits = images("fashion_mnist"), images("mnist")
    square = {"sample_shape": (1, *2 * [math.isqrt(clothes.train.shape[1])])}
    judge = classifier(clothes.train, clothes.y_train)
    model = VariationalAE(20, **square, **common)
    spent, _ = seconds(model.fit, clothes.train)
    made = np.float32(model.sample(N_SAMPLES, random_state=0))
    distance = frechet(judge, made, clothes.test)
    first = {"model": "VariationalAE", "data": "Fashion-MNIST", "fit s": spent}
    model = ConditionalVAE(20, **square, **common)
    spent, _ = seconds(model.fit, digits.train, digits.y_train)
    labels = np.repeat(np.unique(digits.y_train), N_OF_CLASS)
    made = np.float32(model.sample(len(labels), y=labels, random_state=1))
    second = {"model": "ConditionalVAE", "data": "MNIST", "fit s": spent}
    accuracy = scores(made, labels, digits)
    return [
        {**first, "Frechet distance": distance} | dict.fromkeys(accuracy),
        {**second, "Frechet distance": None, **accuracy},
    ]


def settings(data, options):
    return {
        "sample_shape": data.shape,
        "max_iter": 2 if options.quick else None,
        "random_state": 0,
        "device": "cpu",
    }


if __name__ == "__main__":
    main()
