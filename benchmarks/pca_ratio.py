"""Is the autoencoder ever worse than PCA, how much better is it, what does it cost?

Held-out mean squared error divided by PCA's at the same `n_components`, for
`AutoencoderTransformer` with nothing tuned, `MLPRegressor(X, X)` and a plain PyTorch
autoencoder, in the same run:

- tables (one thread): ADBench under `SKAE_DATA` and scikit-learn's sets, at most
  10,000 rows each, k in {2, d/4, d/2}, 75/25 splits with seeds 0, 1, 2, standardised
  by the training rows without their constant columns; tables wider than 500 columns
  on the first split only;
- images (the default threads): MNIST and Fashion-MNIST / 255 at k = 2, 32, 128, and
  MNIST standardised by column at k = 32, 128; 20,000 training and 10,000 test rows;
  the peers get 20 epochs there;
- one-hot columns (one thread, skae alone): campaign, PageBlocks with two of its columns
  cut into levels, and synthetic tables with levels of probability 1e-4, standardised by
  the training rows; ten seeds;
- lottery (one thread, skae alone): how far do ten seeds of the estimator differ on one
  75/25 split? 15 tables of ADBench, at most 4,000 rows each, k in {d/4, d/2}.

    python benchmarks/pca_ratio.py                    # all of it, about half an hour
    python benchmarks/pca_ratio.py --quick            # one split, two seeds
    python benchmarks/pca_ratio.py --only images
    python benchmarks/pca_ratio.py --only lottery --seeds 5
    python benchmarks/pca_ratio.py --sets digits wine --peers MLPRegressor
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from benchmark_data import (
    adbench_tables,
    images,
    is_wanted,
    labelled_tables,
    sklearn_tables,
    subsample,
)
from peers import mlp_regressor, plain_autoencoder
from report import one_thread, print_table, progress, save, seconds
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer

MAX_ROWS = 10_000
WIDE = 500
SMALL = 600
IMAGE_ROWS = 20_000
WORSE = 1 + 1e-5
AT_PCA = 0.999
N_SEEDS = 10
LOTTERY_ROWS = 4_000
LOTTERY_COLUMNS = range(6, 61)
SPREAD = 1.5
PEERS = {"MLPRegressor": mlp_regressor, "plain PyTorch": plain_autoencoder}


def main():
    options = parse_options()
    methods = {"skae": skae} | {name: PEERS[name] for name in options.peers}
    skae(np.random.default_rng(0).normal(size=(50, 4)), 2, 0)  # loads what is lazy

    table_fits, image_fits, onehot_fits, lottery_fits = [], [], [], []
    if options.only in (None, "tables"):
        with one_thread():
            table_fits = measure_tables(methods, options.sets, options.splits)
    if options.only in (None, "images"):
        image_fits = measure_images(methods, options.sets)
    if options.only in (None, "onehot"):
        with one_thread():
            onehot_fits = measure_onehot(options.sets, options.seeds)
    if options.only in (None, "lottery"):
        with one_thread():
            lottery_fits = measure_lottery(options.sets, options.seeds)

    if table_fits:
        print_tables(table_fits, methods)
    if image_fits:
        print_images(image_fits, methods)
    if onehot_fits:
        print_onehot(onehot_fits)
    if lottery_fits:
        print_lottery(lottery_fits)
    is_full = (options.splits, options.seeds) == (3, N_SEEDS) and not (
        options.sets or options.only
    )
    save(
        "pca_ratio"
        if is_full and options.peers == list(PEERS)
        else "pca_ratio-partial",
        options=vars(options),
        summary=[summary(table_fits, m, g) for g in GROUPS for m in methods]
        if table_fits
        else [],
        tables=table_fits,
        images=image_fits,
        onehot=onehot_fits,
        lottery=lottery_fits,
    )


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one split, two seeds")
    parser.add_argument("--splits", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--sets", nargs="+", help="names containing one of these")
    parser.add_argument("--only", choices=["tables", "images", "onehot", "lottery"])
    parser.add_argument(
        "--seeds", type=int, default=N_SEEDS, help="of onehot and lottery: 0, 1, ..."
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    if options.quick:
        options.splits, options.seeds = 1, 2
    return options


# What is fitted ------------------------------------------------------------------


def skae(X, n_components, seed, max_iter=None):
    model = AutoencoderTransformer(
        n_components, max_iter=max_iter, random_state=seed, device="cpu"
    )
    return model.fit(X).reconstruct


def exact_pca(X, n_components):
    """Not the randomised solver: the reference must be PCA at its best."""
    solver = "covariance_eigh" if len(X) >= MAX_ROWS else "full"
    model = PCA(n_components, svd_solver=solver).fit(X)
    return lambda rows: model.inverse_transform(model.transform(rows))


def measure_tables(methods, sets, n_splits):
    fits = []
    for name, X in [*sklearn_tables(), *adbench_tables()]:
        if not is_wanted(name, sets):
            continue
        X = subsample(X, MAX_ROWS)
        of_this_set = []
        for seed in range(n_splits if X.shape[1] <= WIDE else 1):
            train, test = standardised(
                *train_test_split(X, test_size=0.25, random_state=seed)
            )
            d = train.shape[1]
            for k in sorted({k for k in (2, max(2, d // 4), max(2, d // 2)) if k < d}):
                of_this_set += compare(methods, name, train, test, k, seed)
        report_progress(name, X.shape, of_this_set, methods)
        fits += of_this_set
    return fits


def measure_images(methods, sets):
    methods = {
        name: method if name == "skae" else partial(method, max_iter=20)
        for name, method in methods.items()
    }
    # Digits may stand in for both, hence the dictionary.
    found = {
        data.name: data
        for data in (
            images(n) for n in ("mnist", "fashion_mnist") if is_wanted(n, sets)
        )
    }
    fits = []
    for name, data in found.items():
        train = subsample(data.train, IMAGE_ROWS)
        cases = [(f"{name} / max", train, data.test, (2, 32, 128))]
        if name != "fashion_mnist":
            by_column = standardised(train, data.test)
            cases.append((f"{name} standardised", *by_column, (32, 128)))
        for title, train, test, ks in cases:
            for k in (k for k in ks if k < train.shape[1]):
                of_this_k = compare(methods, title, train, test, k, seed=0)
                report_progress(f"{title} k={k}", train.shape, of_this_k, methods)
                fits += of_this_k
    return fits


def measure_onehot(sets, n_seeds):
    fits = []
    for case in ONEHOT:
        if not is_wanted(case.name, sets):
            continue
        try:
            case.split(0)
        except FileNotFoundError as error:
            progress(f"{case.name} is not measured: {error}")
            continue
        methods = {"skae": partial(skae, max_iter=case.max_iter)}
        of_this_case = []
        for seed in range(n_seeds):
            train, test = (
                rows.astype(case.dtype) for rows in standardised(*case.split(seed))
            )
            of_this_case += compare(methods, case.name, train, test, case.k, seed)
        report_progress(f"{case.name} k={case.k}", train.shape, of_this_case, methods)
        fits += of_this_case
    return fits


def measure_lottery(sets, n_seeds):
    methods = {"skae": skae}
    fits = []
    for name, X in adbench_tables():
        n, d = X.shape
        if n < SMALL or d not in LOTTERY_COLUMNS or not is_wanted(name, sets):
            continue
        X = subsample(X, LOTTERY_ROWS)
        train, test = standardised(*train_test_split(X, test_size=0.25, random_state=0))
        for k in (max(2, d // 4), d // 2):
            of_this_k = []
            for seed in range(n_seeds):
                of_this_k += compare(methods, name, train, test, k, seed)
            report_progress(f"{name} k={k}", X.shape, of_this_k, methods)
            fits += of_this_k
    return fits


def compare(methods, name, train, test, k, seed):
    """Fit PCA and every method on the same rows; return one record for each method."""
    pca_seconds, reconstruct = seconds(exact_pca, train, k)
    pca_error = mean_squared_error(reconstruct, test)
    # An exact fit has no ratio: both errors are floored at 1e-9 of the variance.
    floor = 1e-9 * float(np.mean(np.square(test - train.mean(0)), dtype=np.float64))
    records = []
    for method, fit in methods.items():
        fit_seconds, reconstruct = seconds(fit, train, k, seed)
        error = mean_squared_error(reconstruct, test)
        records.append(
            {
                "set": name,
                "n_train": len(train),
                "d": train.shape[1],
                "k": k,
                "seed": seed,
                "method": method,
                "error": error,
                "pca_error": pca_error,
                "ratio": (error + floor) / (pca_error + floor),
                "seconds": fit_seconds,
                "pca_seconds": pca_seconds,
            }
        )
    return records


def mean_squared_error(reconstruct, X):
    return float(np.mean(np.square(X - reconstruct(X), dtype=np.float64)))


def standardised(train, test):
    """Both by the training rows' mean and deviation, without constant columns."""
    varies = np.ptp(train, axis=0) > 0
    scaler = StandardScaler().fit(train[:, varies])
    return scaler.transform(train[:, varies]), scaler.transform(test[:, varies])


# Tables with one-hot columns -----------------------------------------------------


class OneHot(NamedTuple):
    """A table in two parts, which may depend on the seed, and what is fitted to it."""

    name: str
    split: Callable
    k: int
    max_iter: int | None = None
    dtype: type = np.float64


def campaign(seed):
    # Of the three rows of the rarest level this split leaves one for training.
    return train_test_split(adbench("5_campaign"), test_size=0.2, random_state=3)


def page_blocks(seed):
    """Two of its columns are there as quantile levels, too."""
    X = adbench("27_PageBlocks")
    levels = [one_hot(quantile_levels(X[:, i], n), n) for i, n in ((0, 5), (1, 8))]
    return train_test_split(np.hstack([X, *levels]), test_size=0.25, random_state=0)


def rare_levels(seed):
    """Ten Gaussian columns of four factors, and levels of probability 1e-4."""
    rng = np.random.default_rng(seed)
    n_rows, n_levels = 20_000, 6
    numbers = rng.normal(size=(n_rows, 4)) @ rng.normal(size=(4, 10))
    numbers += 0.5 * rng.normal(size=numbers.shape)
    columns = [numbers]
    for n_rare in (1, 2, 1):
        common = (1 - 1e-4 * n_rare) / (n_levels - n_rare)
        odds = [common] * (n_levels - n_rare) + [1e-4] * n_rare
        columns.append(one_hot(rng.choice(n_levels, n_rows, p=odds), n_levels))
    return train_test_split(np.hstack(columns), test_size=0.25, random_state=seed)


def adbench(name):
    """The rows of one of its tables, which `SKAE_DATA` has or not."""
    for table in labelled_tables([name]):
        return table.X
    raise FileNotFoundError(f"no adbench/{name}.npz under SKAE_DATA")


def quantile_levels(column, n_levels):
    inner = np.linspace(0, 1, n_levels + 1)[1:-1]
    return np.searchsorted(np.quantile(column, inner), column)


def one_hot(levels, n_levels):
    return np.eye(n_levels)[levels]


ONEHOT = (
    OneHot("campaign", campaign, 20),
    OneHot("campaign, 5 epochs", campaign, 20, max_iter=5),
    OneHot("campaign", campaign, 8),
    OneHot("campaign, float32", campaign, 8, dtype=np.float32),
    OneHot("PageBlocks", page_blocks, 4),
    OneHot("PageBlocks", page_blocks, 8),
    OneHot("rare levels", rare_levels, 4),
    OneHot("rare levels", rare_levels, 8),
)


# What is reported ----------------------------------------------------------------


def report_progress(name, shape, fits, methods):
    figures = []
    for method in methods:
        ratios = [fit["ratio"] for fit in fits if fit["method"] == method]
        spent = sum(fit["seconds"] for fit in fits if fit["method"] == method)
        if ratios:
            figures.append(f"{method} {geometric_mean(ratios):.3f} in {spent:.1f} s")
    progress(f"{name} {shape[0]} x {shape[1]}: " + ", ".join(figures))


GROUPS = {
    "all": lambda fit: True,
    f"n <= {SMALL}": lambda fit: fit["n_train"] <= SMALL,
    f"n > {SMALL}": lambda fit: fit["n_train"] > SMALL,
}


def summary(fits, method, group):
    """One line of the table: a method on the fits of a group."""
    fits = [fit for fit in fits if GROUPS[group](fit)]
    mine = [fit for fit in fits if fit["method"] == method]
    if not mine:
        return {}
    mlp_seconds = [fit["seconds"] for fit in fits if fit["method"] == "MLPRegressor"]
    ratios = [fit["ratio"] for fit in mine]
    n_worse = sum(ratio > WORSE for ratio in ratios)
    median = float(np.median([fit["seconds"] for fit in mine]))
    return {
        "training rows": group,
        "method": method,
        "fits": len(mine),
        "geometric mean": geometric_mean(ratios),
        "worst": max(ratios),
        "worse": n_worse,
        "worse %": 100 * n_worse / len(mine),
        "at PCA": sum(AT_PCA < ratio <= WORSE for ratio in ratios),
        "median fit s": median,
        "x MLPRegressor": median / float(np.median(mlp_seconds))
        if mlp_seconds
        else None,
        "longest fit s": max(fit["seconds"] for fit in mine),
    }


def print_tables(fits, methods):
    by_set = []
    for name in dict.fromkeys(fit["set"] for fit in fits):
        mine = [fit for fit in fits if fit["set"] == name]
        line = {"set": name, "n_train": mine[0]["n_train"], "d": mine[0]["d"]}
        for method in methods:
            ratios = [fit["ratio"] for fit in mine if fit["method"] == method]
            line[method] = geometric_mean(ratios)
            if method == "skae":
                line["worst"] = max(ratios)
        spent = [fit["seconds"] for fit in mine if fit["method"] == "skae"]
        by_set.append(line | {"skae fit s": float(np.median(spent))})
    print_table(
        "Held-out error / PCA's by table (geometric mean over k and splits)", by_set
    )
    worse = [fit for fit in fits if fit["method"] == "skae" and fit["ratio"] > WORSE]
    if worse:
        keys = ("set", "n_train", "d", "k", "seed", "ratio")
        worse.sort(key=lambda fit: -fit["ratio"])
        print_table(
            "Fits in which skae is worse than PCA",
            [{key: fit[key] for key in keys} for fit in worse],
        )
    lines = [summary(fits, method, group) for group in GROUPS for method in methods]
    print_table(
        "Held-out error / PCA's over all tables (worse: ratio > 1.00001; "
        f"at PCA: > {AT_PCA})",
        [line for line in lines if line],
    )


def print_images(fits, methods):
    lines = []
    for name, k in dict.fromkeys((fit["set"], fit["k"]) for fit in fits):
        mine = {f["method"]: f for f in fits if (f["set"], f["k"]) == (name, k)}
        line = {"images": name, "k": k}
        line |= {method: mine[method]["ratio"] for method in methods}
        line |= {f"{method} s": mine[method]["seconds"] for method in methods}
        stays = mine["skae"]["ratio"] > AT_PCA
        line |= {"PCA s": mine["skae"]["pca_seconds"]}
        lines.append(line | {"note": "STAYS AT PCA" if stays else ""})
    print_table("Held-out error / PCA's on images (peers: 20 epochs)", lines)


def print_onehot(fits):
    lines = []
    for name, k in dict.fromkeys((fit["set"], fit["k"]) for fit in fits):
        mine = [fit for fit in fits if (fit["set"], fit["k"]) == (name, k)]
        ratios = [fit["ratio"] for fit in mine]
        lines.append(
            {
                "set": name,
                "n_train": mine[0]["n_train"],
                "d": mine[0]["d"],
                "k": k,
                "fits": len(mine),
                "geometric mean": geometric_mean(ratios),
                "worst": max(ratios),
                "worse": sum(ratio > WORSE for ratio in ratios),
                "fit s": float(np.median([fit["seconds"] for fit in mine])),
            }
        )
    print_table("Held-out error / PCA's with one-hot columns", lines)


def print_lottery(fits):
    lines = []
    for name, k in dict.fromkeys((fit["set"], fit["k"]) for fit in fits):
        ratios = [fit["ratio"] for fit in fits if (fit["set"], fit["k"]) == (name, k)]
        lines.append(
            {
                "set": name,
                "k": k,
                "seeds": len(ratios),
                "best": min(ratios),
                "worst": max(ratios),
                "worst / best": max(ratios) / min(ratios),
                "at PCA": sum(ratio > AT_PCA for ratio in ratios),
            }
        )
    title = f"Held-out error / PCA's over the estimator's seeds (at PCA: > {AT_PCA})"
    print_table(title, lines)
    n_close = sum(line["worst / best"] <= SPREAD for line in lines)
    print(f"  worst <= {SPREAD} x best in {n_close} of {len(lines)} settings")


def geometric_mean(ratios):
    # Not the product: three hundred small ratios underflow it.
    return float(np.exp(np.mean(np.log(ratios))))


if __name__ == "__main__":
    main()
