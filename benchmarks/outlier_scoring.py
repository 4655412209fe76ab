"""How long does AEOutlierDetector take to score rows, next to IsolationForest?

Standard normal rows, in bulk and one at a time, on one thread; both detectors take
turns, and the shortest turn of each counts. `benchmarks/outliers.py` prints it too.

    python benchmarks/outlier_scoring.py
"""

import numpy as np
from report import one_thread, print_table, progress, seconds
from sklearn.ensemble import IsolationForest

from skae import AEOutlierDetector

__all__ = ["measure_scoring"]

SHAPES = (20_000, 20), (10_000, 20), (49_000, 9), (20_000, 50)
N_TURNS, N_SINGLE_ROWS = 7, 30
OURS, NOVELTY, FOREST = "AEOutlierDetector", "novelty=True", "IsolationForest"


def main():
    with one_thread():
        lines = measure_scoring()
    print_table("Scores of fitted detectors on one thread", lines)


def measure_scoring(shapes=SHAPES):
    """A line for each shape: milliseconds in bulk and of one row, and ratios."""
    return [line_of(*shape) for shape in shapes]


def line_of(n, d):
    X = np.random.default_rng(0).normal(size=(n, d))
    detectors = {
        OURS: AEOutlierDetector(random_state=0, device="cpu"),
        NOVELTY: AEOutlierDetector(novelty=True, random_state=0, device="cpu"),
        FOREST: IsolationForest(random_state=0),
    }
    bulk = {name: [] for name in detectors}
    single = {name: [] for name in detectors}
    for detector in detectors.values():
        detector.fit(X).score_samples(X[:1])
    for _ in range(N_TURNS):
        for name, detector in detectors.items():
            bulk[name].append(seconds(detector.score_samples, X)[0])
            single[name].append(seconds(row_by_row, detector, X[:N_SINGLE_ROWS])[0])
    line = {"n": n, "d": d}
    for what, spent in (("bulk", bulk), ("one row", single)):
        best = {name: min(turns) for name, turns in spent.items()}
        count = n if what == "bulk" else N_SINGLE_ROWS
        unit = n if what == "bulk" else 1
        line |= {f"{what} ms, {k}": 1e3 * v * unit / count for k, v in best.items()}
        line[f"{what} / forest"] = best[OURS] / best[FOREST]
        line[f"{what} / forest, novelty"] = best[NOVELTY] / best[FOREST]
    progress(f"scoring at {n} x {d}: {line['bulk / forest']:.2f}")
    return line


def row_by_row(detector, X):
    for row in X:
        detector.score_samples(row.reshape(1, -1))


if __name__ == "__main__":
    main()
