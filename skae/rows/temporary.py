"""A copy on disk of rows that can only be read in order.

For `skae.rows.sources`, which reads batches in random order from there.
"""

import tempfile
from typing import Any

import numpy as np

__all__ = ["TemporaryRows"]


class TemporaryRows:
    """Rows written to a temporary file one after the other, and read from there.

    The file has no name where the system allows it, and ends with its last array.

    Parameters
    ----------
    source : RowSource
        Whose rows they are.
    """

    def __init__(self, source: Any):
        self._source = source
        self._file = tempfile.TemporaryFile(prefix="skae-rows-")

    def __enter__(self) -> "TemporaryRows":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def append(self, block: np.ndarray) -> None:
        """Write the next rows."""
        try:
            self._file.write(block.data)
        except OSError as error:
            n_bytes = self._source.size * self._source.dtype.itemsize
            raise OSError(
                f"{self._source.name} can only be read in order, and the copy of "
                f"{n_bytes / 2**30:.3g} GiB from which it is read in random order does "
                f"not fit into {tempfile.gettempdir()!r}: {error}. Set TMPDIR to a "
                "folder with room, or store the rows in smaller chunks or row groups, "
                "of at most 16 MiB."
            ) from error

    def rows(self) -> np.ndarray:
        """All rows, which stay readable after the context."""
        self._file.flush()
        source = self._source
        return np.memmap(self._file, source.dtype, mode="r", shape=source.shape)
