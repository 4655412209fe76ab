"""Checkpoints: what the trainings of a fit have reached, in a file.

A fit is a sequence of trainings, numbered in order; all between them follows from the
seed and the rows and is done again. `recording_of` opens the file of a `Checkpoint` for
a fit, and every `Trainer` of the fit writes to the `Recording` what it needs to go on.
What that is, is up to the trainer.
"""

import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
import torch
from sklearn.utils import check_random_state

from skae.rows.group import ALONE, Group
from skae.rows.sources import RowSource
from skae.state import container
from skae.state.plain import from_plain, to_plain
from skae.state.replacing import delete_drafts
from skae.state.version import __version__
from skae.training.agreement import (
    Facts,
    differences,
    digest,
    facts_of_data,
    facts_of_parameters,
)
from skae.training.checkpoint import (
    KIND,
    PLACEHOLDER,
    WAYS_OUT,
    Checkpoint,
    Joined,
    check_checkpoint,
    header_of,
    split_callbacks,
)
from skae.training.file_lock import FileLock, LockedError

__all__ = ["Recording", "recording_of"]


def recording_of(
    estimator, *, continues: bool, group: Group = ALONE
) -> AbstractContextManager:
    """A context with the recording of a fit, or with None without a `Checkpoint`.

    Parameters
    ----------
    estimator : estimator
        As it is before the fit.
    continues : bool
        Whether the fit starts from the estimator's fitted weights.
    group : Group, optional
        The processes of the fit, of which the first has the file.
    """
    checkpoint, _ = split_callbacks(estimator.callbacks)
    if checkpoint is None:
        return nullcontext()
    if isinstance(checkpoint, Joined):
        return nullcontext(checkpoint.recording)
    check_checkpoint(checkpoint)
    return Recording(checkpoint, estimator, continues, group)


class Recording:
    """The checkpoint of one fit while it runs.

    A context: leaving it ends the fit.

    Parameters
    ----------
    checkpoint : Checkpoint
    estimator : estimator
    continues, group
        As in `recording_of`.

    Attributes
    ----------
    holds_out_sampled : bool or None
        Whether held-out rows are to come from the sample of a source, as they did in
        the fit that is resumed; None where it had as many processes.
    """

    holds_out_sampled: bool | None = None

    def __init__(
        self,
        checkpoint: Checkpoint,
        estimator,
        continues: bool,
        group: Group = ALONE,
    ):
        self._group = group
        self._checkpoint = checkpoint
        self._estimator = estimator
        self._facts: Facts = facts_of_parameters(estimator)
        if continues:
            start = digest(estimator.net_)
            self._facts["the fitted model that is continued"] = ["a model", start]
        self._lock: FileLock | None = None
        self._is_open = False
        # Of trainings that are over; from the file, those that are still to be reached.
        self._finished: list[dict] = []
        self._ahead: list[dict] = []
        self._current: dict | None = None
        self._random_state: Any = None
        self._is_stopped = self._is_written = self._is_sampled = False
        self._warned: set[str] = set()
        self._due = math.inf

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self._lock is None:
            return
        try:
            is_over = kind is None and not self._is_stopped
            if is_over and self._checkpoint.keep:
                self.write(None)
            elif is_over or (kind is FloatingPointError and not self._checkpoint.keep):
                self._delete()
        finally:
            self._lock.release()

    def _delete(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            self.warn("delete", f"{self.path} could not be deleted: {error}")

    # The beginning

    def open(self, random_state, device: str, callbacks: list, **data) -> Any:
        """Lock the file and read what an interrupted fit has left in it.

        Parameters
        ----------
        random_state : int, RandomState or None
        device : str
        callbacks : list
            Name, class and parameters of those that may change the result.
        **data : array, CSR matrix or None
            What the fit learns from.

        Returns
        -------
        random_state : RandomState
            In the state in which the fit began.

        Raises
        ------
        ValueError
            When the file belongs to another fit, or is damaged.
        OSError
            When the file cannot be written.
        """
        if self._is_open:
            return check_random_state(random_state)
        self._facts |= facts_of_data(**data)
        self._facts["device"] = [device, ""]
        names = [name for name, *_ in callbacks]
        self._facts["callbacks"] = [str(names), digest(callbacks)]
        self.path = self._place()
        tree = self._group.broadcast(self._group.together(self._opened))
        self._is_open = True
        self._is_sampled = isinstance(data.get("X"), RowSource)
        if tree is None:
            random_state = check_random_state(random_state)
            self._random_state = random_state.get_state(legacy=False)
            return random_state
        self._random_state = from_plain(tree["random_state"])
        self._ahead = tree["finished"]
        self._current = tree["current"]
        if tree["n_processes"] != self._group.size:
            self._is_sampled = self.holds_out_sampled = tree["is_sampled"]
        self._is_written = True
        self._due = time.monotonic() + self._checkpoint.every
        self._report_resumption()
        return self._restored(random_state)

    def _opened(self) -> dict | None:
        """What an interrupted fit has left; only the first process opens the file."""
        if self._group.rank:
            self._is_stopped = True
            return None
        self._lock = self._locked()
        delete_drafts(self.path)
        return self._read()

    def _report_resumption(self):
        if self._estimator.verbose:
            name = type(self._estimator).__name__
            print(f"{name}: resumed from {self.path}", file=sys.stderr)
        if getattr(self._estimator, "_skl_callbacks", None):
            warnings.warn(
                "scikit-learn's callbacks are notified of the rounds after the one "
                f"that {self.path} has reached; what they recorded before is lost.",
                UserWarning,
                stacklevel=7,
            )

    def _restored(self, random_state) -> np.random.RandomState:
        if isinstance(random_state, Integral):
            return check_random_state(random_state)
        if random_state is None or random_state is np.random:
            random_state = np.random.RandomState()
        random_state.set_state(self._random_state)
        return random_state

    def _place(self) -> Path:
        digests = [self._facts[name] for name in sorted(self._facts)]
        name = sha256(repr(digests).encode()).hexdigest()[:16]
        path = os.fspath(self._checkpoint.path).replace(PLACEHOLDER, name)
        return Path(path).absolute()

    def _locked(self) -> FileLock:
        if self.path.is_dir():
            raise IsADirectoryError(
                f"Checkpoint(path={str(self.path)!r}) is a folder; name a file."
            )
        try:
            return FileLock(self.path)
        except LockedError:
            raise ValueError(
                f"Checkpoint(path={str(self.path)!r}) belongs to another fit that is "
                "running. With '{fit}' in the path every fit has a file of its own."
            ) from None
        except OSError as error:
            raise type(error)(
                f"Checkpoint(path={str(self.path)!r}) cannot be written: {error}."
            ) from error

    def _read(self) -> dict | None:
        if not self.path.exists():
            return None
        tree, header = header_of(self.path, container.read, with_tree=True)
        versions = header["versions"]
        if versions["skae"] != __version__:
            raise ValueError(
                f"{self.path} was written by skae {versions['skae']}; this is "
                f"{__version__}. {WAYS_OUT}"
            )
        words = differences(header["facts"], self._facts)
        if words:
            raise ValueError(
                f"{self.path} belongs to another fit: {'; '.join(words)}. {WAYS_OUT}"
            )
        others = [n for n, v in _versions().items() if versions.get(n) != v]
        if others:
            named = ", ".join(f"{n} {versions.get(n)}" for n in others)
            warnings.warn(
                f"{self.path} was written with {named}. The model may differ in digits "
                "from that of a fit without interruption.",
                UserWarning,
                stacklevel=7,
            )
        return tree

    # The trainings, in order

    @property
    def coming(self) -> dict | None:
        """What the file has of the next training, which `take` gives."""
        return self._ahead[0] if self._ahead else self._current

    def take(self) -> tuple[dict | None, bool]:
        """What the file has of the next training, and whether that was complete."""
        if self._ahead:
            return self._ahead.pop(0), True
        current, self._current = self._current, None
        return current, False

    def finish(self, state: dict) -> None:
        """Record the state in which a training has ended."""
        self._finished.append(state)

    def is_due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() >= self._due

    def begin(self, state: Callable[[], dict]) -> None:
        """Write for the first time, where nothing is lost if that fails."""
        if self._is_written or self._is_stopped:
            return
        self._write(state())
        self._is_written = True

    def write(self, state: dict | None) -> None:
        """Write the state of the training that runs; warn once where that fails."""
        if self._is_stopped:
            return
        try:
            self._write(state)
        except (OSError, TypeError, ValueError) as error:
            self.warn(
                "write",
                f"{self.path} could not be written: {error} The training goes on; what "
                "was written before stays.",
            )
            self._due = time.monotonic() + self._checkpoint.every

    def stop(self) -> None:
        """Leave the file as it is from here on: the fit is interrupted."""
        self._is_stopped, self._due = True, math.inf
        # What comes now is another sequence of trainings.
        self._ahead, self._current = [], None

    def warn(self, key: str, message: str) -> None:
        """Warn once for each key."""
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(message, UserWarning, stacklevel=2)

    def _write(self, state: dict | None) -> None:
        tree = {
            "finished": self._finished,
            "current": state,
            "random_state": to_plain(self._random_state),
            "n_processes": self._group.size,
            "is_sampled": self._is_sampled,
        }
        header = {
            "kind": KIND,
            "facts": self._facts,
            "versions": {"skae": __version__, **_versions()},
            "outer_seed": self._checkpoint.outer_seed,
        }
        container.write(self.path, tree, header)
        self._due = time.monotonic() + self._checkpoint.every


def _versions() -> dict[str, str]:
    packages = {"torch": torch, "numpy": np, "scipy": scipy, "scikit-learn": sklearn}
    return {name: str(package.__version__) for name, package in packages.items()}
