"""``python -m skae``: autoencoders next to what scikit-learn has for the same job.

Runs in under a minute on data that scikit-learn ships. The first main job takes digits:
a grid search that swaps PCA for `AutoencoderTransformer` in one pipeline, the linear
autoencoder that arrives at PCA, and a picture of reconstructions and codes. The second
swaps IsolationForest for `AEOutlierDetector`, explains a flagged row and draws the
scores. The third takes the labels of most digits away and compares classifiers,
`StackedAEClassifier` among them. A job is a function of the digits and of ``tick``,
which it calls after every fit, and returns what is printed; a new one joins by its row
in ``JOBS``. Nothing imports this file.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy.linalg import subspace_angles
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from tqdm import tqdm

from skae import AEOutlierDetector, AutoencoderTransformer, StackedAEClassifier
from skae.inspection import OutlierScoreDisplay

REDUCERS = (PCA, AutoencoderTransformer)
N_COMPONENTS = (2, 8, 16)
N_FOLDS = 3
N_LINEAR = 15
N_PICTURED = 8
DETECTORS = (IsolationForest, AEOutlierDetector)
N_SPLITS = 5
N_EXPLAINED = 4
N_CLASSIFIERS = 3
N_HIDDEN = 100
N_LABELLED = 5
N_DRAWS = 2
NO_PICTURE = 'No picture without matplotlib: pip install "skae[plot]"'


class Digits(NamedTuple):
    """Rows in [0, 1] to train on and rows held out, and where pictures go."""

    X: np.ndarray
    X_test: np.ndarray
    y: np.ndarray
    y_test: np.ndarray
    output: Path


def main(arguments: list[str] | None = None) -> None:
    """Run every job and print what it found."""
    parser = argparse.ArgumentParser("python -m skae", description=main.__doc__)
    parser.add_argument(
        "--output",
        type=_folder,
        default=Path(),
        help="folder for the pictures (default: the current one)",
    )
    digits = _load(parser.parse_args(arguments).output)
    with tqdm(total=sum(n_fits for n_fits, _ in JOBS), unit="fit") as bar:
        for _, job in JOBS:
            bar.write(job(digits, bar.update) + "\n", file=sys.stdout)


def swap(digits: Digits, tick: Callable[[], object]) -> str:
    """PCA and the autoencoder side by side in one grid search."""

    def scores(pipeline, X, y):
        tick()
        X = pipeline["scale"].transform(X)
        return {
            "accuracy": pipeline["classify"].score(pipeline["reduce"].transform(X), y),
            "variance": reconstructed_variance(pipeline["reduce"], X),
        }

    pipeline = Pipeline(
        [
            ("scale", MinMaxScaler()),
            ("reduce", PCA()),
            ("classify", KNeighborsClassifier()),
        ]
    )
    grid = {
        "reduce": [reducer(random_state=0) for reducer in REDUCERS],
        "reduce__n_components": N_COMPONENTS,
    }
    search = GridSearchCV(
        pipeline,
        grid,
        scoring=scores,
        refit="accuracy",
        cv=N_FOLDS,
        error_score="raise",
    ).fit(digits.X, digits.y)
    best = search.best_params_
    tick()
    return (
        "PCA and AutoencoderTransformer in one pipeline: scale, reduce, 5 nearest\n"
        "neighbours. Accuracy and share of the variance reconstructed are means over\n"
        f"{N_FOLDS} folds of held-out rows, seconds those of one fit.\n\n"
        f"{_table(search.cv_results_)}\n\n"
        f"Best: {_name(best['reduce'])}, n_components={best['reduce__n_components']}. "
        f"Accuracy on {len(digits.X_test)} rows the search never saw: "
        f"{search.best_estimator_.score(digits.X_test, digits.y_test):.3f}"
    )


def linear_is_pca(digits: Digits, tick: Callable[[], object]) -> str:
    """The linear autoencoder, trained from random weights, against PCA."""
    pca = PCA(N_LINEAR, random_state=0).fit(digits.X)
    tick()
    linear = AutoencoderTransformer(
        N_LINEAR, activation="identity", init="random", random_state=0
    ).fit(digits.X)
    tick()
    lost, least = (
        1 - reconstructed_variance(reducer, digits.X) for reducer in (linear, pca)
    )
    angles = subspace_angles(linear.components_.T, pca.components_.T)
    return (
        f"The linear autoencoder (activation='identity', init='random', {N_LINEAR} "
        "components) is PCA\n\n"
        f"  training error over PCA's, minus one   {lost / least - 1:8.1e}\n"
        f"  largest principal angle, radians       {angles.max():8.1e}"
    )


def picture(digits: Digits, tick: Callable[[], object]) -> str:
    """Held-out digits and their reconstructions, and the two-dimensional codes."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return NO_PICTURE

    fitted = {}
    for reducer in REDUCERS:
        for n_components in (2, N_PICTURED):
            model = reducer(n_components, random_state=0).fit(digits.X)
            fitted[reducer, n_components] = model
            tick()
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    above, below = figure.subfigures(2, height_ratios=[3, 4])
    _draw_reconstructions(
        above, digits, [fitted[reducer, N_PICTURED] for reducer in REDUCERS]
    )
    _draw_codes(below, digits, [fitted[reducer, 2] for reducer in REDUCERS])
    path = digits.output / "skae-digits.png"
    figure.savefig(path, dpi=100)
    return f"Reconstructions and codes of held-out digits: {path}"


def detect(digits: Digits, tick: Callable[[], object]) -> str:
    """IsolationForest and the detector side by side, trained on normal rows."""
    lines = []
    for name, X, is_outlier in _one_class():
        for detector in DETECTORS:
            found = []
            for seed in range(N_SPLITS):
                train, test = _split(is_outlier, seed)
                model = detector(random_state=seed).fit(X[train])
                found.append(_judged(model, X[test], is_outlier[test]))
                tick()
            figures = "  ".join(f"{figure:8.3f}" for figure in np.mean(found, axis=0))
            lines.append(f"  {name:28}  {_name(model):17}  {figures}")
    return (
        "IsolationForest and AEOutlierDetector with their defaults, trained on half\n"
        "of the normal rows. Area under the ROC curve, share of fresh normal rows\n"
        f"flagged and share of outliers flagged, means over {N_SPLITS} splits. The\n"
        "detector states a false-alarm rate of "
        f"{AEOutlierDetector().false_alarm_rate}; IsolationForest states none.\n\n"
        f"  {'normal rows':28}  {'detector':17}  {'AUROC':>8}  {'false':>8}  "
        f"{'caught':>8}\n" + "\n".join(lines)
    )


def explain(digits: Digits, tick: Callable[[], object]) -> str:
    """Why the detector flags a row, and the scores with their threshold."""
    name, X, is_outlier = _one_class()[0]
    train, test = _split(is_outlier, seed=0)
    detector = AEOutlierDetector(random_state=0).fit(X[train])
    tick()
    number = test[is_outlier[test]][0]
    row = X[[number]]
    names = load_breast_cancer().feature_names
    shown = "\n".join(
        f"  {names[entry.feature]:22}  {entry.contribution:12.2f}  "
        f"{entry.observed:10.3f}  {entry.expected:10.3f}"
        for entry in detector.explain(row, top=N_EXPLAINED)
    )
    report = (
        f"Row {number}, a malignant sample, scores "
        f"{detector.score_samples(row)[0]:.2f}; below {detector.offset_:.2f} rows are\n"
        f"flagged. p-value {detector.p_values(row)[0]:.4f}. The {N_EXPLAINED} of its "
        f"{X.shape[1]} features that count most:\n\n"
        f"  {'feature':22}  {'contribution':>12}  {'observed':>10}  {'expected':>10}\n"
        f"{shown}"
    )
    kinds = np.where(is_outlier[test], "malignant", name.partition(": ")[2])
    try:
        display = OutlierScoreDisplay.from_estimator(detector, X[test], kinds)
    except ImportError:
        return f"{report}\n\n{NO_PICTURE}"
    path = digits.output / "skae-outliers.png"
    display.figure_.savefig(path, dpi=100)
    return f"{report}\n\nScores of rows held out, and the threshold: {path}"


def few_labels(digits: Digits, tick: Callable[[], object]) -> str:
    """A classifier of the labelled rows and two that use the others as well."""
    found = {}
    for seed in range(N_DRAWS):
        y = _few_labelled(digits.y, seed)
        for model, uses_all in _classifiers():
            used = slice(None) if uses_all else y != -1
            start = perf_counter()
            model.fit(digits.X[used], y[used])
            spent = perf_counter() - start
            accuracy = model.score(digits.X_test, digits.y_test)
            loss = log_loss(digits.y_test, model.predict_proba(digits.X_test))
            found.setdefault(_name(model), []).append((accuracy, loss, spent))
            tick()
    lines = []
    for name, figures in found.items():
        accuracy, loss, spent = np.mean(figures, axis=0)
        lines.append(f"  {name:22}  {accuracy:8.3f}  {loss:8.3f}  {spent:7.2f}")
    n_labels = N_LABELLED * len(np.unique(digits.y))
    return (
        f"{len(digits.y)} digits, {n_labels} with a label, {N_LABELLED} of each class. "
        "MLPClassifier learns from\n"
        "these alone, SelfTrainingClassifier also from labels that MLPClassifier is\n"
        "sure of, StackedAEClassifier from all rows; all have one layer of "
        f"{N_HIDDEN} units.\n"
        f"Accuracy and log-loss on {len(digits.y_test)} other digits and seconds of "
        f"one fit, means over {N_DRAWS}\n"
        "draws of the labels.\n\n"
        f"  {'classifier':22}  accuracy  log-loss  seconds\n" + "\n".join(lines)
    )


JOBS = (
    (len(REDUCERS) * len(N_COMPONENTS) * N_FOLDS + 1, swap),
    (2, linear_is_pca),
    (2 * len(REDUCERS), picture),
    (3 * len(DETECTORS) * N_SPLITS, detect),
    (1, explain),
    (N_CLASSIFIERS * N_DRAWS, few_labels),
)


def reconstructed_variance(reducer, X) -> float:
    """Share of the variance of X that survives transform and inverse_transform."""
    lost = X - reducer.inverse_transform(reducer.transform(X))
    return 1 - (lost**2).sum() / ((X - reducer.mean_) ** 2).sum()


def _load(output):
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    return Digits(X, X_test, y, y_test, output)


def _table(results):
    lines = ["  reducer                 n_components  accuracy  variance  seconds"]
    for candidate in np.argsort(results["param_reduce__n_components"], kind="stable"):
        lines.append(
            f"  {_name(results['param_reduce'][candidate]):22}  "
            f"{results['param_reduce__n_components'][candidate]:12}  "
            f"{results['mean_test_accuracy'][candidate]:8.3f}  "
            f"{results['mean_test_variance'][candidate]:8.3f}  "
            f"{results['mean_fit_time'][candidate]:7.2f}"
        )
    return "\n".join(lines)


def _one_class():
    """Name, rows and which of them are outliers, of three sets."""
    cancer, digits, wine = load_breast_cancer(), load_digits(), load_wine()
    return [
        ("breast cancer: benign", cancer.data, cancer.target == 0),
        ("digits: 8", digits.data, digits.target != 8),
        ("wine: second cultivar", wine.data, wine.target != 1),
    ]


def _split(is_outlier, seed):
    """Half of the normal rows to train on; the other rows to test."""
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~is_outlier))
    train = normal[: len(normal) // 2]
    return train, np.setdiff1d(np.arange(len(is_outlier)), train)


def _judged(detector, X, is_outlier):
    """Area under the curve, false alarms and outliers caught."""
    flagged = detector.predict(X) == -1
    return (
        roc_auc_score(is_outlier, -detector.score_samples(X)),
        flagged[~is_outlier].mean(),
        flagged[is_outlier].mean(),
    )


def _few_labelled(y, seed):
    """Labels of a few rows of each class, -1 for the others."""
    rng = np.random.default_rng(seed)
    few = np.full_like(y, -1)
    for label in np.unique(y):
        few[rng.choice(np.flatnonzero(y == label), N_LABELLED, replace=False)] = label
    return few


def _classifiers():
    """Classifiers of one width, and whether rows without labels are of use to them."""
    mlp = MLPClassifier(N_HIDDEN, max_iter=1000, random_state=0)
    # Three rounds are as good here as the default ten, in a quarter of the time.
    self_training = SelfTrainingClassifier(mlp, threshold=0.9, max_iter=3)
    stack = StackedAEClassifier(N_HIDDEN, random_state=0)
    return (mlp, False), (self_training, True), (stack, True)


def _draw_reconstructions(figure, digits, models):
    examples = [digits.X_test[digits.y_test == digit][0] for digit in range(10)]
    rows = {"original": examples}
    for model in models:
        codes = model.transform(examples)
        rows[_name(model)] = model.inverse_transform(codes)
    figure.suptitle(f"Held-out digits from {N_PICTURED} numbers each")
    for axes, (name, images) in zip(
        figure.subplots(len(rows), 10), rows.items(), strict=True
    ):
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(
            name.removesuffix("Transformer"), rotation=0, ha="right", va="center"
        )


def _draw_codes(figure, digits, models):
    figure.suptitle("Held-out digits as two numbers, coloured by class")
    for ax, model in zip(figure.subplots(1, len(models)), models, strict=True):
        code = model.transform(digits.X_test)
        dots = ax.scatter(*code.T, c=digits.y_test, cmap="tab10", s=9)
        kept = reconstructed_variance(model, digits.X_test)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{_name(model)}: {kept:.0%} of the variance", fontsize="medium")
    figure.legend(*dots.legend_elements(), loc="outside right center", frameon=False)


def _name(reducer):
    return type(reducer).__name__


def _folder(text):
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} must be a folder that exists")
    return path


if __name__ == "__main__":
    main()
