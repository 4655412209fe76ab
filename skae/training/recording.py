"""Checkpoints: what the trainings of a fit have reached.

A fit is a sequence of trainings, numbered in order; all between them follows from the
seed and the rows and is done again. `recording_of` opens the file of a `Checkpoint` for
a fit, and every `Trainer` of the fit passes to the `Recording` what it needs to go on.
What that is, is up to the trainer; the file is `skae.training.checkpoint_file`'s.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skae.rows.group import ALONE, Group
from skae.rows.sources import RowSource
from skae.rows.user_line import warn_user
from skae.state.plain import from_plain, to_plain
from skae.training.agreement import digest, facts_of_data, facts_of_parameters
from skae.training.checkpoint import (
    Checkpoint,
    Joined,
    check_checkpoint,
    split_callbacks,
)
from skae.training.checkpoint_file import CheckpointFile

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
        self._facts = facts_of_parameters(estimator)
        if continues:
            start = digest(estimator.net_)
            self._facts["the fitted model that is continued"] = ["a model", start]
        self._file: Any = None
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
        if self._file is None or not self._file.is_open:
            return
        try:
            is_over = kind is None and not self._is_stopped
            if is_over and self._checkpoint.keep:
                self.write(None)
            elif is_over or (kind is FloatingPointError and not self._checkpoint.keep):
                self._delete()
        finally:
            self._file.close()

    @property
    def path(self) -> Path:
        """Of the file, once the fit has opened it."""
        return self._file.path

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
        if self._file is not None:
            return check_random_state(random_state)
        self._facts |= facts_of_data(**data)
        self._facts["device"] = [device, ""]
        names = [name for name, *_ in callbacks]
        self._facts["callbacks"] = [str(names), digest(callbacks)]
        self._file = CheckpointFile(self._checkpoint, self._facts)
        tree = self._group.broadcast(self._group.together(self._opened))
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
        return self._file.open()

    def _report_resumption(self):
        if self._estimator.verbose:
            name = type(self._estimator).__name__
            print(f"{name}: resumed from {self.path}", file=sys.stderr)
        if getattr(self._estimator, "_skl_callbacks", None):
            warn_user(
                "scikit-learn's callbacks are notified of the rounds after the one "
                f"that {self.path} has reached; what they recorded before is lost."
            )

    def _restored(self, random_state) -> np.random.RandomState:
        if isinstance(random_state, Integral):
            return check_random_state(random_state)
        if random_state is None or random_state is np.random:
            random_state = np.random.RandomState()
        random_state.set_state(self._random_state)
        return random_state

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
        self._file.write(tree)
        self._due = time.monotonic() + self._checkpoint.every
