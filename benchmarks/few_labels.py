"""What do rows without labels add to a classifier?

MNIST and Fashion-MNIST (under `SKAE_DATA`, or from OpenML), digits and breast_cancer
(standardised), with the labels of a few rows, drawn class by class.
`StackedAEClassifier` with its defaults is fitted to all training rows, of which the
others are unlabelled, and compared with the same network on the labelled rows alone
(``pretrain=False, semi_supervised=False``), `MLPClassifier` of the same widths, `SVC`,
`SelfTrainingClassifier` of it and `LabelSpreading`, the last two with at most 8,000
unlabelled rows. The first table has means over draws of labels; in the second,
``semi_supervised=False`` shows what pretraining alone is worth, stage by stage.

    python benchmarks/few_labels.py                         # about an hour and a half
    python benchmarks/few_labels.py --sets digits breast    # a few minutes
    python benchmarks/few_labels.py --tables stages --draws 2
    python benchmarks/few_labels.py --tables goals          # goals, met or not met

The goals are three draws of labels each, five of Fashion-MNIST. Seconds are of the
process's wall clock, CPU seconds of all its threads.
"""

import argparse
import time
import warnings
from typing import NamedTuple

import numpy as np
from benchmark_data import images, is_wanted
from report import merge, print_table, progress, save, seconds
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from skae import StackedAEClassifier

WIDTHS = (500, 250, 100)
MAX_UNLABELLED = 8_000
MAX_KERNEL = 10_000


class Task(NamedTuple):
    """A set, and how many of its training rows have labels; None for all."""

    name: str
    n_labels: int | None


TASKS = (
    Task("digits", 50),
    Task("breast_cancer", 50),
    Task("mnist", 100),
    Task("mnist", 1000),
    Task("fashion_mnist", 1000),
    Task("mnist", None),
)


class Goal(NamedTuple):
    """What means over draws are to reach; None where there is no goal.

    The lead is that over the same network on the labels alone, in points of error. Its
    log-loss is a goal everywhere.
    """

    task: Task
    n_draws: int
    error: float | None = None
    lead: float | None = None
    seconds: float | None = None


GOALS = (
    Goal(Task("digits", 50), 3, error=4.0, seconds=8),
    Goal(Task("breast_cancer", 50), 3),
    Goal(Task("mnist", 1000), 3, error=2.3, seconds=75),
    Goal(Task("fashion_mnist", 1000), 5, lead=1.0, seconds=75),
)
STAGED = (
    Task("digits", 50),
    Task("digits", 500),
    Task("mnist", 100),
    Task("mnist", 1000),
    Task("mnist", 10_000),
    Task("fashion_mnist", 100),
    Task("fashion_mnist", 1000),
    Task("fashion_mnist", 10_000),
)


class Draw(NamedTuple):
    """Training rows, of which those with y = -1 are unlabelled, and test rows."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", help="parts of names")
    parser.add_argument("--labels", type=int, nargs="+", help="0 for all")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--tables", nargs="+", default=["few", "stages"])
    options = parser.parse_args()

    found = {}
    if "few" in options.tables:
        found |= compare(wanted(TASKS, options), options.draws)
    if "goals" in options.tables:
        found |= compare_goals(options)
    if "stages" in options.tables:
        found |= compare_stages(wanted(STAGED, options), min(options.draws, 2))
    save("few_labels", **merge("few_labels", found))


def wanted(tasks, options):
    """The tasks that were asked for."""
    return [
        task
        for task in tasks
        if is_wanted(task.name, options.sets)
        and (not options.labels or (task.n_labels or 0) in options.labels)
    ]


def compare(tasks, n_draws):
    """The first table, one entry a task."""
    found = {}
    for task in tasks:
        lines = {}
        for seed in range(n_draws if task.n_labels else min(n_draws, 2)):
            draw = drawn(task, seed)
            for name, model in models(draw, seed).items():
                lines.setdefault(name, []).append(measured(name, model, draw))
                progress(f"{title(task)}, draw {seed}, {name}: {lines[name][-1]}")
        table = [summary(name, lines) for name in lines]
        print_table(title(task), table)
        found[title(task)] = {"table": table, "draws": lines}
    return found


def compare_goals(options):
    """What is reached of each goal, one entry a task."""
    mine, alone = "StackedAEClassifier", "same network, labels only"
    found = {}
    for goal in GOALS:
        if not wanted([goal.task], options):
            continue
        lines = {mine: [], alone: []}
        for seed in range(min(goal.n_draws, options.draws)):
            draw = drawn(goal.task, seed)
            for name, each in lines.items():
                each.append(measured(name, models(draw, seed)[name], draw))
                progress(f"{title(goal.task)}, draw {seed}, {name}: {each[-1]}")
        table = verdicts(goal, *(summary(name, lines) for name in lines))
        print_table(f"Goals: {title(goal.task)}, {len(lines[mine])} draws", table)
        found["goals: " + title(goal.task)] = {"table": table, "draws": lines}
    return found


def verdicts(goal, mine, alone):
    """Each figure beside its goal."""
    wanted_and_reached = [
        ("error %", "at most", goal.error, mine["error %"]),
        ("lead %", "at least", goal.lead, alone["error %"] - mine["error %"]),
        ("log-loss", "at most", alone["log-loss"], mine["log-loss"]),
        ("seconds", "at most", goal.seconds, mine["seconds"]),
        ("CPU seconds", "", None, mine["CPU seconds"]),
    ]
    table = []
    for figure, side, limit, reached in wanted_and_reached:
        is_met = limit is None or (
            reached >= limit if side == "at least" else reached <= limit
        )
        verdict = "" if limit is None else "met" if is_met else "not met"
        wish = "" if limit is None else f"{side} {limit:.4g}"
        table.append(
            {"figure": figure, "goal": wish, "reached": reached, "verdict": verdict}
        )
    return table


def models(draw, seed):
    """What is compared, by name."""
    few = (draw.y >= 0).sum() <= MAX_KERNEL
    partly = (draw.y < 0).any()
    return {
        "StackedAEClassifier": StackedAEClassifier(random_state=seed, device="cpu"),
        "same network, labels only": supervised(seed),
        "MLPClassifier": MLPClassifier(WIDTHS, random_state=seed),
        **({"SVC": SVC()} if few else {}),
        **(
            {
                "SelfTrainingClassifier(SVC)": SelfTrainingClassifier(
                    CalibratedClassifierCV(SVC(), ensemble=False)
                ),
                "LabelSpreading": LabelSpreading(kernel="knn", n_neighbors=7),
            }
            if few and partly
            else {}
        ),
    }


def supervised(seed):
    """The network of the same size and training, without the unlabelled rows."""
    return StackedAEClassifier(
        pretrain=False, semi_supervised=False, random_state=seed, device="cpu"
    )


def measured(name, model, draw):
    """Error, log-loss and seconds of one model on one draw."""
    X, y = rows_for(name, draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        of_processor = time.process_time()
        spent, _ = seconds(model.fit, X, y)
        of_processor = time.process_time() - of_processor
    found = {"error": float(1 - model.score(draw.X_test, draw.y_test))}
    found["log-loss"] = None
    if hasattr(model, "predict_proba"):
        P = np.nan_to_num(model.predict_proba(draw.X_test), nan=0) + 1e-12
        P /= P.sum(axis=1, keepdims=True)
        found["log-loss"] = float(log_loss(draw.y_test, P))
    return {**found, "seconds": spent, "CPU seconds": of_processor}


def rows_for(name, draw):
    """All rows, the labelled ones or a part, as the model takes them."""
    known = np.flatnonzero(draw.y >= 0)
    if name == "StackedAEClassifier":
        return draw.X, draw.y
    if name in ("SelfTrainingClassifier(SVC)", "LabelSpreading"):
        others = np.flatnonzero(draw.y < 0)
        order = np.random.default_rng(0).permutation(len(others))
        kept = np.concatenate([known, others[order[:MAX_UNLABELLED]]])
        return draw.X[kept], draw.y[kept]
    return draw.X[known], draw.y[known]


def summary(name, lines):
    """Means over draws, and the worst draw against the supervised network."""
    mine = lines[name]
    errors = np.array([line["error"] for line in mine])
    alone = np.array([line["error"] for line in lines["same network, labels only"]])
    log_losses = [line["log-loss"] for line in mine]
    return {
        "model": name,
        "error %": 100 * errors.mean(),
        "worst %": 100 * errors.max(),
        "worst lead over labels only": 100 * float((alone - errors).min()),
        "log-loss": None if None in log_losses else float(np.mean(log_losses)),
        "seconds": float(np.mean([line["seconds"] for line in mine])),
        "CPU seconds": float(np.mean([line["CPU seconds"] for line in mine])),
    }


def compare_stages(tasks, n_draws):
    """The second table: pretraining, frozen head, release."""
    table = []
    for task in tasks:
        errors = {}
        for seed in range(n_draws):
            draw = drawn(task, seed)
            for name, model in staged(seed).items():
                model.fit(draw.X, draw.y)
                error = float(1 - model.score(draw.X_test, draw.y_test))
                errors.setdefault(name, []).append(error)
                progress(f"{title(task)}, draw {seed}, {name}: {error:.4f}")
        means = {name: 100 * float(np.mean(each)) for name, each in errors.items()}
        table.append({"set": title(task), **means})
    print_table("Test error in %, no unlabelled row after pretraining", table)
    return {"stages: " + line["set"]: line for line in table}


def staged(seed):
    """The same pretrained encoder with more and more of its layers released."""
    released = {"frozen": 0, "1 layer": 1, "2 layers": 2, "all": "all"}
    return {"labels only": supervised(seed)} | {
        name: StackedAEClassifier(
            unfreeze_layers=n_layers,
            semi_supervised=False,
            random_state=seed,
            device="cpu",
        )
        for name, n_layers in released.items()
    }


def drawn(task, seed):
    """Rows of a set with the labels of a few, the same number of each class."""
    X, y, X_test, y_test = loaded(task.name, seed)
    if task.n_labels is None:
        return Draw(X, y, X_test, y_test)
    rng = np.random.default_rng(seed)
    classes = np.unique(y)
    each = max(2, round(task.n_labels / len(classes)))
    kept = np.concatenate(
        [rng.choice(np.flatnonzero(y == c), each, replace=False) for c in classes]
    )
    labels = np.full(len(y), -1)
    labels[kept] = y[kept]
    return Draw(X, labels, X_test, y_test)


def loaded(name, seed):
    """Training and test rows."""
    if name in ("mnist", "fashion_mnist"):
        data = images(name)
        y, y_test = data.y_train.astype(int), data.y_test.astype(int)
        return data.train, y, data.test, y_test
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    if name == "breast_cancer":
        scaler = StandardScaler().fit(X)
        X, X_test = scaler.transform(X), scaler.transform(X_test)
    return X, y, X_test, y_test


def title(task):
    """The task in words."""
    n_labels = "all" if task.n_labels is None else task.n_labels
    return f"{task.name}, {n_labels} labels"


if __name__ == "__main__":
    main()
