"""The pictures of docs/generative.md: samples of GANs, the first that come.

Every architecture for images learns Fashion-MNIST, MNIST with its labels (both padded
to 32 x 32, under `SKAE_DATA`, or from OpenML), and colour patches of scikit-learn's
sample photographs. Nothing is picked: the seed is 0 if no other is asked for, and
training has a set length. Digits show what mixing does, so styles are mixed there.

    python benchmarks/draw_generated.py                       # about an hour
    python benchmarks/draw_generated.py --data fashion --architectures style
    python benchmarks/draw_generated.py --folder drafts --epochs 1 --seed 1
"""

import argparse
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from generative_images import padded
from photographs import cut
from report import progress, seconds
from sklearn.datasets import load_sample_images
from sklearn.exceptions import ConvergenceWarning

from skae import GAN
from skae.callbacks import SampleGrid
from skae.inspection import (
    GrowthDisplay,
    SampleDisplay,
    StyleMixingDisplay,
    TruncationDisplay,
)

DATA = ("fashion", "mnist", "colour")
ARCHITECTURES = ("conv", "progressive", "style")
# Patches are far fewer than images of the other sets.
EPOCHS = {"fashion": 8, "mnist": 8, "colour": 16}
PATCH, STEP = 32, 8
N_ROWS, N_COLUMNS, DPI = 4, 10, 48


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument(
        "--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES
    )
    parser.add_argument("--epochs", type=int, help="in place of those that are set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in options.data:
        images, y = data_set(name)
        for architecture in options.architectures:
            epochs = options.epochs or EPOCHS[name]
            gan = GAN(architecture=architecture, max_iter=epochs, device="cpu")
            gan.set_params(random_state=options.seed)
            if (name, architecture) == ("mnist", "style"):
                gan.set_params(style_mixing=0.5)
            with TemporaryDirectory() as folder:
                grid = SampleGrid(Path(folder) / "samples.png", n_samples=4)
                gan.set_params(callbacks=[grid])
                took, _ = seconds(gan.fit, images, y)
            progress(f"{name}, {architecture}: {epochs} epochs, {took:.0f} s")
            for kind, display in displays(gan, name):
                figure = options.folder / f"{kind}-{name}-{architecture}.png"
                display.figure_.savefig(figure, dpi=DPI)


def data_set(name):
    """Images, and their labels where samples are drawn by them."""
    if name == "colour":
        photos = load_sample_images().images
        rows = [row for photo in photos for row in cut(photo, PATCH, STEP)]
        images = np.reshape(rows, (-1, 3, PATCH, PATCH)) / np.float32(255)
        return images, None
    data = padded("fashion_mnist" if name == "fashion" else name)
    images = data.train.reshape(-1, 32, 32)
    return images, data.y_train if name == "mnist" else None


def displays(gan, name):
    """What is drawn of a fitted model, with the names of the pictures."""
    y = None
    if name == "mnist":
        y = np.tile(np.arange(N_COLUMNS), N_ROWS)
    yield (
        "samples",
        SampleDisplay.from_estimator(gan, N_ROWS * N_COLUMNS, y=y, n_columns=N_COLUMNS),
    )
    if gan.architecture == "progressive":
        yield "growth", GrowthDisplay.from_estimator(gan)
    if gan.architecture == "style":
        yield "truncation", TruncationDisplay.from_estimator(gan, 3)
    if gan.style_mixing:
        yield "mixing", StyleMixingDisplay.from_estimator(gan, 3, 8, n_layers=2)


if __name__ == "__main__":
    main()
