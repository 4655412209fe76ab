"""Which models draw good images, at equal seconds?

Images: Fashion-MNIST padded to 32 x 32 (under `SKAE_DATA`, or from OpenML). A small
convolutional classifier of the real images counts the kinds among 5,000 samples and
gives the features for the Frechet distance to test images, for precision and for recall
(Kynkaanniemi et al. 2019, arXiv 1904.06991). GANs train for as many whole epochs as a
pilot fit says that they do in `--seconds`, or `--epochs`; autoencoders for as long as
they want. What other runs have saved of other models and seeds stays beside it.

Labels: MNIST padded likewise. A classifier of images that a GAN by styles drew, given
their labels, is tested on real ones.

Styles: another one, trained with `style_mixing`. The class of mixed images against that
of the coarse parent, and their contrast of neighbouring pixels against that of the fine
one; precision and recall by truncation; the error of projected test images against that
of a ConvAE with a code as wide, of which three times are allowed.

    python benchmarks/generative_images.py                     # about an hour
    python benchmarks/generative_images.py --parts images --seconds 120 --seeds 0
    python benchmarks/generative_images.py --parts images --models style --epochs 7
    python benchmarks/generative_images.py --quick             # a few minutes, no file
"""

import argparse
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch
from benchmark_data import images
from image_classifier import classifier, frechet, predicted
from report import merge, print_table, progress, save, seconds
from sklearn.exceptions import ConvergenceWarning

from skae import GAN, ConditionalVAE, ConvAE, VariationalAE
from skae.statistics.precision_recall import precision_recall

__all__ = ["image_rows", "label_rows", "style_rows"]

N_SAMPLES, N_COMPARED = 5000, 3000
# Rows and epochs of a pilot fit, beside which what a fit takes once is little.
PILOT, PILOT_EPOCHS = 6400, 3
PARTS = ("images", "labels", "styles")
GANS = {
    "conv": {"architecture": "conv"},
    "progressive": {"architecture": "progressive"},
    "style": {"architecture": "style"},
    "style, relativistic": {"architecture": "style", "loss": "relativistic"},
}
MIXING = {"architecture": "style", "style_mixing": 0.5}
VAES = {"VariationalAE": VariationalAE, "ConditionalVAE": ConditionalVAE}
TRAINING = "training images"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", default=[*GANS, *VAES])
    parser.add_argument("--seconds", type=float, default=462.0)
    parser.add_argument("--epochs", type=int, help="in place of --seconds")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--quick", action="store_true", help="little data, no file")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    budget = Budget(5.0 if options.quick else options.seconds, options.epochs)
    quick = options.quick
    if "images" in options.parts:
        seeds = options.seeds[:1] if quick else options.seeds
        table = image_rows(options.models, budget, seeds, quick)
        print_table(f"{N_SAMPLES} generated images", table)
    data = padded("mnist")
    common = data, budget, 0, data.y_train, quick
    if "labels" in options.parts:
        found = label_rows(data, timed_gan(*common, **GANS["style"]))
        print_table("accuracy on real test images", found)
        keep("labels", found, quick)
    if "styles" in options.parts:
        found = style_rows(data, timed_gan(*common, **MIXING), quick)
        print_table("what styles do", found)
        keep("styles", found, quick)


def keep(part, rows, quick):
    """Save the rows of a part beside those of the others."""
    if not quick:
        save("generative_images", **merge("generative_images", {part: rows}))


class Budget(NamedTuple):
    """How long GANs train."""

    seconds: float
    epochs: int | None = None


def padded(name):
    """A data set with images of 32 x 32 as flat rows."""
    data = images(name)
    return data._replace(train=_padded(data.train), test=_padded(data.test))


def image_rows(models, budget, seeds, quick=False):
    """Quality of samples of each model and seed, saved as it comes."""
    data = padded("fashion_mnist")
    judge = classifier(data.train, data.y_train, n_steps=100 if quick else 1500)
    real = quality(judge, data.train[:N_SAMPLES], data.test)
    table = [] if quick else merge("generative_images", {}).get("images", [])
    for seed in seeds:
        for name in models:
            start = time.perf_counter()
            if name in GANS:
                model = timed_gan(data, budget, seed, None, quick, **GANS[name])
            else:
                model = fitted_vae(data, name, seed, quick)
            line = {"model": name, "seed": seed, "seconds": time.perf_counter() - start}
            made = drawn(model, data.y_train).reshape(N_SAMPLES, -1)
            line |= quality(judge, made.astype(np.float32), data.test)
            line["epochs"] = model.n_iter_
            progress(str(line))
            table = in_order([line, *table, reference(line, real)])
            keep("images", table, quick)
    return table


def in_order(table):
    """The first line of each model and seed, by model; training images come last."""
    first = {(row["model"], row["seed"]): row for row in reversed(table)}
    names = [*GANS, *VAES, TRAINING]
    order = {name: number for number, name in enumerate(names)}
    return sorted(
        first.values(), key=lambda row: (order[row["model"]], row["seed"] or 0)
    )


def reference(line, real):
    """The line of training images."""
    return {**dict.fromkeys(line), "model": TRAINING, **real}


def drawn(model, y):
    """Samples; of a model of classes, as often as they are."""
    if isinstance(model, ConditionalVAE):
        return model.sample(N_SAMPLES, y=y[:N_SAMPLES], random_state=1)
    return model.sample(N_SAMPLES, random_state=1)


def timed_gan(data, budget, seed, y=None, quick=False, **parameters):
    """A GAN of as many whole epochs as the budget allows."""
    options = {"random_state": seed, "device": "cpu", **parameters}
    rows = _images(data.train[: PILOT if quick else None])
    y = None if y is None else y[: len(rows)]
    n_epochs = budget.epochs
    if n_epochs is None:
        pilot = min(PILOT, len(rows) // 2)
        gan = GAN(max_iter=PILOT_EPOCHS, **options)
        took, _ = seconds(gan.fit, rows[:pilot], None if y is None else y[:pilot])
        per_epoch = took / PILOT_EPOCHS * len(rows) / pilot
        n_epochs = max(1, int(budget.seconds / per_epoch))
    return GAN(max_iter=n_epochs, **options).fit(rows, y)


def fitted_vae(data, name, seed, quick):
    """An autoencoder of images, by its defaults."""
    n_rows = PILOT if quick else len(data.train)
    epochs = 1 if quick else None
    model = VAES[name](20, max_iter=epochs, random_state=seed, device="cpu")
    return model.fit(_images(data.train[:n_rows]), data.y_train[:n_rows])


def quality(judge, made, test):
    """Frechet distance, precision and recall in features, and the rarest kind."""
    kinds = np.bincount(predicted(judge, made), minlength=10)
    features = [_features(judge, rows[:N_COMPARED]) for rows in (test, made)]
    precision, recall = precision_recall(*features)
    return {
        "Frechet distance": frechet(judge, made, test),
        "precision": precision,
        "recall": recall,
        "rarest kind %": 100 * float(kinds.min() / kinds.sum()),
    }


def label_rows(data, gan):
    """Accuracy on real images of a classifier that saw drawn ones only."""
    kinds = np.repeat(np.arange(10), 2000)
    made = gan.sample(len(kinds), y=kinds, random_state=1).reshape(len(kinds), -1)
    table = []
    for name, X in (("real", data.train[:20_000]), ("drawn", made)):
        y = data.y_train[:20_000] if name == "real" else kinds
        network = classifier(X.astype(np.float32), y)
        right = predicted(network, data.test) == data.y_test
        table.append({"20,000 images": name, "accuracy %": 100 * float(right.mean())})
    return table


def style_rows(data, gan, quick=False):
    """What mixing, truncation and projection do, in figures."""
    judge = classifier(data.train, data.y_train, n_steps=100 if quick else 1500)
    rows = [
        *_mixing(judge, gan),
        *_truncation(judge, gan, data.test),
        _projection(gan, data, quick),
    ]
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def _mixing(judge, gan):
    n_images = 1000
    styles = gan.styles(2 * n_images, random_state=2)
    coarse, fine = styles[:n_images], styles[n_images:]
    parents = [_flat(gan.from_styles(each)) for each in (coarse, fine)]
    for n_layers in range(1, gan.net_.generator.n_layers):
        mixed = _flat(gan.mix(coarse, fine, n_layers))
        same = predicted(judge, mixed) == predicted(judge, parents[0])
        texture = [_contrast(rows) for rows in (mixed, *parents)]
        yield {
            "what": f"mix, {n_layers} coarse layers",
            "class of the coarse %": 100 * float(same.mean()),
            "texture like coarse": float(np.corrcoef(texture[0], texture[1])[0, 1]),
            "texture like fine": float(np.corrcoef(texture[0], texture[2])[0, 1]),
        }


def _truncation(judge, gan, test):
    for truncation in (0.4, 0.6, 0.8, 1.0):
        made = _flat(gan.sample(N_COMPARED, truncation=truncation, random_state=1))
        features = [_features(judge, rows) for rows in (test[:N_COMPARED], made)]
        precision, recall = precision_recall(*features)
        what = f"truncation {truncation:g}"
        yield {"what": what, "precision": precision, "recall": recall}


def _projection(gan, data, quick):
    X = _images(data.test[:200])
    took, (_, made) = seconds(gan.project, X)
    ae = ConvAE(gan.n_components_, max_iter=1 if quick else None, random_state=0)
    ae.fit(_images(data.train[:20_000]))
    return {
        "what": "projection of test images",
        "squared error": float(np.square(made - X).mean()),
        "of a ConvAE": float(np.square(ae.reconstruct(X) - X).mean()),
        "seconds for 200": took,
    }


def _contrast(rows):
    """Mean difference of neighbouring pixels over the mean of those of ink."""
    square = rows.reshape(-1, 32, 32)
    difference = np.abs(np.diff(square, axis=2)).mean((1, 2))
    return difference / (square.mean((1, 2)) + 1e-3)


@torch.no_grad()
def _features(judge, rows):
    return judge.features(torch.as_tensor(rows)).numpy()


def _flat(rows):
    return rows.reshape(len(rows), -1).astype(np.float32)


def _images(rows):
    return rows.reshape(len(rows), 32, 32)


def _padded(rows):
    side = round(rows.shape[1] ** 0.5)
    before = (32 - side) // 2
    after = 32 - side - before
    margins = ((0, 0), (before, after), (before, after))
    return np.pad(rows.reshape(-1, side, side), margins).reshape(len(rows), -1)


if __name__ == "__main__":
    main()
