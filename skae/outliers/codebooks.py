"""Codebooks side by side: the nearest code of each for every row, in few products.

`skae.outliers.ensemble` measures rows by the codes found here. Two pairs of members
that share out the same rows in two ways, as `shared_out_again` says, hold each row
twice; such rows are compared once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Codebooks", "shared_out_again"]


def shared_out_again(rows):
    """Rows in an order whose halves each take every other row of the first order."""
    return rows[[*range(0, len(rows), 2), *range(1, len(rows), 2)]]


class Codebooks:
    """Codebooks of several members.

    Each is two blocks of codes; two pairs of members may have four blocks in common.

    Parameters
    ----------
    codebooks : sequence of Tensor of shape (n_codes, n_features)
        n_codes may differ.
    left_out : sequence of bool Tensor of shape (n_codes,)
        The codes that do not count where a row equals them.
    shares_rows : bool
        Whether all members use the same features.
    """

    def __init__(
        self,
        codebooks: Sequence[Tensor],
        left_out: Sequence[Tensor],
        shares_rows: bool,
    ):
        self._shares_rows = shares_rows
        self._any_left_out = any(bool(mine.any()) for mine in left_out)
        compares_once = shares_rows and not self._any_left_out
        blocks: list[Tensor] = []
        places: list[tuple[int, int]] = []
        for start in range(0, len(codebooks), 4):
            four = codebooks[start : start + 4]
            n = len(blocks)
            if compares_once and _are_quarters(four):
                odd = len(four[0]) % 2
                blocks += [four[0][::2], four[0][1::2]]
                blocks += [four[1][odd::2], four[1][1 - odd :: 2]]
                places += [(n, n + 1), (n + 2, n + 3), (n, n + 2), (n + 1, n + 3)]
            else:
                blocks += [half for codes in four for half in _halves(codes)]
                places += [(n + 2 * k, n + 2 * k + 1) for k in range(len(four))]
        self._size = max(map(len, blocks))
        stacked = torch.stack([_repeated(block, self._size) for block in blocks])
        self.codes = stacked.flatten(0, 1)
        # Of x c - |c|^2 / 2, which is largest for the nearest code c.
        half_norm = stacked.square().sum(2, keepdim=True) / 2
        closeness = torch.cat([stacked, -half_norm], dim=2)
        if not shares_rows:
            closeness = closeness.view(len(codebooks), -1, closeness.shape[2])
        self._closeness = closeness
        first, second = torch.tensor(places, device=self.codes.device).T
        self._first, self._second = first, second
        starts = torch.arange(len(blocks), device=self.codes.device) * self._size
        self._starts = starts.unsqueeze(1)
        if self._any_left_out:
            halves = [half for mine in left_out for half in _halves(mine)]
            halves = [_repeated(half, self._size) for half in halves]
            self._left_out = torch.stack(halves).view(len(codebooks), -1, 1)

    def nearest(self, rows: Tensor) -> Tensor:
        """The nearest codes of rows.

        Shape
        -----
        rows and codes : ``(members, batch, n_features)``
        """
        return self.codes.index_select(0, self.places(rows).flatten()).view(rows.shape)

    def places(self, rows: Tensor) -> Tensor:
        """Places in ``codes`` of the nearest, shape ``(members, batch)``."""
        once = rows[0] if self._shares_rows else rows
        # Padded along the rows: products with contiguous columns are faster.
        columns = functional.pad(once.mT, (0, 0, 0, 1), value=1.0)
        closeness = self._closeness @ columns
        if self._any_left_out:
            codes = self.codes.view(len(rows), -1, rows.shape[2])
            equal = torch.cdist(codes, rows, p=1) == 0
            closeness = closeness.view(equal.shape)
            closeness.masked_fill_(equal & self._left_out, -torch.inf)
        largest, places = _largest(closeness.view(-1, self._size, rows.shape[1]))
        places += self._starts
        one, other = (
            (largest.index_select(0, blocks), places.index_select(0, blocks))
            for blocks in (self._first, self._second)
        )
        return torch.where(one[0] >= other[0], one[1], other[1])


def _are_quarters(codebooks: Sequence[Tensor]) -> bool:
    """Whether two pairs share out the same rows, none of their blocks empty."""
    sizes = [len(codes) for codes in codebooks]
    if len(sizes) < 4 or sizes[:2] != sizes[2:] or min(sizes) < 2:
        return False
    first, second = (torch.cat([*codebooks[i : i + 2]]) for i in (0, 2))
    return torch.equal(shared_out_again(first), second)


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Two halves, neither empty: of a single value both are it."""
    return values[::2], values[1::2] if len(values) > 1 else values


def _repeated(values: Tensor, size: int) -> Tensor:
    """So many values: repeating a code changes no distance to the nearest."""
    missing = size - len(values)
    if not missing:
        return values
    return torch.cat([values, values[:1].expand(missing, *values.shape[1:])])


def _largest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The largest values along the middle axis of three, and their places."""
    if values.device.type != "cpu":
        return values.max(1)
    # Pooling with channels last is ten times as fast as max.
    picture = values.unsqueeze(2).permute(0, 3, 1, 2)
    window = values.shape[1], 1
    largest, places = functional.max_pool2d(picture, window, return_indices=True)
    return largest.flatten(1), places.flatten(1)
