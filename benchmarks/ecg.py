"""Does AEOutlierDetector find abnormal heartbeats when it has seen normal ones only?

ECG5000's training part under `SKAE_DATA` (500 heartbeats of 140 points, 292 normal), or
else digits, zero or not. Accuracy, precision and recall have normal as the positive
class, as in TensorFlow's tutorial "Intro to Autoencoders", which trains on the normal
ones of 4,000 heartbeats and puts the threshold one standard deviation above the mean
training loss. That rule is one of the two measured here, the other the detectors' own.
The rows to fit are known to be normal, so the detector is measured with `novelty=True`
as well; by default it sets aside the 40% that lie farthest out, also where, as here, no
row is an outlier.

Repeated 5-fold over the normal rows: four folds are fitted; the fifth and all abnormal
rows are judged. A fifth is the weight of the abnormal rows, so that their share is the
data's, as in the tutorial's test; precision and accuracy depend on it. The table has
means and standard deviations over the folds.

    python benchmarks/ecg.py
    python benchmarks/ecg.py --repeats 1
"""

import argparse

import numpy as np
from benchmark_data import heartbeats
from report import one_thread, print_table, progress, save
from sklearn.ensemble import IsolationForest
from sklearn.metrics import (
    accuracy_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import RepeatedKFold

from skae import AEOutlierDetector

N_FOLDS = 5
PUBLISHED = {"accuracy": 0.944, "precision": 0.992, "recall": 0.905, "AUROC": None}
DETECTORS = {
    "AEOutlierDetector": lambda seed: AEOutlierDetector(
        random_state=seed, device="cpu"
    ),
    "AEOutlierDetector, novelty": lambda seed: AEOutlierDetector(
        novelty=True, random_state=seed, device="cpu"
    ),
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=4, help="of the five folds")
    options = parser.parse_args()

    data = heartbeats()
    with one_thread():
        folds = measure(data.X, data.y, options.repeats)
    lines = summary(folds)
    checks = goals(lines)
    if data.name == "ECG5000":
        lines.insert(0, published_line())
    print_table(f"{data.name}, fitted to normal rows only", lines)
    print_table("Goal, set for ECG5000", checks)
    save(
        "ecg",
        options=vars(options),
        data=data.name,
        goals=checks,
        summary=lines,
        folds=folds,
    )


def measure(X, y, n_repeats):
    """One record for each fold, detector and threshold."""
    normal, abnormal = X[y == 0], X[y == 1]
    splits = RepeatedKFold(n_splits=N_FOLDS, n_repeats=n_repeats, random_state=0)
    records = []
    for fold, (train, held_out) in enumerate(splits.split(normal)):
        for name, make in DETECTORS.items():
            detector = make(fold).fit(normal[train])
            figures = judged(detector, normal[train], normal[held_out], abnormal)
            records += [{"fold": fold, "detector": name} | line for line in figures]
        progress(f"fold {fold + 1} of {N_FOLDS * n_repeats}: done")
    return records


def judged(detector, train, held_out, abnormal):
    """The figures of a fitted detector, a record for each threshold."""
    scores = detector.score_samples(np.concatenate([held_out, abnormal]))
    is_normal = np.repeat([1, 0], [len(held_out), len(abnormal)])
    weight = np.repeat([1, 1 / N_FOLDS], [len(held_out), len(abnormal)])
    of_train = detector.score_samples(train)
    thresholds = {
        'contamination="auto"': detector.offset_,
        "mean + 1 sd": of_train.mean() - of_train.std(),
    }
    auroc = float(roc_auc_score(is_normal, scores))
    return [
        {"threshold": rule}
        | label_figures(is_normal, scores >= offset, weight)
        | {"AUROC": auroc}
        for rule, offset in thresholds.items()
    ]


def label_figures(is_normal, is_called_normal, weight):
    figures = {
        "accuracy": accuracy_score,
        "precision": precision_score,
        "recall": recall_score,
    }
    return {
        name: float(figure(is_normal, is_called_normal, sample_weight=weight))
        for name, figure in figures.items()
    }


def summary(folds):
    """A line for each detector and threshold: means and deviations over folds."""
    lines = []
    for case in dict.fromkeys((f["detector"], f["threshold"]) for f in folds):
        mine = [f for f in folds if (f["detector"], f["threshold"]) == case]
        line = {"detector": case[0], "threshold": case[1]}
        for figure in PUBLISHED:
            values = [fold[figure] for fold in mine]
            line |= {
                figure: float(np.mean(values)),
                f"{figure} sd": float(np.std(values)),
            }
        lines.append(line)
    return lines


def goals(lines):
    figure = next(line["AUROC"] for line in lines if "novelty" in line["detector"])
    what = "AUROC with novelty=True"
    return [{"of": what, "goal": ">= 0.98", "reached": figure, "met": figure >= 0.98}]


def published_line():
    line = {"detector": "autoencoder, as published", "threshold": "mean + 1 sd"}
    for figure, value in PUBLISHED.items():
        line |= {figure: value, f"{figure} sd": None}
    return line


if __name__ == "__main__":
    main()
