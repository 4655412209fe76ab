"""Does AEOutlierDetector find more outliers than IsolationForest, and at what cost?

Nothing is tuned; everything runs on one thread. Four sections:

- sets: ADBench's tables under `SKAE_DATA`, or else scikit-learn's, at most 4,000 rows
  each. Setting U fits all rows and scores the same rows; setting O fits a random half
  of the normal rows and scores the rest, also with `novelty=True`, which says that the
  training rows are clean. Three seeds, one for PyOD. Figures are means
  over the seeds of a set, then over sets; times are of fit and score together, all
  methods one after the other on each set, divided by IsolationForest's;
- speed: fit and score at 49,000 x 9 (standard normal) and on InternetAds, 1,966 x 1,555
  (standard normal without it), the median of three turns; PyOD gets one;
- scoring: the time of `score_samples` alone, in bulk and of one row;
- calibration: setting O on the five largest sets with hardly a duplicate. The share of
  new normal rows that are flagged at `contamination="auto"` against
  `false_alarm_rate`, and Kolmogorov-Smirnov tests: of their p-values against uniform,
  and of their scores against the calibration rows' scores. The second of each pair of
  checks allows for the chance in the calibration rows; the first does not, so that even
  a perfect detector fails it more often than its level says.

    python benchmarks/outliers.py                     # all of it, about 3 minutes
    python benchmarks/outliers.py --seeds 1 --skip-pyod
    python benchmarks/outliers.py --sets landsat cardio --only sets
"""

import argparse

import numpy as np
from benchmark_data import labelled_tables, subsample
from outlier_peers import (
    has_pyod,
    isolation_forest,
    local_outlier_factor,
    nearest_neighbours,
    pca_reconstruction,
    pyod_autoencoder,
)
from outlier_scoring import measure_scoring
from report import one_thread, print_table, progress, save, seconds
from scipy.stats import ks_2samp, kstest, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from skae import AEOutlierDetector

MAX_ROWS = 4_000
SETTINGS = {"U": "fit and score all rows", "O": "fit half of the normal rows"}
OURS, FOREST, PYOD = "AEOutlierDetector", "IsolationForest", "PyOD AutoEncoder"
NOVELTY = "AEOutlierDetector, novelty"
SECTIONS = ("sets", "speed", "scoring", "calibration")
LONG, WIDE = (49_000, 9), (1_966, 1_555)
WIDE_SET = "InternetAds"
N_TURNS = 3
N_CALIBRATED, DISTINCT = 5, 0.9


def main():
    options = parse_options()
    methods = contenders(options.skip_pyod)
    fits, speeds, scorings, calibrations = [], [], [], []
    with one_thread():
        warm_up(methods)
        if "sets" in options.only:
            fits = measure_sets(methods, options)
        if "speed" in options.only:
            speeds = measure_speed(methods)
        if "scoring" in options.only:
            scorings = measure_scoring()
        if "calibration" in options.only:
            calibrations = measure_calibration(options.sets)

    summaries = [line for setting in SETTINGS for line in summary(fits, setting)]
    checks = goals(summaries, speeds, calibrations) + scoring_goals(scorings)
    print_sections(fits, summaries, speeds, calibrations)
    print_table("Scores of fitted detectors on one thread", scorings)
    print_table("Goals, set for all of ADBench's sets", checks)
    is_full = options.seeds >= 3 and not options.sets and PYOD in methods
    save(
        "outliers" if is_full and options.only == SECTIONS else "outliers-partial",
        options=vars(options),
        goals=checks,
        summary=summaries,
        speed=speeds,
        scoring=scorings,
        calibration=calibrations,
        fits=fits,
    )


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--sets", nargs="+", help="names containing one of these")
    parser.add_argument("--skip-pyod", action="store_true", help="PyOD is slow")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    return parser.parse_args()


# What is fitted ------------------------------------------------------------------


def ours(X, seed, new=None):
    detector = AEOutlierDetector(random_state=seed, device="cpu").fit(X)
    return -detector.score_samples(X if new is None else new)


def with_novelty(X, seed, new):
    detector = AEOutlierDetector(novelty=True, random_state=seed, device="cpu")
    return -detector.fit(X).score_samples(new)


def contenders(skip_pyod):
    methods = {
        OURS: ours,
        NOVELTY: with_novelty,
        FOREST: isolation_forest,
        "kNN": nearest_neighbours,
        "LOF": local_outlier_factor,
        "PCA": pca_reconstruction,
    }
    if skip_pyod:
        return methods
    if not has_pyod():
        progress("PyOD is not installed: measured without it")
        return methods
    return methods | {PYOD: pyod_autoencoder}


def warm_up(methods):
    """Load what is lazy, so that no set pays for it."""
    X = np.random.default_rng(0).normal(size=(100, 4))
    for method in methods.values():
        method(X, 0, X)


# Sets ----------------------------------------------------------------------------


def measure_sets(methods, options):
    fits = []
    for name, X, y in labelled_tables(options.sets):
        X, y = capped(X, y)
        of_this_set = []
        for seed in range(options.seeds):
            for setting in SETTINGS:
                of_this_set += compare(methods, X, y, setting, seed)
        about = {"set": name, "n": len(X), "d": X.shape[1], "outliers": int(y.sum())}
        fits += [about | fit for fit in of_this_set]
        report_progress(name, X.shape, of_this_set)
    return fits


def compare(methods, X, y, setting, seed):
    """One record for each method, all on the same rows."""
    train, new = X, None
    if setting == "O":
        train, new, y = novelty_split(X, y, seed)
    records = []
    for name, method in methods.items():
        if (name == PYOD and seed > 0) or (name == NOVELTY and setting == "U"):
            continue
        spent, scores = seconds(method, train, seed, new)
        records.append(
            {
                "setting": setting,
                "seed": seed,
                "method": name,
                "auroc": float(roc_auc_score(y, scores)),
                "ap": float(average_precision_score(y, scores)),
                "seconds": spent,
            }
        )
    return records


def capped(X, y):
    rows = subsample(np.arange(len(X)), MAX_ROWS)
    return X[rows], y[rows]


def novelty_split(X, y, seed):
    """Return half of the normal rows, then all other rows with their labels."""
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    train, held_out = np.split(normal, [len(normal) // 2])
    rest = np.concatenate([held_out, np.flatnonzero(y == 1)])
    return X[train], X[rest], y[rest]


def report_progress(name, shape, fits):
    figures = []
    for setting in SETTINGS:
        auroc = {m: v.item() for m, v in by_set(fits, setting, "auroc").items()}
        figures.append(f"{setting} {auroc[OURS]:.3f} / {auroc[FOREST]:.3f}")
    progress(f"{name} {shape[0]} x {shape[1]}: " + ", ".join(figures))


# Speed ---------------------------------------------------------------------------


def measure_speed(methods):
    lines = []
    for name, X in speed_tables():
        times = {m: [] for m in (OURS, FOREST, PYOD) if m in methods}
        for turn in range(N_TURNS):
            for method, spent in times.items():
                if method != PYOD or turn == 0:
                    spent.append(seconds(methods[method], X, turn)[0])
        median = {method: float(np.median(spent)) for method, spent in times.items()}
        pyod = median.get(PYOD)
        lines.append(
            {
                "rows": name,
                "n": len(X),
                "d": X.shape[1],
                f"{OURS} s": median[OURS],
                f"{FOREST} s": median[FOREST],
                f"{PYOD} s": pyod,
                "ours / forest": median[OURS] / median[FOREST],
                "PyOD / ours": pyod and pyod / median[OURS],
            }
        )
        progress(f"speed on {name}: {lines[-1]['ours / forest']:.2f}")
    return lines


def speed_tables():
    random = np.random.default_rng(0)
    yield "standard normal", random.normal(size=LONG)
    wide = [(name, X) for name, X, _ in labelled_tables([WIDE_SET])]
    yield from wide or [("standard normal", random.normal(size=WIDE))]


# Calibration ---------------------------------------------------------------------


def measure_calibration(sets):
    tables = sorted(labelled_tables(sets), key=lambda table: -len(table.X))
    distinct = (table for table in tables if is_distinct(table.X[table.y == 0]))
    return [
        calibration_of(name, *capped(X, y))
        for (name, X, y), _ in zip(distinct, range(N_CALIBRATED), strict=False)
    ]


def is_distinct(X):
    return len({row.tobytes() for row in X}) >= DISTINCT * len(X)


def calibration_of(name, X, y):
    """One line: how the new normal rows of setting O are judged."""
    train, rest, y = novelty_split(X, y, seed=0)
    new = rest[y == 0]
    detector = AEOutlierDetector(random_state=0, device="cpu").fit(train)
    rate, n_calibration = detector.false_alarm_rate, len(detector.calibration_scores_)
    flagged = float(np.mean(detector.predict(new) == -1))
    # The calibration rows are a sample too: errors of the new rows' share alone, and
    # of both together; likewise for the distribution of p-values.
    variance = rate * (1 - rate) * np.array([1 / len(new), 1 / n_calibration])
    of_new, of_both = 3 * np.sqrt(np.cumsum(variance))
    calibration, scores = detector.calibration_scores_, detector.score_samples(new)
    return {
        "set": name,
        "calibrated on": n_calibration,
        "new": len(new),
        "stated": rate,
        "flagged": flagged,
        "3 SE": float(of_new),
        "within": bool(abs(flagged - rate) <= of_new),
        "3 SE of both": float(of_both),
        "within both": bool(abs(flagged - rate) <= of_both),
        "KS p, uniform": float(kstest(detector.p_values(new), "uniform").pvalue),
        "KS p, two samples": float(ks_2samp(calibration, scores).pvalue),
    }


# What is reported ----------------------------------------------------------------


def by_set(fits, setting, key):
    """For each method an array with a set's mean over seeds in each entry."""
    fits = [fit for fit in fits if fit["setting"] == setting]
    values = {}
    for fit in fits:
        sets = values.setdefault(fit["method"], {})
        sets.setdefault(fit.get("set"), []).append(fit[key])
    return {
        method: np.array([np.mean(of_seeds) for of_seeds in sets.values()])
        for method, sets in values.items()
    }


def summary(fits, setting):
    """The lines of a setting: every method over all sets."""
    auroc, ap, spent = (by_set(fits, setting, k) for k in ("auroc", "ap", "seconds"))
    ranks = rankdata([-values for values in auroc.values()], axis=0) if auroc else []
    lines = []
    for rank, method in zip(ranks, auroc, strict=True):
        lead = auroc[method] - auroc[FOREST]
        lines.append(
            {
                "setting": setting,
                "method": method,
                "AUROC": float(auroc[method].mean()),
                "AP": float(ap[method].mean()),
                "rank": float(rank.mean()),
                "wins": int(np.sum(lead > 0)),
                "losses": int(np.sum(lead < 0)),
                "seconds": float(spent[method].sum()),
                "x forest": float(spent[method].sum() / spent[FOREST].sum()),
                "x forest, median": float(np.median(spent[method] / spent[FOREST])),
            }
        )
    return lines


def print_sections(fits, summaries, speeds, calibrations):
    for setting, what in SETTINGS.items():
        print_table(
            f"AUROC by set, setting {setting}: {what}", set_lines(fits, setting)
        )
    print_table("All sets (wins and losses against the forest)", summaries)
    print_table("Fit and score on one thread", speeds)
    print_table("New normal rows in setting O", calibrations)


def set_lines(fits, setting):
    auroc = by_set(fits, setting, "auroc")
    abouts = {fit["set"]: fit for fit in fits}.values()
    return [
        {key: about[key] for key in ("set", "n", "d", "outliers")}
        | {method: float(values[number]) for method, values in auroc.items()}
        for number, about in enumerate(abouts)
    ]


def goals(summaries, speeds, calibrations):
    """Each goal with the figure reached and whether it is met."""
    lines = []

    def at_least(what, goal, figure):
        lines.append(goal_line(what, f">= {goal:g}", figure, figure >= goal))

    def at_most(what, goal, figure):
        lines.append(goal_line(what, f"<= {goal:g}", figure, figure <= goal))

    for setting, auroc, ap in (("U", 0.785, 0.435), ("O", 0.831, 0.651)):
        found = {s["method"]: s for s in summaries if s["setting"] == setting}
        if not found:
            continue
        mine = found[OURS]
        at_least(f"AUROC, {setting}", auroc, mine["AUROC"])
        at_least(f"AP, {setting}", ap, mine["AP"])
        factor = 2 if setting == "O" else 1
        enough = max(mine["losses"] * factor, mine["losses"] + 1)
        at_least(f"wins over the forest, {setting}", enough, mine["wins"])
        at_most(f"time / the forest's, {setting}", 1.5, mine["x forest"])
        if NOVELTY in found:
            at_least("AUROC, O, novelty", 0.845, found[NOVELTY]["AUROC"])
            at_least("AP, O, novelty", 0.695, found[NOVELTY]["AP"])
        if PYOD in found:
            slower = found[PYOD]["seconds"] / mine["seconds"]
            at_least(f"PyOD's time / ours, {setting}", 5, slower)
    for line in speeds:
        where = f"{line['n']} x {line['d']}"
        at_most(f"time / the forest's, {where}", 4, line["ours / forest"])
        if line["PyOD / ours"]:
            at_least(f"PyOD's time / ours, {where}", 5, line["PyOD / ours"])
    if calibrations:
        n_sets = len(calibrations)
        for key in ("within", "within both"):
            n_good = sum(line[key] for line in calibrations)
            at_least(f"sets with false alarms {key}, 3 SE", n_sets, n_good)
        for key in ("KS p, uniform", "KS p, two samples"):
            n_good = sum(line[key] > 0.01 for line in calibrations)
            at_least(f"sets with {key} > .01", n_sets, n_good)
    return lines


def scoring_goals(scorings):
    """In bulk no longer than the forest at 20 features, and half as long for a row."""
    lines = []
    for line in scorings:
        if line["d"] == 20:
            for what, goal in (("bulk", 1.0), ("one row", 0.5)):
                figure = line[f"{what} / forest"]
                name = f"{what} / the forest's, {line['n']} x {line['d']}"
                lines.append(goal_line(name, f"<= {goal:g}", figure, figure <= goal))
    return lines


def goal_line(what, goal, figure, is_met):
    return {"of": what, "goal": goal, "reached": float(figure), "met": bool(is_met)}


if __name__ == "__main__":
    main()
