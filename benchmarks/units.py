"""Do columns in different units cost anything?

Tables as they come, unscaled: wine, breast_cancer and diabetes; columns of which two
are 10,000 times as large as the others; columns whose units are 1e-3, 1e-2, ..., 1e4.
A third of the rows is held out; `ConditionalVAE` is measured where there are classes,
for which diabetes' target is cut at its median. Over the seeds 0, 1, 2, on one thread:

- autoencoders: the lowest held-out R2 of a column; the column's mean has 0;
- generators: the smallest and the largest ratio of a column's standard deviation in
  samples to that in the training rows; and how well a random forest tells training
  rows from as many samples (area under the ROC curve, .5 is perfect), after a fit to
  the rows as they come and after one to standardised rows.

    python benchmarks/units.py                          # about 15 minutes
    python benchmarks/units.py --sets wine --models GAN VariationalAE --seeds 1
"""

import argparse
import warnings

import numpy as np
from benchmark_data import is_wanted
from report import one_thread, print_table, progress, save
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.preprocessing import StandardScaler

from skae import (
    GAN,
    AdversarialAE,
    AutoencoderTransformer,
    ConditionalVAE,
    ContractiveAE,
    ConvAE,
    DenoisingAE,
    RecurrentAE,
    SparseAE,
    VariationalAE,
)

N_ROWS = 1_500
K = 6
LOWEST_R2 = -0.05
RATIOS = (0.5, 2.0)
AUC_DIFFERENCE = 0.03
AUTOENCODERS = {
    "AutoencoderTransformer, pca": lambda d, **rest: AutoencoderTransformer(K, **rest),
    "AutoencoderTransformer, random": lambda d, **rest: AutoencoderTransformer(
        K, init="random", **rest
    ),
    "DenoisingAE": lambda d, **rest: DenoisingAE(**rest),
    "SparseAE": lambda d, **rest: SparseAE(**rest),
    "ContractiveAE": lambda d, **rest: ContractiveAE(**rest),
    # A table has no neighbours in space or time: one pixel or one step has all columns.
    "ConvAE, one pixel": lambda d, **rest: ConvAE(
        (d, 1, 1), kernel_size=1, stride=1, n_components=K, **rest
    ),
    "RecurrentAE, one step": lambda d, **rest: RecurrentAE(
        (1, d), n_components=K, **rest
    ),
    "VariationalAE": lambda d, **rest: VariationalAE(K, **rest),
    "AdversarialAE": lambda d, **rest: AdversarialAE(K, **rest),
    "ConditionalVAE": lambda d, **rest: ConditionalVAE(K, **rest),
}
GENERATORS = {
    name: AUTOENCODERS[name]
    for name in ("VariationalAE", "ConditionalVAE", "AdversarialAE")
} | {"GAN": lambda d, **rest: GAN(**rest)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", help="names containing one of these")
    parser.add_argument("--models", nargs="+", help="names containing one of these")
    parser.add_argument("--seeds", type=int, default=3, help="0, 1, ...")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)

    rebuilt, generated = [], []
    with one_thread():
        for name, X, y in tables():
            if is_wanted(name, options.sets):
                lines = measure(name, X, y, options)
                rebuilt += lines[0]
                generated += lines[1]
    print_table(f"Lowest held-out R2 of a column (goal: >= {LOWEST_R2})", rebuilt)
    print_table(
        f"Samples: column's sd / the rows' (goal: {RATIOS[0]} to {RATIOS[1]}), "
        f"AUC against the rows (goal: difference <= {AUC_DIFFERENCE})",
        generated,
    )
    is_full = options.seeds == 3 and not (options.sets or options.models)
    save(
        "units" if is_full else "units-partial",
        options=vars(options),
        autoencoders=rebuilt,
        generators=generated,
    )


def tables():
    """Yield name, rows, and classes where there are any."""
    yield "wine", *load_wine(return_X_y=True)
    yield "breast_cancer", *load_breast_cancer(return_X_y=True)
    X, y = load_diabetes(return_X_y=True, scaled=False)
    yield "diabetes", X, (y > np.median(y)).astype(int)
    rng = np.random.default_rng(0)
    X = np.tanh(rng.normal(size=(N_ROWS, 6)) @ rng.normal(size=(6, 6)))
    yield "two large", X * np.array([1, 1, 1, 1, 1e4, 1e4]), None
    X = rng.normal(size=(N_ROWS, 8)) @ rng.normal(size=(8, 8))
    yield "1e-3 to 1e4", X * 10.0 ** np.arange(-3, 5), None


def measure(name, X, y, options):
    """A line for each autoencoder, and one for each generator."""
    rebuilt, generated = [], []
    for model, make in (AUTOENCODERS | GENERATORS).items():
        if not is_wanted(model, options.models):
            continue
        if model == "ConditionalVAE" and y is None:
            continue
        line = {"table": name, "model": model}
        records = [record(model, make, X, y, seed) for seed in range(options.seeds)]
        if model in AUTOENCODERS:
            rebuilt.append(line | of_reconstructions(records))
        if model in GENERATORS:
            generated.append(line | of_samples(records))
        progress(f"{name}, {model}: done")
    return rebuilt, generated


def record(name, make, X, y, seed):
    """What one fit gave, and for a generator one to standardised rows."""
    train, test = train_test_split(
        np.arange(len(X)), test_size=1 / 3, random_state=seed
    )
    y = np.zeros(len(X)) if y is None else y
    model = fitted(make, X[train], y[train], seed)
    figures = {}
    if name in AUTOENCODERS:
        found = reconstructed(model, X[test], y[test])
        figures["r2"] = r2_score(X[test], found, multioutput="raw_values").min()
    if name in GENERATORS:
        scaled = StandardScaler().fit_transform(X[train])
        samples = drawn(model, y[train], seed)
        ratios = samples.std(axis=0) / X[train].std(axis=0)
        figures |= {"smallest": ratios.min(), "largest": ratios.max()}
        figures["raw"] = auc(X[train], samples, seed)
        model = fitted(make, scaled, y[train], seed)
        figures["standardised"] = auc(scaled, drawn(model, y[train], seed), seed)
    return figures


def fitted(make, X, y, seed):
    model = make(X.shape[1], device="cpu", random_state=seed)
    return model.fit(X, y) if isinstance(model, ConditionalVAE) else model.fit(X)


def reconstructed(model, X, y):
    if isinstance(model, ConditionalVAE):
        return model.reconstruct(X, y)
    return model.reconstruct(X)


def drawn(model, y, seed):
    """As many samples as labels."""
    if isinstance(model, ConditionalVAE):
        return model.sample(len(y), y=y, noise=True, random_state=seed)
    if isinstance(model, VariationalAE):
        return model.sample(len(y), noise=True, random_state=seed)
    return model.sample(len(y), random_state=seed)


def auc(real, samples, seed):
    """Area under the ROC curve of a forest that tells the two apart."""
    forest = RandomForestClassifier(200, n_jobs=1, random_state=seed)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    rows = np.concatenate([real, samples])
    is_real = np.repeat([1, 0], [len(real), len(samples)])
    return cross_val_score(forest, rows, is_real, cv=folds, scoring="roc_auc").mean()


def of_reconstructions(records):
    lowest = float(min(record["r2"] for record in records))
    return {"lowest R2": lowest, "met": lowest >= LOWEST_R2}


def of_samples(records):
    smallest = float(min(record["smallest"] for record in records))
    largest = float(max(record["largest"] for record in records))
    raw, standardised = (
        float(np.mean([record[rows] for record in records]))
        for rows in ("raw", "standardised")
    )
    return {
        "smallest": smallest,
        "largest": largest,
        "ratios met": RATIOS[0] <= smallest and largest <= RATIOS[1],
        "AUC raw": raw,
        "standardised": standardised,
        "difference": raw - standardised,
        "AUC met": raw - standardised <= AUC_DIFFERENCE,
    }


if __name__ == "__main__":
    main()
