"""What do damaged and forged files do to `skae.load` and `skae.describe`?

    python benchmarks/fuzz_files.py                    # 20,000 files
    python benchmarks/fuzz_files.py --files 2000

Small saved estimators, and a pipeline through skops, are changed in ways of
`benchmarks/mutations.py`, with checksums that are right again where the change is an
attacker's. Allowed is `ModelFileError`, or an estimator whose methods take a row.
Recorded are the exception, imports, processes and files opened (an audit hook of
Python), the growth of memory above twice the file, as the peak of the process and, for
some, tracemalloc measure it, and the CPU time of the thread that loads.
"""

import argparse
import faulthandler
import random
import resource
import sys
import tempfile
import threading
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mutations import SORTS, Document, mutated
from report import one_thread, print_table, progress, save
from saved_estimators import fitted
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae

__all__ = ["Outcome", "Watch", "outcome_of", "outcomes", "originals"]

CASES = ("dense", "variational", "image_gan", "detector", "classifier", "gru")
# Of those that take long to load, fewer.
SHARES = {"detector": 0.3, "gru": 0.3}
# Beyond twice the file: what reading and trying one row may take in any case.
MOST_BYTES = 48 * 2**20
MOST_SECONDS = 2.0
# The share of files whose memory is traced in NumPy and Python, too.
TRACED = 0.1
# Where a load takes longer, Python ends with a traceback.
STOPPED_AFTER = 60
# Of the process: an allocation beyond it fails.
MOST_ADDRESSES = 8 * 2**30
METHODS = "transform", "score_samples", "predict"
# Compiled is also the header of a NumPy array, for `ast.literal_eval`.
EVENTS = "import", "exec", "pickle.find_class", "open"
FAMILIES = "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "marshal.", "winreg."


class Outcome(NamedTuple):
    """What one file did."""

    what: str
    n_bytes: int
    seconds: float
    fault: str | None


class Watch:
    """What Python does inside `looking`; there is one for each process.

    Only the thread that looks and those that it starts count, not others of the
    process, such as those of a cluster.
    """

    def __init__(self):
        self.seen = None
        self._allowed = ()
        self._thread = None
        self._started = []
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        seen = self.seen
        if seen is None or not (event in EVENTS or event.startswith(FAMILIES)):
            return
        if not self._is_seen():
            return
        if event == "import" and arguments[0] in sys.modules:
            return
        if event == "open" and str(arguments[0]) in self._allowed:
            return
        seen.append(f"{event} {str(arguments)[:200]}")

    def _is_seen(self):
        here = threading.get_ident()
        return here == self._thread or any(
            # New threads get the numbers of those that have ended.
            each.ident == here and each.is_alive()
            for each in self._started
        )

    def find_spec(self, name, path=None, target=None):
        """As the first of `sys.meta_path`, called for each module not yet imported.

        `importlib.import_module` raises no event of its own.
        """
        seen = self.seen
        if seen is not None and self._is_seen():
            seen.append(f"import {name}")

    @contextmanager
    def looking(self, *allowed: str) -> Iterator[list]:
        self._thread, self._started = threading.get_ident(), []
        self._allowed = allowed
        start = threading.Thread.start

        def noticed(thread):
            if self._is_seen():
                self._started.append(thread)
            start(thread)

        self.seen = seen = []
        sys.meta_path.insert(0, self)
        threading.Thread.start = noticed
        try:
            yield seen
        finally:
            threading.Thread.start = start
            sys.meta_path.remove(self)
            self.seen = None


def originals(names=CASES) -> dict[str, tuple[bytes, np.ndarray]]:
    """The bytes of valid files, and rows that suit them."""
    import saved_estimators

    estimators = {}
    for name in names:
        rows = saved_estimators.CASES[name][1]()
        estimators[name] = fitted(name), rows
    table = saved_estimators.CASES["dense"][1]()
    pipeline = make_pipeline(
        StandardScaler(), skae.AutoencoderTransformer(2, max_iter=2, random_state=0)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimators["pipeline"] = pipeline.fit(table), table
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (estimator, rows) in estimators.items():
            path = Path(folder, "model.safetensors")
            skae.save(estimator, path)
            skae.load(path)
            found[name] = path.read_bytes(), rows
    return found


def outcomes(
    n_files, originals, folder, watch, seed=0, sorts=SORTS, traced=TRACED
) -> Iterator[tuple[str, int, Outcome]]:
    """Sort, number and outcome; the sorts take turns, the files are drawn."""
    documents = {name: Document.of(data) for name, (data, _) in originals.items()}
    path = Path(folder, "model.safetensors")
    for number in range(n_files):
        sort = sorts[number % len(sorts)]
        rng = random.Random(f"{seed} {number}")
        names = ["pipeline"] if sort == "bytes of skops" else sorted(originals)
        name = rng.choices(names, [SHARES.get(each, 1.0) for each in names])[0]
        data, rows = originals[name]
        path.write_bytes(mutated(documents[name], data, sort, rng))
        # Tracing takes most of the time.
        is_traced = rng.random() < traced
        yield sort, number, outcome_of(path, rows, watch, is_traced)


def outcome_of(path, rows, watch, traced=True) -> Outcome:
    """Load one file, describe it, and use what comes out."""
    allowed = 2 * path.stat().st_size + MOST_BYTES
    fault = estimator = None
    if traced:
        tracemalloc.start()
    before = _resident(reset=True)
    start = time.thread_time()
    with warnings.catch_warnings(), watch.looking(str(path)) as seen:
        warnings.simplefilter("ignore")
        what, estimator, fault = _loaded(path)
    seconds = time.thread_time() - start
    n_bytes = max(tracemalloc.get_traced_memory()[1], _resident() - before)
    if traced:
        tracemalloc.stop()
    if fault is None and estimator is not None:
        fault = _misuse(estimator, rows)
    if seen:
        fault = f"ran or opened {seen}"
    elif fault is None and n_bytes > allowed:
        fault = f"took {n_bytes} bytes, allowed {allowed}"
    elif fault is None and seconds > MOST_SECONDS:
        fault = f"took {seconds:.1f} s"
    return Outcome(what, n_bytes, seconds, fault)


def _loaded(path):
    what, estimator, fault = "loaded", None, None
    try:
        skae.describe(path)
    except skae.ModelFileError:
        pass
    except Exception as error:
        fault = _summary(error)
    try:
        estimator = skae.load(path)
    except skae.ModelFileError:
        what = "refused"
    except Exception as error:
        what, fault = "failed", _summary(error)
    return what, estimator, fault


def _misuse(estimator, rows) -> str | None:
    """What goes wrong with an ordinary row, where the file was not refused."""
    for name in METHODS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                method = getattr(estimator, name, None)
                if method is not None:
                    method(rows[:1])
            except NotFittedError:
                return None
            except ValueError as error:
                if not _is_of_rows(estimator, error):
                    return f"{name}: {_summary(error)}"
            except Exception as error:
                return f"{name}: {_summary(error)}"
    return None


def _is_of_rows(estimator, error) -> bool:
    """Whether an estimator refuses the rows, as another estimator may."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(
        word in frames[-1].filename for word in ("checks", "sklearn", "estimators")
    )


def _summary(error) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    return f"{type(error).__name__} at {place}: {str(error)[:200]}"


def _resident(reset=False) -> int:
    """Peak of the process' memory in bytes; 0 where there is no Linux."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def table(found):
    """A row for each sort of change."""
    rows = []
    for sort in SORTS:
        of_sort = [each for other, each in found if other == sort]
        if not of_sort:
            continue
        whats = [each.what for each in of_sort]
        rows.append(
            {
                "change": sort,
                "files": len(of_sort),
                "refused": whats.count("refused"),
                "loaded": whats.count("loaded"),
                "faults": sum(each.fault is not None for each in of_sort),
                "most_mb": round(max(each.n_bytes for each in of_sort) / 2**20, 1),
                "slowest_ms": round(1e3 * max(each.seconds for each in of_sort), 1),
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sort", choices=SORTS)
    parser.add_argument("--seconds", type=float, help="after which it stops early")
    arguments = parser.parse_args()
    end = time.monotonic() + (arguments.seconds or 1e9)
    files = originals()
    watch = Watch()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, hard))
    sorts = SORTS if arguments.sort is None else (arguments.sort,)
    found, faults = [], []
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        every = outcomes(arguments.files, files, folder, watch, arguments.seed, sorts)
        while time.monotonic() < end:
            faulthandler.dump_traceback_later(STOPPED_AFTER, exit=True)
            try:
                sort, number, outcome = next(every)
            except StopIteration:
                break
            found.append((sort, outcome))
            if outcome.fault:
                faults.append({"sort": sort, "number": number, "fault": outcome.fault})
                progress(f"{number} {sort}: {outcome.fault}")
            if number % 1000 == 999:
                progress(f"{number + 1} files")
        faulthandler.cancel_dump_traceback_later()
    rows = table(found)
    print_table("Damaged and forged files", rows)
    save("fuzz_files", seed=arguments.seed, files=rows, faults=faults)


if __name__ == "__main__":
    main()
