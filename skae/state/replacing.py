"""Files that are replaced in one step.

Whatever skae writes, models, checkpoints and ONNX, goes to a draft beside the file,
which is moved to its place once it is complete: readers find the earlier file or the
new one, also after a crash. What the bytes mean is the caller's business.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

__all__ = ["checked_path", "checked_place", "delete_drafts", "replaced"]

# Leaves room for the rest of the name, as file systems allow 255 bytes.
_LONGEST = 100


@contextmanager
def replaced(path: str | os.PathLike) -> Iterator[Path]:
    """Context with the path of a draft, which replaces the file at the end.

    A symbolic link stays, and the file that it leads to is replaced; permissions stay
    as they are, and a new file has those of any new file of the process. After an error
    there is no draft, and the earlier file is unchanged.

    Parameters
    ----------
    path : str or path-like
        In a folder that exists.

    Raises
    ------
    FileNotFoundError
        When there is no such folder.
    IsADirectoryError
        When the path is a folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skae.state.replacing import replaced
    >>> path = Path(tempfile.mkdtemp(), "file")
    >>> with replaced(path) as draft:
    ...     _ = draft.write_text("new")
    >>> path.read_text()
    'new'
    """
    path = checked_place(path)
    draft = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}.part")
    try:
        # Libraries may write files that nobody else can read.
        draft.touch(exist_ok=False)
        mode = draft.stat().st_mode
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, draft)
        else:
            draft.chmod(stat.S_IMODE(mode))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def checked_path(path: str | os.PathLike) -> str:
    """The path as text; raise where it is none, before anything is opened."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(
            f"path must be a string or path-like, such as 'model.safetensors'; got "
            f"{type(path).__name__}."
        )
    name = os.fsdecode(path)
    if not name:
        raise ValueError("path must name a file; got an empty string.")
    return name


def checked_place(path: str | os.PathLike) -> Path:
    """Where a file is written, links followed; raise where it cannot be."""
    place = Path(os.path.realpath(checked_path(path)))
    if not place.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {place.parent}.")
    if place.is_dir():
        raise IsADirectoryError(f"{place} is a folder; path must name a file.")
    return place


def delete_drafts(path: str | os.PathLike) -> None:
    """Delete the drafts of processes that were killed while they wrote this file."""
    path = Path(os.path.realpath(path))
    for draft in path.parent.glob(f"{escape(_prefix(path))}*.part"):
        draft.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name[:_LONGEST]}."
