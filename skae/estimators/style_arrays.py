"""`Styles`: arrays of styles that carry the model they come from.

`GAN.styles` and `GAN.project` make them, and methods that take styles read their marks.
Whatever is computed from them has their marks too, and so have lists of them, once
`as_styles` has made arrays of these. Nothing here knows of networks.
"""

from numbers import Integral

import numpy as np

__all__ = ["SEVERAL", "Styles", "as_styles"]

# The model of what comes from several ones.
SEVERAL = "several"


class Styles(np.ndarray):
    """Styles with the fingerprint of the model that made them.

    Attributes
    ----------
    model : str or None
        None for arrays that no model has made, ``SEVERAL`` for mixtures.
    of_layers : bool
        Whether an array of two axes is the styles of one image, layer by layer, and not
        those of several images.
    """

    model: str | None
    of_layers: bool

    def __array_finalize__(self, source):
        self.model = getattr(source, "model", None)
        self.of_layers = self.ndim > 1 and getattr(source, "of_layers", False)

    def __getitem__(self, index):
        chosen = super().__getitem__(index)
        of_one_layer = (
            self.ndim == 3
            and isinstance(index, tuple)
            and len(index) > 1
            and isinstance(index[1], Integral)
        )
        if of_one_layer and isinstance(chosen, Styles):
            chosen.of_layers = False
        return chosen

    def __setitem__(self, index, value):
        super().__setitem__(index, value)
        _marked(self, [self, *_styles_in(value)])

    def __array_function__(self, func, types, args, kwargs):
        result = super().__array_function__(func, types, args, kwargs)
        styles = _styles_in((args, tuple(kwargs.values())))
        if result is None:
            # Functions such as np.copyto write into their first argument.
            _marked(args[0] if args else kwargs.get("dst"), styles)
            return None
        return _marked(result, styles)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if out is not None:
            kwargs["out"] = tuple(map(_plain, out))
        result = getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
        if out is not None and len(out) == 1:
            result = out[0]
        axis = kwargs.get("axis") if method == "reduce" else None
        return _marked(result, _styles_in(inputs), averages_layers=axis in (1, -2))

    def __reduce__(self):
        make, arguments, state = super().__reduce__()
        return make, arguments, (state, self.model, self.of_layers)

    def __setstate__(self, stored):
        state, self.model, self.of_layers = stored
        super().__setstate__(state)


def as_styles(W):
    """W as an array; a list or tuple of styles has their marks."""
    styles = _styles_in(W)
    return _marked(np.asanyarray(W), styles) if styles else np.asarray(W)


def _plain(value):
    return np.asarray(value) if isinstance(value, Styles) else value


def _styles_in(values) -> list[Styles]:
    """All styles in nested sequences."""
    if isinstance(values, Styles):
        return [values]
    if not isinstance(values, tuple | list):
        return []
    return [each for value in values for each in _styles_in(value)]


def _marked(result, sources: list[Styles], *, averages_layers=False):
    """A result with the marks of what it was computed from."""
    if not isinstance(result, np.ndarray):
        return result
    if result.dtype.kind != "f":
        # Indices and comparisons.
        return result.view(np.ndarray) if isinstance(result, Styles) else result
    is_new = not isinstance(result, Styles)
    result = result.view(Styles) if is_new else result
    models = {each.model for each in sources} - {None}
    if models:
        result.model = models.pop() if len(models) == 1 else SEVERAL
    if is_new:
        of_layers = any(each.of_layers for each in sources) and not averages_layers
        result.of_layers = result.ndim > 1 and of_layers
    return result
