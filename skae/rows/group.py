"""The processes that fit one model together, as far as the fit needs to know of them.

`ALONE` is the group of a fit in one process: its sums are what came, and nothing waits.
Groups of several processes are made in `skae.distributed`; rows that are spread over
them (`skae.rows.sharded`) carry their group to whoever reads them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

__all__ = ["ALONE", "Group", "difference", "group_of"]

T = TypeVar("T")


class Group:
    """One process alone; the base class of groups of several.

    Every method is called by all processes of the group, in the same order.

    Attributes
    ----------
    rank : int
        Number of this process.
    size : int
        Number of processes.
    """

    rank = 0
    size = 1

    @property
    def is_alone(self) -> bool:
        """Whether this is the only process."""
        return self.size == 1

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor itself, which becomes the sum over the processes."""
        return tensor

    def broadcast(self, value: T) -> T:
        """What the first process passes."""
        return value

    def gather(self, value: T) -> list[T]:
        """What each process passes, by rank."""
        return [value]

    def reduce(self, value: T, merge: Callable[[T, T], T]) -> T:
        """The values of all processes, merged as a tree in the order of ranks.

        ``merge(left, right)`` may change and return ``left``.
        """
        return value

    def any(self, flag: bool) -> bool:
        """Whether a process passes True."""
        return bool(flag)

    def together(self, work: Callable[[], T]) -> T:
        """The result of this process's work, or the error of any process in all."""
        return work()


ALONE = Group()


def difference(group: Group, facts: dict[str, Any]) -> str | None:
    """In words, what differs between processes that have to agree; None if nothing.

    Parameters
    ----------
    group : Group
        All of whose processes call this, and all learn of a difference.
    facts : dict of str to object
        By what they are called in messages, the same in all processes.
    """
    for rank, others in enumerate(group.gather(facts)):
        for what, value in facts.items():
            other = others.get(what)
            if other != value:
                return (
                    f"process {group.rank} has {what} {value}, process {rank} has "
                    f"{what} {other}"
                )
    return None


def group_of(X: Any) -> Group:
    """The group over which rows are spread."""
    # Paths have a method of this name, and frames may have a column.
    group = getattr(X, "group", ALONE)
    return group if isinstance(group, Group) else ALONE
