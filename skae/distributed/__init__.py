"""Fits on several processes: workers of a Dask cluster, or those of torchrun.

`fit` is what users call, and what the estimators' own ``fit`` calls for Dask
collections. What all processes do is in `ranks`, how they are one group in
`process_group`; `cluster` and `world` bring rows and processes together. Nothing here
knows models.
"""

from skae.distributed.fitting import fit, fits_on_cluster
from skae.distributed.process_group import LostProcessError

__all__ = ["LostProcessError", "fit", "fits_on_cluster"]
