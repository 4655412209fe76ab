"""Files that are replaced in one step.

Whatever skae writes, models, checkpoints and ONNX, goes to a draft beside the file,
which is moved to its place once it is complete: readers find the earlier file or the
new one, also after a crash. What the bytes mean is the caller's business.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

__all__ = ["delete_drafts", "replaced"]

# Leaves room for the rest of the name, as file systems allow 255 bytes.
_LONGEST = 100


@contextmanager
def replaced(path: str | os.PathLike) -> Iterator[Path]:
    """Context with the path of a draft, which replaces the file at the end.

    A symbolic link stays, and the file that it leads to is replaced; permissions stay
    as they are. After an error there is no draft, and the earlier file is unchanged.

    Parameters
    ----------
    path : str or path-like
        In a folder that exists.

    Raises
    ------
    FileNotFoundError
        When there is no such folder.

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
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}.")
    draft = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}.part")
    try:
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def delete_drafts(path: str | os.PathLike) -> None:
    """Delete the drafts of processes that were killed while they wrote this file."""
    path = Path(os.path.realpath(path))
    for draft in path.parent.glob(f"{escape(_prefix(path))}*.part"):
        draft.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name[:_LONGEST]}."
