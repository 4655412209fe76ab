"""Does AEOutlierDetector flag normal rows at the rate it states, on tables of any kind?

Nothing is tuned; everything runs on one thread. Two sections:

- rates: for every kind of table and 50, 300 and 2,000 training rows, the share of 2,000
  fresh rows of the same distribution that is flagged at a stated 5%, the mean over five
  seeds. Fresh rows and training rows are exchangeable, so there is nothing to flag but
  chance: with n calibration rows the share of one fit has a standard deviation of about
  sqrt(.05 * .95 / n). Where many scores are equal 5% may be out of reach; the share may
  then be lower, not higher. Where scores are continuous, the pooled p-values of the
  fresh rows, thinned to what independent fits can tell, are compared with the uniform
  distribution. Beside them: the same with 5 and 20% of the training rows replaced by
  outliers, still judged by the share of fresh normal rows that is flagged.
- same rows: on ten of ADBench's tables under `SKAE_DATA`, or else scikit-learn's, how
  many training rows are flagged when they are scored as they came, as float32, rounded
  to six significant digits, and one by one behind a float32 pipeline with a PCA.

    python benchmarks/false_alarms.py                 # all of it, a few minutes
    python benchmarks/false_alarms.py --kinds poisson --seeds 20 --only rates
"""

import argparse

import numpy as np
from benchmark_data import labelled_tables, subsample
from report import one_thread, print_table, progress, save
from scipy.stats import kstest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AEOutlierDetector

SECTIONS = ("rates", "same rows")
SIZES = (50, 300, 2_000)
SHARES = (0.0, 0.05, 0.2)
N_FRESH = 2_000
STATED, LOWEST, HIGHEST, HIGHEST_OF_FEW = 0.05, 0.03, 0.065, 0.08
FEW = 50
N_TABLES, MAX_ROWS, N_SINGLE = 10, 1_000, 300


def main():
    options = parse_options()
    rates, again = [], []
    with one_thread():
        if "rates" in options.only:
            rates = measure_rates(options)
        if "same rows" in options.only:
            again = [same_rows(*table) for table in recognition_tables()]
    lines = by_kind(rates)
    means = over_kinds(rates)
    checks = goals(rates, again)
    print_table("Share of fresh rows flagged, by outliers in training", lines)
    print_table("Means over kinds", means)
    print_table("Training rows flagged when they come back", again)
    print_table("Goals", checks)
    is_full = options.seeds >= 5 and not options.kinds and options.only == SECTIONS
    save(
        "false_alarms" if is_full else "false_alarms-partial",
        options=vars(options),
        goals=checks,
        kinds=lines,
        means=means,
        same_rows=again,
        fits=[{k: v for k, v in fit.items() if k != "p"} for fit in rates],
    )


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ...")
    parser.add_argument("--kinds", nargs="+", help="names containing one of these")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    return parser.parse_args()


# Kinds of tables -----------------------------------------------------------------
# Each function draws n independent rows.


def gaussian(r, n):
    return r.normal(size=(n, 10))


def correlated(r, n):
    return np.tanh(r.normal(size=(n, 3)) @ mixing(3, 12)) + 0.2 * r.normal(size=(n, 12))


def cauchy(r, n):
    return r.standard_cauchy(size=(n, 6))


def student(r, n):
    return r.standard_t(3, size=(n, 1)) * r.normal(size=(n, 8))


def lognormal(r, n):
    return np.exp(2 * r.normal(size=(n, 6)))


def wide(r, n):
    return r.normal(size=(n, 8)) @ mixing(8, 400) + r.normal(size=(n, 400))


def offsets(r, n):
    return 1e6 + r.normal(size=(n, 5))


def units(r, n):
    return r.normal(size=(n, 8)) * 10.0 ** np.arange(-8, 8, 2)


def missing(r, n):
    return np.where(r.random((n, 8)) < 0.2, np.nan, r.normal(size=(n, 8)))


def rounded(r, n):
    return r.normal(size=(n, 4)).round(1)


def constants(r, n):
    return np.c_[np.full((n, 3), 7.0), r.normal(size=(n, 4))]


def one_column(r, n):
    return r.gamma(2, size=(n, 1))


def oversampled(r, n):
    """Customers that come back exactly as they were: 500 different rows."""
    return np.random.default_rng(5).normal(size=(500, 5))[r.integers(0, 500, n)]


def two_clusters(r, n):
    return r.normal(size=(n, 8)) + np.where(r.random((n, 1)) < 0.15, 9.0, 0.0)


def three_clusters(r, n):
    cluster = r.choice(3, p=[0.6, 0.3, 0.1], size=n)
    return 8 * mixing(3, 10)[cluster] + r.normal(size=(n, 10))


def tight_mode(r, n):
    """Idle machines: more than half of the rows nearly alike."""
    spread = np.where(r.random((n, 1)) < 0.6, 0.01, 1.0)
    return spread * r.normal(size=(n, 6))


def poisson_rare(r, n):
    return r.poisson(0.2, size=(n, 3))


def poisson(r, n):
    return r.poisson(3, size=(n, 8))


def shop_hours(r, n):
    open_now = r.random((n, 1)) < 0.42
    return np.where(open_now, r.poisson([30, 12, 5], size=(n, 3)), 0)


def zero_rows(r, n):
    return np.where(r.random((n, 1)) < 0.6, 0.0, r.normal(size=(n, 5)))


def zero_entries(r, n):
    return np.where(r.random((n, 20)) < 0.8, 0.0, np.exp(r.normal(size=(n, 20))))


def spikes(r, n):
    """Wide and mostly zero, in a unit of millions."""
    return np.where(r.random((n, 100)) < 0.01, 1e6 * r.exponential(size=(n, 100)), 0.0)


def yes_no(r, n):
    return r.random((n, 8)) < 0.05


def yes_no_few(r, n):
    return r.random((n, 3)) < 0.2


def yes_no_one(r, n):
    return r.random((n, 1)) < 0.3


def yes_no_many(r, n):
    return r.random((n, 30)) < 0.1


def one_hot(r, n):
    return np.eye(10)[levels(r, n, 10)]


def one_hots(r, n):
    return np.hstack([np.eye(k)[levels(r, n, k)] for k in (3, 5, 12)])


def mixed(r, n):
    amounts = np.exp(r.normal(size=(n, 2)))
    return np.hstack([one_hots(r, n), amounts, r.normal(size=(n, 3))])


def likert(r, n):
    return 1 + r.choice(5, p=[0.55, 0.25, 0.1, 0.06, 0.04], size=(n, 3))


def likert_many(r, n):
    mood = r.normal(size=(n, 1))
    return np.clip(np.round(3 + mood + r.normal(size=(n, 12))), 1, 5)


def codes(r, n):
    """Numbers of categories in one column, beside an amount."""
    return np.c_[r.integers(0, 50, n), r.exponential(size=n).round(2)]


CONTINUOUS = (
    gaussian,
    correlated,
    cauchy,
    student,
    lognormal,
    wide,
    offsets,
    units,
    missing,
    constants,
    one_column,
    two_clusters,
    three_clusters,
    tight_mode,
)
DISCRETE = (
    rounded,
    oversampled,
    poisson_rare,
    poisson,
    shop_hours,
    zero_rows,
    zero_entries,
    spikes,
    yes_no,
    yes_no_few,
    yes_no_one,
    yes_no_many,
    one_hot,
    one_hots,
    mixed,
    likert,
    likert_many,
    codes,
)


def mixing(k, d):
    return np.random.default_rng(k).normal(size=(k, d))


def levels(r, n, k):
    """Numbers of k levels, the more frequent the lower, as words are."""
    frequency = 1 / np.arange(1, k + 1)
    return r.choice(k, p=frequency / frequency.sum(), size=n)


def contaminated(X, share, r):
    """X with a share of its rows replaced by rows far out in every column."""
    n_outliers = round(share * len(X))
    unit = np.nanstd(X, axis=0) + 1e-6 * np.abs(np.nanmean(X, axis=0))
    far = np.nanmean(X, axis=0) + 8 * unit * r.normal(size=(n_outliers, X.shape[1]))
    return np.concatenate([far, X[n_outliers:]])


# Rates ---------------------------------------------------------------------------


def measure_rates(options):
    fits = []
    for kind in CONTINUOUS + DISCRETE:
        name = kind.__name__.replace("_", " ")
        if options.kinds and not any(part in name for part in options.kinds):
            continue
        mine = [
            fit_of(kind, name, n, share, seed)
            for n in options.sizes
            for share in SHARES
            for seed in range(options.seeds)
        ]
        fits += mine
        clean = [fit for fit in mine if not fit["outliers"]]
        shares = (f"{n}: {mean_of(clean, n):.3f}" for n in options.sizes)
        progress(f"{name}: " + ", ".join(shares))
    return fits


def fit_of(kind, name, n, share, seed):
    """One fit: the share of fresh normal rows flagged, and their p-values."""
    r = np.random.default_rng([seed, n])
    X, fresh = kind(r, n).astype(float), kind(r, N_FRESH).astype(float)
    X = contaminated(X, share, r)
    detector = AEOutlierDetector(random_state=seed, device="cpu").fit(X)
    p = detector.p_values(fresh)
    return {
        "kind": name,
        "continuous": kind in CONTINUOUS,
        "n": n,
        "outliers": share,
        "seed": seed,
        "flagged": float(np.mean(detector.predict(fresh) == -1)),
        "p <= .05": float(np.mean(p <= STATED)),
        "p <= .5": float(np.mean(p <= 0.5)),
        "calibrated on": len(detector.calibration_scores_),
        "left out": detector.n_left_out_,
        "p": p,
    }


def mean_of(fits, n, share=0.0, key="flagged"):
    mine = [f[key] for f in fits if f["n"] == n and f["outliers"] == share]
    return float(np.mean(mine))


def uniformity(fits, n):
    """KS p-value of the clean fits' p-values, as many of each as it has training rows.

    More would measure the chance in the calibration rows, which all p-values of a fit
    share, and not the detector.
    """
    mine = [f for f in fits if f["n"] == n and not f["outliers"]]
    if not mine[0]["continuous"]:
        return None
    p = np.concatenate([fit["p"][: max(5, n // 20)] for fit in mine])
    return float(kstest(p, "uniform").pvalue)


def by_kind(fits):
    lines = []
    for name in dict.fromkeys(fit["kind"] for fit in fits):
        mine = [fit for fit in fits if fit["kind"] == name]
        for n in dict.fromkeys(fit["n"] for fit in mine):
            clean = [f for f in mine if f["n"] == n and not f["outliers"]]
            lines.append(
                {"kind": name, "n": n}
                | {f"{share:.0%}": mean_of(mine, n, share) for share in SHARES}
                | {
                    "largest": max(fit["flagged"] for fit in clean),
                    "p <= .5": mean_of(mine, n, key="p <= .5"),
                    "left out": mean_of(mine, n, key="left out"),
                    "KS p": uniformity(mine, n),
                }
            )
    return lines


def over_kinds(fits):
    """Means over kinds and seeds, by the number of rows."""
    lines = []
    for n in dict.fromkeys(fit["n"] for fit in fits):
        clean = [fit for fit in fits if fit["n"] == n and not fit["outliers"]]
        worst = max(clean, key=lambda fit: fit["flagged"])
        lines.append(
            {"n": n}
            | {f"{share:.0%} outliers": mean_of(fits, n, share) for share in SHARES}
            | {"largest of one fit": worst["flagged"], "of": worst["kind"]}
        )
    return lines


# The same rows -------------------------------------------------------------------


def recognition_tables():
    tables = []
    for name, X, _ in labelled_tables():
        if 5 <= X.shape[1] <= 100 and len(X) >= 200 and len(tables) < N_TABLES:
            tables.append((name, subsample(X, MAX_ROWS)))
    return tables


def same_rows(name, X):
    """One line: how many training rows are flagged in each form."""
    detector = AEOutlierDetector(random_state=0, device="cpu").fit(X)
    digits = np.array([[float(f"{v:.6g}") for v in row] for row in X])
    line = {"set": name, "n": len(X), "d": X.shape[1]}
    forms = {"float64": X, "float32": X.astype(np.float32), "6 digits": digits}
    for form, rows in forms.items():
        line[form] = int(np.sum(detector.predict(rows) == -1))
    line |= one_by_one(X.astype(np.float32))
    numbers = [line[form] for form in forms]
    line["within 10%"] = is_close(numbers) and is_close([line["at once"], line["rows"]])
    progress(f"{name}: {numbers}, behind a PCA {line['at once']}, {line['rows']}")
    return line


def one_by_one(X):
    """Rows flagged behind a float32 PCA: all at once, and one after the other."""
    pipeline = make_pipeline(
        StandardScaler(), PCA(min(10, X.shape[1])), AEOutlierDetector(random_state=0)
    ).fit(X)
    some = X[:N_SINGLE]
    at_once = int(np.sum(pipeline.predict(some) == -1))
    rows = sum(int(pipeline.predict(row[None])[0] == -1) for row in some)
    return {"at once": at_once, "rows": rows}


def is_close(numbers):
    """Whether all of them lie within a tenth, or one row, of the first."""
    allowed = max(1, 0.1 * numbers[0])
    return all(abs(number - numbers[0]) <= allowed for number in numbers)


# What is reported ----------------------------------------------------------------


def goals(fits, again):
    """Each goal with the figure reached and whether it is met."""
    lines = []
    for n in dict.fromkeys(fit["n"] for fit in fits):
        clean = [fit for fit in fits if fit["n"] == n and not fit["outliers"]]
        mean = mean_of(clean, n)
        highest = HIGHEST_OF_FEW if n <= FEW else HIGHEST
        what = f"share flagged, n = {n}, "
        lines.append(at_most(what + "mean over kinds", highest, mean))
        kinds = {fit["kind"]: fit["continuous"] for fit in clean}
        means = {
            kind: mean_of([fit for fit in clean if fit["kind"] == kind], n)
            for kind in kinds
        }
        lines.append(at_most(what + "highest kind", highest, max(means.values())))
        if n > FEW:
            least = min(means[kind] for kind in kinds if kinds[kind])
            lines.append(at_least(what + "lowest continuous kind", LOWEST, least))
        uniform = [
            uniformity([fit for fit in clean if fit["kind"] == kind], n)
            for kind in kinds
            if kinds[kind]
        ]
        if uniform:
            n_good = sum(p > 0.01 for p in uniform)
            what = f"continuous kinds with KS p > .01, n = {n}"
            lines.append(at_least(what, len(uniform) - 1, n_good))
    if again:
        n_good = sum(line["within 10%"] for line in again)
        what = "tables on which the same rows are flagged, within 10%"
        lines.append(at_least(what, len(again), n_good))
    return lines


def at_least(what, goal, figure):
    return goal_line(what, f">= {goal:g}", figure, figure >= goal)


def at_most(what, goal, figure):
    return goal_line(what, f"<= {goal:g}", figure, figure <= goal)


def goal_line(what, goal, figure, is_met):
    return {"of": what, "goal": goal, "reached": float(figure), "met": bool(is_met)}


if __name__ == "__main__":
    main()
