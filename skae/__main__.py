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
from skae.inspection.drawing import new_axes

REDUCERS = (PCA, AutoencoderTransformer)
DETECTORS = (IsolationForest, AEOutlierDetector)
N_PICTURED = 8


def main(arguments=None, n_components=(2, 8, 16), n_splits=5) -> None:
    """Compare skae's drop-ins with what they replace, and draw digits."""
    parser = argparse.ArgumentParser("python -m skae", description=main.__doc__)
    text = "folder for the picture (default: the current one)"
    parser.add_argument("--output", type=Path, default=Path(), help=text)
    output = parser.parse_args(arguments).output
    if not output.is_dir():
        parser.error(f"--output: {str(output)!r} must be a folder that exists")
    X, y = load_digits(return_X_y=True)
    digits = train_test_split(X / 16, y, random_state=0, stratify=y)
    print(
        "Held-out digits: share of the variance that the reconstruction keeps, accuracy"
        "\nof 5 nearest neighbours on the codes, seconds of one fit.\n\n"
        f"  {'reducer':24}{'n_components':>12}{'variance':>10}{'accuracy':>10}"
        f"{'seconds':>9}"
    )
    for k in n_components:
        for reducer in REDUCERS:
            compare_reducer(reducer(k, random_state=0), *digits)
    print(
        "\nTrained on half of the normal rows: area under the ROC curve, share of fresh"
        "\nnormal rows and of outliers flagged, means over splits. AEOutlierDetector\n"
        f"states {AEOutlierDetector().false_alarm_rate} false alarms; IsolationForest "
        "states none.\n\n"
        f"  {'normal rows':23}{'detector':19}{'AUROC':>8}{'false':>8}{'caught':>8}"
    )
    for data in one_class_sets():
        for detector in DETECTORS:
            compare_detector(detector, *data, n_splits)
    try:
        print(f"\nHeld-out digits from {N_PICTURED} numbers: {draw(digits, output)}")
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


def one_class_sets():
    """Name, rows and which of them are outliers."""
    cancer, digits, wine = load_breast_cancer(), load_digits(), load_wine()
    yield "breast cancer: benign", cancer.data, cancer.target == 0
    yield "digits: 8", digits.data, digits.target != 8
    yield "wine: second cultivar", wine.data, wine.target != 1


def compare_detector(detector, name, X, is_outlier, n_splits) -> None:
    """Print a row of the second table."""
    figures = []
    for seed in range(n_splits):
        train, fresh = train_test_split(
            X[~is_outlier], test_size=0.5, random_state=seed
        )
        model = detector(random_state=seed).fit(train)
        test = np.concatenate([fresh, X[is_outlier]])
        outlier = np.arange(len(test)) >= len(fresh)
        flagged = model.predict(test) == -1
        auroc = roc_auc_score(outlier, -model.score_samples(test))
        figures.append((auroc, flagged[~outlier].mean(), flagged[outlier].mean()))
    shown = "".join(f"{figure:8.3f}" for figure in np.mean(figures, axis=0))
    print(f"  {name:23}{detector.__name__:19}{shown}")


def draw(digits, output):
    """Save held-out digits above their reconstructions; where the picture is."""
    X, X_test, _, y_test = digits
    axes = new_axes(1 + len(REDUCERS), 10, figsize=(10, 3))
    examples = np.stack([X_test[y_test == digit][0] for digit in range(10)])
    rows = {"original": examples}
    for reducer in REDUCERS:
        model = reducer(N_PICTURED, random_state=0).fit(X)
        rows[reducer.__name__] = model.inverse_transform(model.transform(examples))
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
    path = output / "skae-digits.png"
    axes[0, 0].figure.savefig(path, dpi=100)
    return path


if __name__ == "__main__":
    main()
