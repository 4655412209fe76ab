"""``python -m skae``: autoencoders next to what scikit-learn has for the same job.

Takes well under a minute, on data that scikit-learn ships: `AutoencoderTransformer`
against PCA on digits, `AEOutlierDetector` against IsolationForest on three tables,
and a picture of reconstructions. ``docs/examples`` shows more. Nothing imports this
file.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from tqdm import tqdm

from skae import AEOutlierDetector, AutoencoderTransformer

WIDTHS = (2, 8, 16)
SEEDS = range(3)
NORMAL = (
    ("breast cancer: benign", load_breast_cancer, 1),
    ("digits: 8", load_digits, 8),
    ("wine: second cultivar", load_wine, 1),
)


def main(arguments: list[str] | None = None) -> None:
    """Compare skae with scikit-learn and draw reconstructions."""
    parser = argparse.ArgumentParser("python -m skae", description=main.__doc__)
    parser.add_argument(
        "--output",
        type=_folder,
        default=Path(),
        help="folder for the picture (default: the current one)",
    )
    output = parser.parse_args(arguments).output
    with tqdm(total=2 * (len(WIDTHS) + len(NORMAL)), unit="fit") as bar:
        for text in (reduce(bar, output), detect(bar)):
            bar.write(text + "\n", file=sys.stdout)


def reduce(bar, output: Path) -> str:
    """PCA and the autoencoder on digits."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    lines, reconstructed = [], {"original": X_test}
    for n_components in WIDTHS:
        for reducer in (PCA, AutoencoderTransformer):
            model = reducer(n_components, random_state=0).fit(X)
            codes, test_codes = model.transform(X), model.transform(X_test)
            rebuilt = model.inverse_transform(test_codes)
            lost = ((X_test - rebuilt) ** 2).sum() / ((X_test - X.mean(0)) ** 2).sum()
            accuracy = KNeighborsClassifier().fit(codes, y).score(test_codes, y_test)
            figures = f"{n_components:12}  {1 - lost:8.3f}  {accuracy:8.3f}"
            lines.append(f"  {reducer.__name__:22}  {figures}")
            if n_components == WIDTHS[1]:
                reconstructed[reducer.__name__] = rebuilt
            bar.update()
    return (
        "Digits, held out: share of the variance reconstructed from the codes and\n"
        "accuracy of five nearest neighbours among them.\n\n"
        f"  {'reducer':22}  n_components  variance  accuracy\n"
        + "\n".join(lines)
        + f"\n\n{_picture(reconstructed, output / 'skae-digits.png')}"
    )


def detect(bar) -> str:
    """IsolationForest and the detector, trained on half of the rows of one class."""
    lines = []
    for name, load, normal in NORMAL:
        X, y = load(return_X_y=True)
        for detector in (IsolationForest, AEOutlierDetector):
            figures = np.mean([_judged(detector, X, y == normal, s) for s in SEEDS], 0)
            shown = "  ".join(f"{figure:8.3f}" for figure in figures)
            lines.append(f"  {name:22}  {detector.__name__:17}  {shown}")
            bar.update()
    return (
        "Trained on half of the normal rows: area under the ROC curve, share of the\n"
        "other normal rows and of the outliers flagged. The detector states a\n"
        f"false-alarm rate of {AEOutlierDetector().false_alarm_rate}; IsolationForest "
        "states none.\n\n"
        f"  {'normal rows':22}  {'detector':17}  {'AUROC':>8}  {'false':>8}  "
        f"{'caught':>8}\n" + "\n".join(lines)
    )


def _judged(detector, X, is_normal, seed) -> list[float]:
    """Area under the curve, false alarms and outliers caught."""
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(is_normal))
    model = detector(random_state=seed).fit(X[normal[: len(normal) // 2]])
    test = np.setdiff1d(np.arange(len(X)), normal[: len(normal) // 2])
    flagged, is_outlier = model.predict(X[test]) == -1, ~is_normal[test]
    area = roc_auc_score(is_outlier, -model.score_samples(X[test]))
    return [area, flagged[~is_outlier].mean(), flagged[is_outlier].mean()]


def _picture(rows: dict[str, np.ndarray], path: Path) -> str:
    """Ten images of each kind in a file; what to say of it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return 'No picture without matplotlib: pip install "skae[plot]"'
    figure = Figure(figsize=(9, 3), layout="constrained")
    grid = figure.subplots(len(rows), 10)
    for axes, (name, images) in zip(grid, rows.items(), strict=True):
        for ax, image in zip(axes, images, strict=False):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name.removesuffix("Transformer"), rotation=0, ha="right")
    figure.savefig(path, dpi=100)
    return f"Digits rebuilt from {WIDTHS[1]} numbers: {path}"


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} must be a folder that exists")
    return path


if __name__ == "__main__":
    main()
