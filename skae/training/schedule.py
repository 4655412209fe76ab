"""How long and how fast to train, and when to stop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sklearn.exceptions import ConvergenceWarning

from skae.rows.user_line import warn_user

__all__ = ["Patience", "Schedule", "StopTraining", "UpdateNumbers", "report_lost"]

_TINY = 1e-12


class StopTraining(Exception):
    """Ends a training in the regular way; the message says why."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    n_rounds : int
        Evaluations, equally spaced.
    n_steps : int
        Training steps in all, at least ``n_rounds``.
    batch_size : int
    lr : float
        Peak learning rate.
    weight_decay, ema_decay : float
    patience : int or None
        Rounds without improvement before stopping; None trains to the end.
    tol : float
        Relative improvement that counts.
    constant : bool
        No warm-up, no decay: for training that has no known end.
    plateau : float
        Share of the steps before the rate falls.
    steps_per_epoch : int or None
        Steps of one pass over the training rows; None where one pass is all.
    n_apart : int
        Steps that each of several processes takes on its own rows before their weights
        are averaged; with one, every step follows the gradient of the whole batch.
    """

    n_rounds: int
    n_steps: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    ema_decay: float = 0.98
    patience: int | None = None
    tol: float = 1e-4
    constant: bool = False
    plateau: float = 0.05
    steps_per_epoch: int | None = None
    n_apart: int = 1

    def epochs(self, n_steps: int) -> float:
        """What so many steps are in passes over the training rows."""
        return n_steps / (self.steps_per_epoch or self.n_steps)

    def steps_in(self, number: int) -> int:
        """Steps of a round, counted from one."""
        last, before = (i * self.n_steps // self.n_rounds for i in (number, number - 1))
        return last - before


class Patience:
    """Says when a loss has not improved for too long.

    A loss counts as an improvement if it is below the last one that did by more than
    ``tol`` times its size, be it positive or negative.

    Parameters
    ----------
    n_rounds : int or None
        So many losses in a row without improvement are too many; None has no limit.
    tol : float
    """

    def __init__(self, n_rounds: int | None, tol: float):
        self.n_rounds = n_rounds
        # Numbers of NumPy warn of infinite ones.
        self.tol = float(tol)
        self.best = math.inf
        self.n_waited = 0

    def is_over(self, loss: float) -> bool:
        """Take note of a loss; True when it is time to stop."""
        improved = loss < self.best - self.tol * max(abs(self.best), _TINY)
        if improved or (math.isinf(self.best) and math.isfinite(loss)):
            self.best, self.n_waited = loss, 0
        else:
            self.n_waited += 1
        return self.n_rounds is not None and self.n_waited >= self.n_rounds


def report_lost(n_finite: int, lr: float) -> None:
    """Say that losses were infinite or NaN in some rounds, and finite in so many.

    Raises
    ------
    FloatingPointError
        When none was finite.
    """
    if not n_finite:
        raise FloatingPointError(
            "The training loss was infinite or NaN in every round, also after the "
            f"learning rate was lowered from {lr:g}. Scale X, choose a smaller "
            "learning_rate_init or less uneven sample_weight, or check the corruption "
            "and penalty."
        )
    warn_user(
        "The training loss became infinite or NaN; training went on from the best "
        "weights with a lower learning rate. Consider a smaller learning_rate_init.",
        ConvergenceWarning,
    )


class UpdateNumbers(NamedTuple):
    """What changes from one update to the next, as numbers or tensors on the device.

    Attributes
    ----------
    rate : float
        Learning rate.
    kept : float
        Factor of weight decay.
    moved : float
        Share by which the average moves to the weights.
    count : int
        Number of the update, from one.
    """

    rate: Any
    kept: Any
    moved: Any
    count: Any

    @classmethod
    def of(cls, numbers: Sequence, single: Sequence) -> "UpdateNumbers":
        """The first four numbers, of which CUDA's kernels read two in single precision.

        Parameters
        ----------
        numbers, single : sequence of Tensor
            In the type of the weights and in single precision.
        """
        return cls(single[0], numbers[1], numbers[2], single[3])
