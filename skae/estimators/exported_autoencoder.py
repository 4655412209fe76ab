"""Methods of every autoencoder as torch modules: codes, reconstructions, scores.

`BaseAutoencoder` inherits from `ExportedAutoencoder`; conditional and variational ones
add theirs.
"""

import torch

from skae.estimators.trained import SingleTraining
from skae.exporting.ends import CodeUnits, Scores
from skae.exporting.fitted_function import FittedFunction
from skae.exporting.functions import (
    Code,
    Decoded,
    LogLikelihood,
    Reconstruction,
    without_training,
)

__all__ = ["ExportedAutoencoder"]


class ExportedAutoencoder(SingleTraining):
    """Methods of an autoencoder as modules."""

    def _exports(self):
        net = without_training(self.net_)
        steps = self.net_.sample_shape if net.codec.allows_missing else None
        rows = self._row_units(steps=steps)
        codes = CodeUnits(self.n_components_, self.code_scale_)
        reconstruct = FittedFunction(rows, Reconstruction(net), rows)
        decode = FittedFunction(codes, Decoded(net), rows)
        scores = FittedFunction(rows, LogLikelihood(net, rows.columns), Scores())
        functions = {
            "transform": FittedFunction(rows, Code(net), codes),
            "inverse_transform": decode,
            "reconstruct": reconstruct,
            "denoise": reconstruct,
            "sample": decode,
            "score_samples": scores,
        }
        return {name: each for name, each in functions.items() if hasattr(self, name)}

    def _example_inputs(self, functions, module, generator):
        rows, *y = super()._example_inputs(functions, functions["transform"], generator)
        if not self.net_.likelihood.is_centred:
            # Rows that the likelihood allows.
            rows = functions["reconstruct"](rows, *y)
        if self.net_.codec.allows_missing:
            rows = _shortened(rows, self.net_.sample_shape)
        if module.input is not functions["transform"].input:
            rows = functions["transform"](rows, *y)
        return rows, *y


def _shortened(rows, shape):
    """Sequences of which some lack their last steps."""
    steps = rows.reshape(len(rows), *shape).clone()
    n_steps = shape[0]
    for number, sequence in enumerate(steps):
        sequence[n_steps - number % n_steps :] = torch.nan
    return steps.reshape(rows.shape)
