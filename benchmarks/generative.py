"""How good are the models that generate?

Runs the parts below one after the other, prints each table when it is there and keeps
the figures of parts that were run before. MNIST and Fashion-MNIST come from `SKAE_DATA`
or from OpenML; digits stand in for them.

- bounds: likelihood of a Bernoulli VariationalAE on binarised MNIST, and its time
  against a bare PyTorch loop (`generative_bounds.py`).
- labels: classifiers that saw synthetic rows only (`generative_labels.py`).
- few: 100 real rows a class, alone and with synthetic ones (likewise).
- grid, images: modes and quality of GANs (`generative_modes.py`).
- codes: codes of an AdversarialAE against its prior (`generative_codes.py`).

    python benchmarks/generative.py                       # about an hour
    python benchmarks/generative.py --parts bounds labels
    python benchmarks/generative.py --quick               # a few minutes, no figures
"""

import argparse
import warnings

import generative_bounds
import generative_codes
import generative_labels
import generative_modes
from report import merge, print_table, save
from sklearn.exceptions import ConvergenceWarning

COMPARED = (
    "no penalty",
    "minibatch discrimination",
    "replay 0.5",
    "wasserstein_gp",
)
PARTS = ("bounds", "labels", "few", "grid", "images", "codes")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="little data, one seed")
    options = parser.parse_args()
    # Models of a benchmark stop where it says, converged or not.
    warnings.simplefilter("ignore", ConvergenceWarning)
    for part in options.parts:
        print_table(*measured(part, options.quick))


def measured(part, quick):
    """Title and rows of a part, which are saved beside the others."""
    title, rows = {
        "bounds": bounds,
        "labels": labels,
        "few": few,
        "grid": grid,
        "images": pictures,
        "codes": codes,
    }[part](quick)
    if not quick:
        save(
            "generative", **merge("generative", {part: {"title": title, "rows": rows}})
        )
    return title, rows


def bounds(quick):
    return "likelihood bounds, nats per image", generative_bounds.rows(quick)


def labels(quick):
    title = "accuracy on real test images, trained on synthetic rows"
    return title, generative_labels.rows(quick)


def few(quick):
    title = "accuracy with 100 real rows a class, alone and with synthetic rows"
    return title, generative_labels.few_rows(quick)


def grid(quick):
    title = "25 Gaussians, the defaults with 5 seeds, others with 2"
    rows = generative_modes.grid_table(["defaults"], 1 if quick else 5)
    if not quick:
        rows += generative_modes.grid_table(COMPARED, 2)
    return title, rows


def pictures(quick):
    return "5,000 generated images", generative_modes.image_table(quick)


def codes(quick):
    seeds = (0,) if quick else (0, 1, 2)
    name, rows = generative_codes.measure(seeds=seeds)
    return f"{name}: codes of rows not trained on, against the prior", rows


if __name__ == "__main__":
    main()
