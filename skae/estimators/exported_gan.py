"""Methods of a GAN as torch modules: samples from noise, values of its critic."""

from skae.estimators.trained import SingleTraining
from skae.exporting.conditions import Unconditioned, conditional
from skae.exporting.ends import CodeUnits, Scores
from skae.exporting.fitted_function import FittedFunction
from skae.exporting.functions import CriticValue

__all__ = ["ExportedGAN"]


class ExportedGAN(SingleTraining):
    """Methods of a GAN as modules; ``sample`` takes the noise."""

    def _exports(self):
        net, noise = self.net_, CodeUnits(self.n_components_)
        rows = self._row_units(value_range=self._sample_range)
        value = CriticValue(net.critic)
        probability = CriticValue(net.critic, is_probability=net.loss.probability)
        functions = {
            "sample": FittedFunction(noise, net.generator, rows),
            "score_samples": FittedFunction(rows, value, Scores()),
            "discriminate": FittedFunction(rows, probability, Scores()),
        }
        context = self._context
        if context is None:
            return functions
        # The critic has values without y too; the generator needs it.
        width = context.width
        without = {
            "score_samples": Unconditioned(value, width),
            "discriminate": Unconditioned(probability, width),
        }
        return {
            name: conditional(function, context, without.get(name))
            for name, function in functions.items()
        }
