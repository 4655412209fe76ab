"""Some rows of a source, by which values that change between passes are noticed.

For `skae.rows.sources`. A file that is written again while it is read, or a callable
whose iterators differ, would otherwise train and judge a model on different rows.
"""

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

__all__ = ["Probes"]

# At most so many rows, in so many bytes, and one of so many, so that comparing them
# takes little of the time in which the others are read.
_MOST, _MOST_BYTES, _ONE_OF = 1024, 4 * 2**20, 1024
# Rows that are computed whenever they are read may differ by rounding, of the largest.
_ROUNDING = 1e-4


class Probes:
    """Rows of certain numbers as they were when they were first read.

    Parameters
    ----------
    rows : dict of int to ndarray of shape (n_features,) or None
        By sorted row numbers; None for one that is yet to be read.
    """

    def __init__(self, rows: Mapping[int, np.ndarray | None]):
        self._numbers = list(rows)
        self._rows = list(rows.values())

    @classmethod
    def spread_over(cls, n_rows: int, row_bytes: int) -> "Probes":
        """Rows at equal distances."""
        n_probes = min(_MOST, _MOST_BYTES // row_bytes, -(-n_rows // _ONE_OF))
        numbers = [(2 * i + 1) * n_rows // (2 * n_probes) for i in range(n_probes)]
        return cls(dict.fromkeys(numbers))

    def first_changed(self, block: np.ndarray, first: int) -> int | None:
        """The number of a row that is not what it was, None where there is none.

        Parameters
        ----------
        block : ndarray of shape (n_rows, n_features)
            As it was read now.
        first : int
            Number of its first row.
        """
        start = bisect_left(self._numbers, first)
        for place in range(start, bisect_left(self._numbers, first + len(block))):
            row, earlier = block[self._numbers[place] - first], self._rows[place]
            if earlier is None:
                self._rows[place] = row.copy()
            elif not _is_same(row, earlier):
                return self._numbers[place]
        return None


def _is_same(row: np.ndarray, earlier: np.ndarray) -> bool:
    if row.tobytes() == earlier.tobytes():
        return True
    largest = np.fmax.reduce(np.abs(earlier), initial=0)
    largest = largest if np.isfinite(largest) else 0
    return np.allclose(row, earlier, rtol=0, atol=_ROUNDING * largest, equal_nan=True)
