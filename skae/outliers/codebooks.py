"""Codebooks side by side: the nearest code of each for every row, in few products.

`skae.outliers.ensemble` measures rows by the codes found here. Two pairs of members
that share out the same rows in two ways, as `shared_out_again` says, hold each row
twice; such rows are compared once.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Codebooks", "largest_products", "shared_out_again"]


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
        The codes that do not count where a row is taken for them.
    tolerance : Tensor of shape (members,)
        A row is taken for a code that is no farther, in root mean square.
    shares_rows : bool
        Whether all members use the same features.
    leaves_out : bool, optional
        Whether there are codes that may be left out.

    Attributes
    ----------
    codes : Tensor of shape (n_places, n_features)
    """

    def __init__(
        self,
        codebooks: Sequence[Tensor],
        left_out: Sequence[Tensor],
        tolerance: Tensor,
        shares_rows: bool,
        leaves_out: bool | None = None,
    ):
        self._shares_rows = shares_rows
        fours = [codebooks[start : start + 4] for start in range(0, len(codebooks), 4)]
        # All questions to the device at once: the host waits for each answer.
        quarters = [_are_quarters(four) for four in fours]
        asked = torch.cat(list(left_out)).any() if leaves_out is None else leaves_out
        self._any_left_out, *are_quarters = _answers([asked, *quarters])
        compares_once = shares_rows and not self._any_left_out
        self._quarters = [compares_once and answer for answer in are_quarters]
        blocks = _blocks(codebooks, self._quarters)
        self._size = max(map(len, blocks))
        self.codes = self.by_place(codebooks)
        # Of x c - |c|^2 / 2, which is largest for the nearest code c.
        half_norm = self.codes.square().sum(1, keepdim=True) / 2
        closeness = torch.cat([self.codes, -half_norm], dim=1)
        shape = (-1, self._size) if shares_rows else (len(codebooks), -1)
        self._closeness = closeness.view(*shape, closeness.shape[1])
        device = self.codes.device
        self._first, self._second = _places_of_blocks(codebooks, self._quarters, device)
        starts = torch.arange(len(blocks), device=device) * self._size
        self._starts = starts.unsqueeze(1)
        if self._any_left_out:
            self._left_out = self.by_place(left_out).view(len(codebooks), -1, 1)
            farthest = tolerance * codebooks[0].shape[1] ** 0.5
            self._farthest = farthest.view(-1, 1, 1)

    def by_place(self, values: Sequence[Tensor]) -> Tensor:
        """Values of the codes of each codebook in the order of ``codes``."""
        blocks = _blocks(values, self._quarters)
        return torch.cat([_repeated(block, self._size) for block in blocks])

    def places(self, rows: Tensor) -> Tensor:
        """Places in ``codes`` of the nearest.

        Shape
        -----
        rows : ``(members, batch, n_features)``; places : ``(members, batch)``.
        """
        once = rows[0] if self._shares_rows else rows
        if self._any_left_out:
            closeness = products(self._closeness, once)
            codes = self.codes.view(len(rows), -1, rows.shape[2])
            distance = torch.cdist(
                codes, rows, compute_mode="donot_use_mm_for_euclid_dist"
            )
            is_known = (distance <= self._farthest) & self._left_out
            closeness = closeness.view(distance.shape)
            closeness.masked_fill_(is_known, -torch.inf)
            of_blocks = closeness.view(-1, self._size, rows.shape[1])
            largest, places = _largest_along(of_blocks)
        else:
            largest, places = largest_products(self._closeness, once, self._size)
        places += self._starts
        one, other = (
            (largest.index_select(0, blocks), places.index_select(0, blocks))
            for blocks in (self._first, self._second)
        )
        return torch.where(one[0] >= other[0], one[1], other[1])


def _blocks(values: Sequence[Tensor], quarters: Sequence[bool]) -> list[Tensor]:
    """Values of codes in the blocks of their codebooks."""
    blocks: list[Tensor] = []
    for number, in_quarters in enumerate(quarters):
        four = values[4 * number : 4 * number + 4]
        if in_quarters:
            first, second = four[0], four[1]
            odd = len(first) % 2
            blocks += [first[::2], first[1::2], second[odd::2], second[1 - odd :: 2]]
        else:
            blocks += [half for mine in four for half in _halves(mine)]
    return blocks


def _places_of_blocks(
    codebooks: Sequence[Tensor], quarters: Sequence[bool], device: torch.device
) -> Tensor:
    """Numbers of the two blocks of every codebook, shape ``(2, members)``."""
    sizes = [len(codebooks[4 * k : 4 * k + 4]) for k in range(len(quarters))]
    return _pairs(tuple(quarters), tuple(sizes), device)


@lru_cache(maxsize=64)
def _pairs(
    quarters: tuple[bool, ...], sizes: tuple[int, ...], device: torch.device
) -> Tensor:
    pairs: list[tuple[int, int]] = []
    start = 0
    for in_quarters, n_codebooks in zip(quarters, sizes, strict=True):
        if in_quarters:
            four = [(0, 1), (2, 3), (0, 2), (1, 3)]
        else:
            four = [(2 * k, 2 * k + 1) for k in range(n_codebooks)]
        pairs += [(start + first, start + second) for first, second in four]
        start += 1 + max(second for _, second in four)
    return torch.tensor(pairs, dtype=torch.long, device=device).T


def _answers(questions: Sequence[Tensor | bool]) -> list[bool]:
    """Truth values that may be on a device, all of them in one transfer."""
    asked = [question for question in questions if isinstance(question, Tensor)]
    answers = iter(torch.stack(asked).tolist() if asked else ())
    return [q if isinstance(q, bool) else next(answers) for q in questions]


def _are_quarters(codebooks: Sequence[Tensor]) -> Tensor | bool:
    """Whether two pairs share out the same rows, none of their blocks empty."""
    sizes = [len(codes) for codes in codebooks]
    if len(sizes) < 4 or sizes[:2] != sizes[2:] or min(sizes) < 2:
        return False
    first, second = (torch.cat([*codebooks[i : i + 2]]) for i in (0, 2))
    again = torch.cat([first[::2], first[1::2]])
    return again.shape == second.shape and (again == second).all()


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Two halves, neither empty: of a single value both are it."""
    return values[::2], values[1::2] if len(values) > 1 else values


def _repeated(values: Tensor, size: int) -> Tensor:
    """So many values: repeating a code changes no distance to the nearest."""
    missing = size - len(values)
    if not missing:
        return values
    return torch.cat([values, values[:1].expand(missing, *values.shape[1:])])


def largest_products(table: Tensor, rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The largest product of rows with each block of a table, and its place there.

    Shape
    -----
    table : ``(n, k size, n_features + 1)``, the last column a constant to add; rows :
    ``(batch, n_features)`` or ``(n, batch, n_features)``; results : ``(n k, batch)``.
    """
    if torch.compiler.is_compiling():
        # What runs exported graphs is fast along the last axis.
        of_rows = functional.pad(rows, (0, 1), value=1.0) @ table.mT
        of_blocks = of_rows.unflatten(2, (-1, size)).topk(1, dim=3)
        largest, places = (
            part.squeeze(3).transpose(1, 2).flatten(0, 1) for part in of_blocks
        )
        return largest, places
    closeness = products(table, rows)
    return _largest_along(closeness.view(-1, size, closeness.shape[2]))


def products(table: Tensor, rows: Tensor) -> Tensor:
    """Of a table and of rows as its columns, ``(n, k size, batch)``."""
    # Padded along the rows: products with contiguous columns are faster.
    return table @ functional.pad(rows.mT, (0, 0, 0, 1), value=1.0)


def _largest_along(values: Tensor) -> tuple[Tensor, Tensor]:
    """The largest values along the middle axis of three, and their places."""
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return values.max(1)
    # Pooling with channels last is ten times as fast as max.
    picture = values.unsqueeze(2).permute(0, 3, 1, 2)
    window = values.shape[1], 1
    largest, places = functional.max_pool2d(picture, window, return_indices=True)
    return largest.flatten(1), places.flatten(1)
