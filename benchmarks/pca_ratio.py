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
  the peers get 20 epochs there.

    python benchmarks/pca_ratio.py                    # all of it, about 25 minutes
    python benchmarks/pca_ratio.py --quick            # one split
    python benchmarks/pca_ratio.py --only images
    python benchmarks/pca_ratio.py --sets digits wine --peers MLPRegressor
"""

import argparse
from functools import partial

import numpy as np
from benchmark_data import (
    adbench_tables,
    images,
    is_wanted,
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
PEERS = {"MLPRegressor": mlp_regressor, "plain PyTorch": plain_autoencoder}


def main():
    options = parse_options()
    methods = {"skae": skae} | {name: PEERS[name] for name in options.peers}
    skae(np.random.default_rng(0).normal(size=(50, 4)), 2, 0)  # loads what is lazy

    table_fits, image_fits = [], []
    if options.only != "images":
        with one_thread():
            table_fits = measure_tables(methods, options.sets, options.splits)
    if options.only != "tables":
        image_fits = measure_images(methods, options.sets)

    if table_fits:
        print_tables(table_fits, methods)
    if image_fits:
        print_images(image_fits, methods)
    is_full = options.splits == 3 and not (options.sets or options.only)
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
    )


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one split")
    parser.add_argument("--splits", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--sets", nargs="+", help="names containing one of these")
    parser.add_argument("--only", choices=["tables", "images"])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    if options.quick:
        options.splits = 1
    return options


# What is fitted ------------------------------------------------------------------


def skae(X, n_components, seed):
    model = AutoencoderTransformer(n_components, random_state=seed, device="cpu")
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


def report_progress(name, shape, fits, methods):
    figures = []
    for method in methods:
        ratios = [fit["ratio"] for fit in fits if fit["method"] == method]
        spent = sum(fit["seconds"] for fit in fits if fit["method"] == method)
        if ratios:
            figures.append(f"{method} {geometric_mean(ratios):.3f} in {spent:.1f} s")
    progress(f"{name} {shape[0]} x {shape[1]}: " + ", ".join(figures))


# What is reported ----------------------------------------------------------------

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


def geometric_mean(ratios):
    # Not the product: three hundred small ratios underflow it.
    return float(np.exp(np.mean(np.log(ratios))))


if __name__ == "__main__":
    main()
