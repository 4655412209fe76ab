"""The nearest training row of every row, for training rows that are known to be clean.

`skae.outliers.scorers` adds the distance to what the members say. Rows are in robust
units; nothing here knows members or thresholds.
"""

import copy

import torch
from torch import Tensor

from skae.outliers.codebooks import largest_products
from skae.outliers.recognition import n_copies, signatures

__all__ = ["Neighbours"]

# Blocks of rows of which the nearest is a candidate: at least so many, and rows of one.
_BLOCKS, _LONGEST = 64, 64
# Blocks whose candidates are measured, those with the nearest ones.
_CANDIDATES = 8


class Neighbours:
    """Training rows, and the distance to the nearest.

    The distance is the mean absolute difference. Candidates are the nearest rows, in
    root mean square, of blocks of training rows.

    A row within the tolerance of a training row without copies is taken for it and
    measured by the others.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
        At least two rows, in random order.
    tolerance : Tensor of shape ()
        Of mean absolute differences.
    """

    def __init__(self, x: Tensor, tolerance: Tensor):
        size = int(min(max(1, len(x) // _BLOCKS), _LONGEST))
        missing = -len(x) % size
        # Repeating a row changes no distance to the nearest.
        self.rows = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
        self.n_rows = len(x)
        self.tolerance = tolerance
        copies = n_copies(signatures(x), tolerance)
        self.n_copies = torch.cat([copies, copies[-1:].expand(missing)])
        half_norm = self.rows.square().sum(1, keepdim=True) / 2
        table = torch.cat([self.rows, -half_norm], dim=1)
        self._closeness = table.view(-1, size, table.shape[1])
        self.typical = x.new_ones(())

    def differences(self, x: Tensor, most_copies: int = 0) -> Tensor:
        """Absolute differences to the nearest row, shape ``(batch, n_features)``.

        Rows with at most so many copies are left out where x is taken for them.
        """
        size = self._closeness.shape[1]
        closeness, places = largest_products(self._closeness, x, size)
        n_candidates = min(_CANDIDATES, len(self._closeness))
        blocks = closeness.mT.contiguous().topk(n_candidates, dim=1).indices
        places = places.mT.gather(1, blocks).add_(blocks, alpha=size)
        difference = self.rows[places].sub_(x.unsqueeze(1)).abs_()
        distance = difference.mean(2)
        is_known = (distance <= self.tolerance) & (self.n_copies[places] <= most_copies)
        nearest = distance.masked_fill_(is_known, torch.inf).argmin(1)
        place = nearest[:, None, None].expand(-1, 1, x.shape[1])
        return difference.gather(1, place).squeeze(1)

    def to(self, device: torch.device | str) -> "Neighbours":
        """A copy on a device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved
