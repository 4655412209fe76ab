"""Samples of a GAN in training, for `skae.callbacks.SampleGrid`.

`GANFit` makes `Pictures` and hands it to callbacks as an attribute of the trainer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from skae.fitting.pca_start import Units
from skae.models.gan import GANModule
from skae.models.gan_evaluation import fixed_samples

__all__ = ["Pictures"]


class Pictures(NamedTuple):
    """Samples of a model in training.

    Attributes
    ----------
    module : GANModule
    context : callable
        Maps a number of samples to their condition, or to None.
    classes : ndarray of shape (n_classes,) or None
        One for each column of the condition; None where it is not a class.
    units : Units
        Of the module's rows.
    value_range : (float, float) or None
        Of samples.
    shape : tuple of int
        Of a sample.
    epochs_before : float
        Of the model, in earlier calls.
    """

    module: GANModule
    context: Callable[[int], Tensor | None]
    classes: np.ndarray | None
    units: Units
    value_range: tuple[float, float] | None
    shape: tuple[int, ...]
    epochs_before: float

    def draw(self, n_samples: int) -> np.ndarray:
        """Samples for the same noise each time, in X's units."""
        made = fixed_samples(self.module, n_samples, self.context(n_samples))
        rows = self.units.to_x(made.cpu()).numpy()
        if self.value_range is not None:
            rows = rows.clip(*self.value_range)
        return rows.reshape(n_samples, *self.shape)

    def y(self, n_samples: int) -> np.ndarray | None:
        """The class of each sample; None for a model without classes."""
        context = self.context(n_samples)
        if self.classes is None or context is None:
            return None
        return self.classes[context.argmax(1).cpu().numpy()]
