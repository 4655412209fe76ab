"""Does scikit-learn's own test file for IsolationForest pass with AEOutlierDetector?

Runs `sklearn.ensemble.tests.test_iforest` of the installed scikit-learn, in which the
name `IsolationForest` stands for `AEOutlierDetector`. The tests that look inside a
forest are left out, each for the reason in `LEFT_OUT`. Exits with pytest's status,
which is zero only if every other test passes.

    python benchmarks/iforest_tests.py
    python benchmarks/iforest_tests.py --random-seeds 0-4
"""

import argparse
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from report import print_table, save

from skae import AEOutlierDetector

TESTS = "sklearn.ensemble.tests.test_iforest"
LEFT_OUT = {
    "test_recalculate_max_depth": "reads the depth of trees",
    "test_max_samples_consistency": "reads a private attribute",
    "test_iforest_average_path_length": "tests a private function about path lengths",
    "test_iforest_chunks_works1": "counts the calls of a private function",
    "test_iforest_chunks_works2": "counts the calls of a private function",
    "test_iforest_with_uniform_data": "demands that rows unlike a constant training "
    "set are normal, and that a single row can be fitted",
}


def main():
    options = parse_options()
    os.environ["SKLEARN_TESTS_GLOBAL_RANDOM_SEED"] = options.random_seeds
    stand_in = StandIn()
    status = int(pytest.main(arguments(), plugins=[stand_in]))
    lines = [*stand_in.passed_and_failed(), *stand_in.left_out()]
    print_table("scikit-learn's tests of IsolationForest on AEOutlierDetector", lines)
    keys = ("cases", "passed", "failed", "skipped", "left out")
    total = {key: sum(line[key] for line in lines) for key in keys}
    print_table(f"All of them, random seeds {options.random_seeds}", [total])
    save(
        "iforest_tests",
        options=vars(options),
        status=status,
        total=total,
        tests=lines,
    )
    raise SystemExit(status)


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--random-seeds", default="42", help="42, 0-4 or all")
    return parser.parse_args()


def arguments():
    """Of pytest: these tests, without any project's configuration."""
    alone = ["-c", os.devnull, "--rootdir", str(Path(__file__).parent)]
    quiet = ["-q", "--disable-warnings", "--tb=short", "-p", "no:cacheprovider"]
    return ["--pyargs", TESTS, *alone, *quiet]


class StandIn:
    """The pytest plugin: puts the detector in the forest's place and keeps count."""

    def __init__(self):
        self._outcomes = defaultdict(Counter)
        self._seconds = Counter()
        self._left_out = Counter()

    @pytest.fixture(autouse=True)
    def _detector_for_forest(self, request, monkeypatch):
        monkeypatch.setattr(request.module, "IsolationForest", AEOutlierDetector)

    def pytest_collection_modifyitems(self, config, items):
        left_out = [item for item in items if item.originalname in LEFT_OUT]
        self._left_out.update(item.originalname for item in left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.originalname not in LEFT_OUT]

    def pytest_runtest_logreport(self, report):
        test = report.location[2].partition("[")[0]
        self._seconds[test] += report.duration
        # Set-up and tear-down count only when they are what went wrong.
        if report.when == "call" or not report.passed:
            self._outcomes[test][report.outcome] += 1

    def passed_and_failed(self):
        for test, outcomes in self._outcomes.items():
            yield line(test, outcomes, self._seconds[test])

    def left_out(self):
        for test, reason in LEFT_OUT.items():
            yield line(test, {"left out": self._left_out[test]}, None, reason)


def line(test, outcomes, seconds, note=""):
    """One line of the table; `outcomes` counts cases."""
    keys = ("passed", "failed", "skipped", "left out")
    counts = {key: outcomes.get(key, 0) for key in keys}
    cases = {"cases": sum(counts.values())}
    return {"test": test} | cases | counts | {"seconds": seconds, "why": note}


if __name__ == "__main__":
    main()
