"""``python -m skae``: autoencoders next to what they replace, in under a minute.

Two tables on data that scikit-learn ships, `AutoencoderTransformer` against PCA and
`AEOutlierDetector` against IsolationForest, and a picture of digits from eight numbers.
Nothing imports this file; longer examples are in ``docs/examples``.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from skae import AEOutlierDetector, AutoencoderTransformer
from skae.inspection import ReconstructionDisplay
from skae.inspection.drawing import new_axes

REDUCERS = (PCA, AutoencoderTransformer)
# Name, data and the label of the normal rows.
SETS = (
    ("breast cancer: benign", load_breast_cancer, 1),
    ("digits: 8", load_digits, 8),
    ("wine: second cultivar", load_wine, 1),
)


def main(arguments=None, n_components=(2, 8, 16), n_splits=5) -> None:
    """Compare skae's drop-ins with what they replace, and draw digits."""
    parser = argparse.ArgumentParser("python -m skae", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=Path(), help="picture's folder")
    output = parser.parse_args(arguments).output
    if not output.is_dir():
        parser.error(f"--output: {str(output)!r} must be a folder that exists")
    X, y = load_digits(return_X_y=True)
    digits = train_test_split(X / 16, y, random_state=0, stratify=y)
    print("Held-out digits: variance that the reconstruction keeps, accuracy of the")
    print("5 nearest neighbours by code, seconds of one fit.\n")
    print("  reducer                 n_components  variance  accuracy  seconds")
    for k in n_components:
        for reducer in REDUCERS:
            compare_reducer(reducer(k, random_state=0), *digits)
    stated = AEOutlierDetector().false_alarm_rate
    print("\nTrained on half of the normal rows: area under the ROC curve, share of")
    print(f"other normal rows flagged (stated: {stated}), and of outliers.\n")
    print("  normal rows            detector              AUROC   false  caught")
    for name, load, normal in SETS:
        X, y = load(return_X_y=True)
        for detector in (IsolationForest, AEOutlierDetector):
            compare_detector(detector, name, X[y == normal], X[y != normal], n_splits)
    print("\nA larger false_alarm_rate catches more; IsolationForest states none.")
    try:
        print(f"\nHeld-out digits from 8 numbers: {draw(digits, output)}")
    except ImportError as error:
        print(f"\n{error}")


def compare_reducer(reducer, X, X_test, y, y_test) -> None:
    """Print a row of the first table."""
    start = perf_counter()
    codes = reducer.fit_transform(X)
    spent = perf_counter() - start
    codes_test = reducer.transform(X_test)
    rebuilt = reducer.inverse_transform(codes_test)
    variance = r2_score(X_test, rebuilt, multioutput="variance_weighted")
    accuracy = KNeighborsClassifier().fit(codes, y).score(codes_test, y_test)
    name, k = type(reducer).__name__, codes.shape[1]
    print(f"  {name:24}{k:12}{variance:10.3f}{accuracy:10.3f}{spent:9.2f}")


def compare_detector(detector, name, normal, outliers, n_splits) -> None:
    """Print a row of the second table."""
    figures = []
    for seed in range(n_splits):
        train, fresh = train_test_split(normal, test_size=0.5, random_state=seed)
        model = detector(random_state=seed).fit(train)
        scores = [model.score_samples(rows) for rows in (fresh, outliers)]
        is_normal = np.repeat([1, 0], [len(fresh), len(outliers)])
        auroc = roc_auc_score(is_normal, np.concatenate(scores))
        figures.append([auroc, *(np.mean(part < model.offset_) for part in scores)])
    shown = "".join(f"{figure:8.3f}" for figure in np.mean(figures, axis=0))
    print(f"  {name:23}{detector.__name__:19}{shown}")


def draw(digits, output):
    """Save held-out digits above their reconstructions; where the picture is."""
    X, X_test, _, y_test = digits
    examples = np.stack([X_test[y_test == digit][0] for digit in range(10)])
    axes = new_axes(2 * len(REDUCERS), 10, figsize=(10, 4.2))
    for lines, reducer in zip(np.split(axes, len(REDUCERS)), REDUCERS, strict=True):
        model = reducer(8, random_state=0).fit(X)
        options = {"n_samples": 10, "sample_shape": (8, 8), "axes": lines}
        ReconstructionDisplay.from_estimator(model, examples, **options)
        lines[1, 0].set_ylabel(reducer.__name__.removesuffix("Transformer"))
    path = output / "skae-digits.png"
    axes[0, 0].figure.savefig(path, dpi=100)
    return path


if __name__ == "__main__":
    main()
