"""When the images of a GAN in training grow.

`Growth` says at which level the networks of `skae.parts.growing` work, from the share
of the training that is done; `GANModule` makes them.
"""

from typing import NamedTuple

__all__ = ["Growth"]


class Growth(NamedTuple):
    """The first part of a training, at levels below the last.

    Every level is faded in, and then kept, for as long; the first is not faded in.

    Attributes
    ----------
    share : float
        Of the training, in [0, 1); zero starts at the last level.
    n_levels : int
        At least one.
    """

    share: float = 0.0
    n_levels: int = 1

    def plain(self) -> tuple[float, int]:
        """What files may hold."""
        return self.share, self.n_levels

    def is_over(self, progress: float) -> bool:
        """Whether whole images are trained on, faded in."""
        return progress >= self.share or self.n_levels == 1

    def at(self, progress: float) -> tuple[int, float, bool]:
        """Level, how far it has been faded in, and whether it is being."""
        last = self.n_levels - 1
        if self.is_over(progress):
            return last, 1.0, False
        place = 2 * last * progress / self.share
        number = int(place)
        is_fading = number % 2 == 1
        return (number + 1) // 2, place - number if is_fading else 1.0, is_fading
