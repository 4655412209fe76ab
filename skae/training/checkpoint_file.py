"""The file of a `Checkpoint`: its name, its lock, and whose fit it belongs to.

What the trainings of a fit have reached, which is in the file, is a tree of plain
values here; `skae.training.recording` makes it.
"""

import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import scipy
import sklearn
import torch

from skae.rows.user_line import warn_user
from skae.state import container
from skae.state.replacing import delete_drafts
from skae.state.version import __version__
from skae.training.agreement import Facts, differences
from skae.training.checkpoint import (
    KIND,
    PLACEHOLDER,
    WAYS_OUT,
    Checkpoint,
    header_of,
)
from skae.training.file_lock import FileLock, LockedError

__all__ = ["CheckpointFile"]


class CheckpointFile:
    """The file of one fit, which only this fit may write while it is open.

    Parameters
    ----------
    checkpoint : Checkpoint
    facts : Facts
        What the fit that wrote the file and this one must have in common; a hash of
        them is the name of a fit.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, checkpoint: Checkpoint, facts: Facts):
        self._checkpoint = checkpoint
        self._facts = facts
        self._lock: FileLock | None = None
        digests = [facts[name] for name in sorted(facts)]
        name = sha256(repr(digests).encode()).hexdigest()[:16]
        path = os.fspath(checkpoint.path).replace(PLACEHOLDER, name)
        self.path = Path(path).absolute()

    @property
    def is_open(self) -> bool:
        """Whether this process holds the lock."""
        return self._lock is not None

    def open(self) -> dict | None:
        """Lock the file; the tree of an interrupted fit, or None without one.

        Raises
        ------
        ValueError
            When the file belongs to another fit, or is damaged.
        OSError
            When it cannot be written.
        """
        self._lock = self._locked()
        delete_drafts(self.path)
        if not self.path.exists():
            return None
        tree, header = header_of(self.path, container.read, with_tree=True)
        self._check(header)
        written = header["versions"]
        others = [n for n, v in _versions().items() if written.get(n) != v]
        if others:
            named = ", ".join(f"{n} {written.get(n)}" for n in others)
            warn_user(
                f"{self.path} was written with {named}. The model may differ in digits "
                "from that of a fit without interruption."
            )
        return tree

    def write(self, tree: dict) -> None:
        """Replace the file in one step."""
        header = {
            "kind": KIND,
            "facts": self._facts,
            "versions": {"skae": __version__, **_versions()},
            "outer_seed": self._checkpoint.outer_seed,
        }
        container.write(self.path, tree, header)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()

    def _locked(self) -> FileLock:
        shown = f"Checkpoint(path={str(self.path)!r})"
        if self.path.is_dir():
            raise IsADirectoryError(f"{shown} is a folder; name a file.")
        try:
            return FileLock(self.path)
        except LockedError:
            raise ValueError(
                f"{shown} belongs to another fit that is running. With '{PLACEHOLDER}' "
                "in the path every fit has a file of its own."
            ) from None
        except OSError as error:
            raise type(error)(f"{shown} cannot be written: {error}.") from error

    def _check(self, header: dict) -> None:
        """Raise where another version of skae or another fit wrote the file."""
        version = header["versions"]["skae"]
        if version != __version__:
            raise ValueError(
                f"{self.path} was written by skae {version}; this is {__version__}. "
                f"{WAYS_OUT}"
            )
        words = differences(header["facts"], self._facts)
        if words:
            raise ValueError(
                f"{self.path} belongs to another fit: {'; '.join(words)}. {WAYS_OUT}"
            )


def _versions() -> dict[str, str]:
    packages = {"torch": torch, "numpy": np, "scipy": scipy, "scikit-learn": sklearn}
    return {name: str(package.__version__) for name, package in packages.items()}
