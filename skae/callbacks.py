"""Callbacks of skae: `Checkpoint`, from which a fit that was killed goes on.

They go into ``callbacks=`` of the estimators, beside those of skorch.
"""

from skae.training.checkpoint import Checkpoint

__all__ = ["Checkpoint"]

# Pickles and files name the public place.
Checkpoint.__module__ = __name__
