"""Who saw what: members of an ensemble judge only rows that they did not train on.

`SeenRows` recognises training rows when they come back to be scored;
`unseen_as_new` says which members judge a training row when it stands for a new one.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = ["SeenRows", "shares_of", "unseen_as_new"]


class SeenRows:
    """Recognises training rows and says which members saw them.

    Only rows that occur once among those drawn are recorded: of a row that occurs
    several times each copy may be judged by the others.

    Parameters
    ----------
    keys : uint64 ndarray of shape (n_rows,)
        Sorted fingerprints.
    seen : bool ndarray of shape (n_rows, n_members)
    """

    def __init__(self, keys: np.ndarray, seen: np.ndarray):
        self.keys = keys
        self.seen = seen

    @classmethod
    def of(cls, x: Tensor, seen: np.ndarray) -> "SeenRows":
        """Record rows of which ``seen``, (n_rows, n_members), says who saw them."""
        keys, first, count = np.unique(
            _fingerprints(x), return_index=True, return_counts=True
        )
        return cls(keys[count == 1], seen[first[count == 1]])

    def followed_by(self, other: "SeenRows") -> "SeenRows":
        """The record of these members and, after them, those of another record."""
        keys = np.union1d(self.keys, other.keys)
        width = self.seen.shape[1]
        seen = np.zeros((len(keys), width + other.seen.shape[1]), dtype=bool)
        seen[np.searchsorted(keys, self.keys), :width] = self.seen
        seen[np.searchsorted(keys, other.keys), width:] = other.seen
        return SeenRows(keys, seen)

    def unseen(self, x: Tensor) -> np.ndarray:
        """Which members did not see each row of x, shape (batch, n_members)."""
        fingerprints = _fingerprints(x)
        unseen = np.ones((len(x), self.seen.shape[1]), dtype=bool)
        if len(self.keys):
            place = np.searchsorted(self.keys, fingerprints)
            place = place.clip(max=len(self.keys) - 1)
            known = self.keys[place] == fingerprints
            unseen[known] = ~self.seen[place[known]]
        return unseen

    def shares(self, x: Tensor) -> Tensor:
        """How much each member's word counts for each row of x.

        Members that saw a row do not count, unless all of them did.

        Returns
        -------
        share : Tensor of shape (members, batch)
            Columns sum to one.
        """
        return shares_of(self.unseen(x)).to(x.device)


def shares_of(unseen: np.ndarray) -> Tensor:
    """Equal shares of those who may judge, all of them where nobody may.

    Parameters
    ----------
    unseen : bool ndarray of shape (batch, n_members)

    Returns
    -------
    share : Tensor of shape (members, batch)
        Columns sum to one.
    """
    share = unseen.astype(np.float32)
    share[~unseen.any(1)] = 1
    share /= share.sum(1, keepdims=True)
    return torch.from_numpy(np.ascontiguousarray(share.T))


def unseen_as_new(x: Tensor, seen: np.ndarray) -> np.ndarray:
    """Members that make of a drawn row what they will make of a new one.

    A new row that equals one drawn row is taken for it, and judged by the members that
    did not see that. To a drawn row with one copy the copy is what that row is to the
    new one: neither may have been seen. Other rows are left out alone.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
    seen : bool ndarray of shape (n_rows, n_members)

    Returns
    -------
    unseen : bool ndarray of shape (n_rows, n_members)
    """
    _, group, count = np.unique(
        _fingerprints(x), return_inverse=True, return_counts=True
    )
    of_group = np.zeros((len(count), seen.shape[1]), dtype=bool)
    np.logical_or.at(of_group, group, seen)
    blocked = np.where((count == 2)[group, None], of_group[group], seen)
    return ~np.where(blocked.all(1, keepdims=True), seen, blocked)


def _fingerprints(x: Tensor) -> np.ndarray:
    """A 64-bit hash of every row; equal rows have equal ones."""
    bits = x.cpu().numpy().view(np.uint32).astype(np.uint64)
    random = np.random.default_rng(x.shape[1])
    odd = random.integers(2**63, size=x.shape[1], dtype=np.uint64) * 2 + 1
    return bits @ odd
