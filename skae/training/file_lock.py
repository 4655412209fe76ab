"""The lock of a fit on the file that it writes, so that no two fits share one.

A lock file beside it, which the operating system releases when the process ends, also
when it is killed. Where a file system has no locks nothing is locked.
`skae.training.checkpoint_file` is the only user.
"""

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["FileLock", "LockedError"]

try:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

except ImportError:  # Windows
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


class LockedError(Exception):
    """The file is locked by another fit that is running."""


class FileLock:
    """An exclusive lock, held until `release` or the end of the process.

    Parameters
    ----------
    path : Path
        Need not exist.

    Raises
    ------
    LockedError
        When another fit, of this process or of another one, has locked the file.
    OSError
        When nothing can be written beside the file.
    """

    def __init__(self, path: Path):
        self._place = path.with_name(f".{path.name}.lock")
        self._file = self._opened()
        while not self._is_in_place():
            # Released between the two steps.
            self._file.close()
            self._file = self._opened()

    def release(self) -> None:
        """Release the lock and delete the lock file."""
        try:
            self._place.unlink(missing_ok=True)
        except OSError:
            # Windows does not delete what is open.
            pass
        self._file.close()

    def _opened(self) -> BinaryIO:
        file = open(self._place, "ab")
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            file.close()
            raise LockedError from None
        except OSError:
            # A file system without locks.
            pass
        return file

    def _is_in_place(self) -> bool:
        try:
            return os.fstat(self._file.fileno()).st_ino == self._place.stat().st_ino
        except FileNotFoundError:
            return False
