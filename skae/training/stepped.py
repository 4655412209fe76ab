"""What a module says of its training steps beside their loss.

Models derive from `SteppedModule`; `Trainer` sets its attributes. A loss that changes
in the course of a training takes what changes from here, so that a step can be recorded
once and repeated.
"""

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["SteppedModule"]


class SteppedModule(nn.Module):
    """A module whose loss may depend on how far its training is.

    Attributes
    ----------
    progress : float
        Share of the training that is done when the step is, in (0, 1]; set by the
        trainer before each step.
    phase : int
        Steps of different phases differ in the operations that they run. The module
        changes it in its steps, from nothing but its value before.
    scheduled : sequence of Tensor
        What ``numbers_at(progress)`` returns, as scalars on the device; empty where
        they have to be computed from ``progress``.
    """

    progress: float = 1.0
    phase: int = 0
    scheduled: Sequence[Tensor] = ()

    @property
    def is_rowwise(self) -> bool:
        """Whether a batch may be cut, and its parts be computed side by side.

        Its loss then is a mean over rows, each of which depends on that row alone, and
        only reads the module.
        """
        return False

    @property
    def row_group(self) -> int:
        """Rows that lie side by side and stay together where a batch is cut."""
        return 1

    def numbers_at(self, progress: float) -> Sequence[float]:
        """The numbers of the loss that change with the progress, by default none."""
        return ()
