"""Out-of-bag scores: members of an ensemble judge only rows that they did not train on.

`InBagRows` recognises training rows when they come back to be scored; `out_of_bag` says
which members judge a training row when it stands for a new one.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = ["InBagRows", "out_of_bag", "shares_of"]


class InBagRows:
    """Recognises training rows and says which members trained on them.

    Only rows that occur once among those drawn are recorded: of a row that occurs
    several times each copy may be judged by the others.

    Parameters
    ----------
    keys : uint64 ndarray of shape (n_rows,)
        Sorted fingerprints.
    in_bag : bool ndarray of shape (n_rows, n_members)
    """

    def __init__(self, keys: np.ndarray, in_bag: np.ndarray):
        self.keys = keys
        self.in_bag = in_bag

    @classmethod
    def of(cls, x: Tensor, in_bag: np.ndarray) -> "InBagRows":
        """The record of rows x and the members that have them in bag."""
        keys, first, count = np.unique(
            _fingerprints(x), return_index=True, return_counts=True
        )
        return cls(keys[count == 1], in_bag[first[count == 1]])

    def followed_by(self, other: "InBagRows") -> "InBagRows":
        """The record of these members and, after them, those of another record."""
        keys = np.union1d(self.keys, other.keys)
        width = self.in_bag.shape[1]
        in_bag = np.zeros((len(keys), width + other.in_bag.shape[1]), dtype=bool)
        in_bag[np.searchsorted(keys, self.keys), :width] = self.in_bag
        in_bag[np.searchsorted(keys, other.keys), width:] = other.in_bag
        return InBagRows(keys, in_bag)

    def out_of_bag(self, x: Tensor) -> np.ndarray:
        """Which members did not train on each row of x, shape (batch, n_members)."""
        fingerprints = _fingerprints(x)
        out_of_bag = np.ones((len(x), self.in_bag.shape[1]), dtype=bool)
        if len(self.keys):
            place = np.searchsorted(self.keys, fingerprints)
            place = place.clip(max=len(self.keys) - 1)
            recorded = self.keys[place] == fingerprints
            out_of_bag[recorded] = ~self.in_bag[place[recorded]]
        return out_of_bag

    def shares(self, x: Tensor) -> Tensor:
        """Weights of the members for each row of x, shape ``(members, batch)``.

        Zero for members that trained on the row, unless all of them did.
        """
        return shares_of(self.out_of_bag(x)).to(x.device)


def shares_of(judges: np.ndarray) -> Tensor:
    """Equal weights of the members that may judge a row, of all where none may.

    Parameters
    ----------
    judges : bool ndarray of shape (batch, n_members)

    Returns
    -------
    share : Tensor of shape (members, batch)
        Columns sum to one.
    """
    share = judges.astype(np.float32)
    share[~judges.any(1)] = 1
    share /= share.sum(1, keepdims=True)
    return torch.from_numpy(np.ascontiguousarray(share.T))


def out_of_bag(x: Tensor, in_bag: np.ndarray) -> np.ndarray:
    """Members whose errors on a drawn row are distributed as those on a new row.

    A new row that equals one drawn row is taken for it, and judged by the members that
    did not train on that one. For a drawn row with one copy, the copy plays the part of
    the drawn row and the row itself that of the new one: a member that trained on
    either may not judge. For all other rows, only members that trained on the row
    itself may not.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
    in_bag : bool ndarray of shape (n_rows, n_members)

    Returns
    -------
    judges : bool ndarray of shape (n_rows, n_members)
    """
    _, group, count = np.unique(
        _fingerprints(x), return_inverse=True, return_counts=True
    )
    of_group = np.zeros((len(count), in_bag.shape[1]), dtype=bool)
    np.logical_or.at(of_group, group, in_bag)
    blocked = np.where((count == 2)[group, None], of_group[group], in_bag)
    return ~np.where(blocked.all(1, keepdims=True), in_bag, blocked)


def _fingerprints(x: Tensor) -> np.ndarray:
    """A 64-bit hash of every row; equal rows have equal ones."""
    bits = x.cpu().numpy().view(np.uint32).astype(np.uint64)
    random = np.random.default_rng(x.shape[1])
    odd = random.integers(2**63, size=x.shape[1], dtype=np.uint64) * 2 + 1
    return bits @ odd
