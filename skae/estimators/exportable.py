"""`Exportable`: fitted methods as torch modules, for any estimator.

A subclass returns its methods as `FittedFunction` by name from ``_exports``, see
`ExportedAutoencoder`, `ExportedClassifier`, `ExportedDetector` and `ExportedGAN`. What
modules compute is in ``skae/exporting``.
"""

import copy

import torch
from sklearn.utils.validation import check_is_fitted

from skae.rows.devices import place_of_doubles
from skae.rows.isolation import isolated

__all__ = ["Exportable"]

# Samples like the training ones that come with a module.
_N_EXAMPLES = 10
_REASONS = {
    "augment": "it draws random numbers",
    "corrupt": "it draws random numbers",
    "interpolate": "it is inverse_transform of codes between two codes",
    "score": "it is one number for all rows; use score_samples",
}


class Exportable:
    """Base of estimators whose fitted methods are available as torch modules."""

    @isolated
    def to_torch(self, method="transform"):
        """A fitted method as a torch module, in X's own units.

        The module takes the method's arguments as tensors and returns its result:
        images and sequences in their shape, flat rows too, codes for
        ``inverse_transform`` and ``sample``. A conditional model takes y as a second
        input, optional where the method has it optional: labels, or numbers of
        ``classes_`` where labels are strings. Sequences come padded with NaN, never as
        lists.

        Parameters
        ----------
        method : str, default="transform"
            A method that maps samples one by one, without random numbers. ``sample``
            maps codes, or the noise of a `GAN`, to samples.

        Returns
        -------
        module : torch.nn.Module
            On the estimator's device (the CPU where that has no float64), in
            evaluation mode, with weights of its own that require no gradient; its
            output is differentiable with respect to its input. Rows and codes come back
            in the dtype that came, scores and probabilities in float64, and
            ``predict`` gives labels, or numbers of ``classes_`` where those are
            strings. ``example_inputs`` has a few samples, in float64.

        Raises
        ------
        ValueError
            When the estimator has no such method, or one that draws random numbers or
            works on all rows at once.
        sklearn.exceptions.NotFittedError
            When the estimator is not fitted.

        Notes
        -----
        Rows are centred in float64 as the estimator does, then the model computes in
        its own dtype; results are those of the method up to rounding. Later training
        of the estimator does not change the module. Of samples it checks the shape
        only, where the estimator raises errors: those with NaN or infinity, sequences
        with gaps and a y of no class come back as NaN (labels of ``predict`` cannot say
        so), and ranges, such as [0, 1] for a Bernoulli likelihood, are not checked.
        """
        check_is_fitted(self)
        functions = self._exports()
        if not isinstance(method, str):
            raise TypeError(f"method must be the name of a method; got {method!r}.")
        if method not in functions:
            raise ValueError(self._refusal(method, functions))
        functions = copy.deepcopy(functions)
        device = self._export_device
        for function in functions.values():
            function.eval().requires_grad_(False).to(device)
        module = functions[method]
        generator = torch.Generator("cpu").manual_seed(0)
        with torch.no_grad():
            module.example_inputs = self._example_inputs(functions, module, generator)
        return module

    def _exports(self):
        """Fitted functions by the names of the methods."""
        raise NotImplementedError

    @property
    def _export_device(self):
        return place_of_doubles(self._device)

    def _example_inputs(self, functions, module, generator):
        """A few samples for a module, and their y."""
        samples = module.input.examples(_N_EXAMPLES, generator)
        condition = module.condition
        if condition is None:
            return (samples,)
        return samples, condition.examples(_N_EXAMPLES, generator)

    def _refusal(self, method, functions):
        """Why there is no such module, and which modules there are."""
        name = type(self).__name__
        offered = ", ".join(map(repr, functions))
        reason = _REASONS.get(method) if hasattr(self, method) else None
        reason = f": {reason}" if reason else ""
        return (
            f"method={method!r} of {name} cannot be a module of its own{reason}. This "
            f"{name} offers {offered}."
        )
