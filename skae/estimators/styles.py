"""What users do with the styles of a ``GAN(architecture="style")``.

`Styled` is a base of `GAN`: its methods exist where the architecture has styles, and
are an AttributeError elsewhere that says so. Styles are arrays that know which model
they come from.
"""

import hashlib
from functools import update_wrapper
from numbers import Real
from types import MethodType

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skae.checks.images import check_range, warn_of_units
from skae.checks.integers import check_integer
from skae.checks.value_ranges import SHARES
from skae.estimators.style_arrays import SEVERAL, Styles, as_styles
from skae.models.projection import projected
from skae.rows.isolation import isolated

__all__ = ["Styled", "check_truncation"]

_STEPS, _STARTS = 200, 1000


class styled:
    """A method of models with styles."""

    def __init__(self, method):
        self.method = method
        update_wrapper(self, method)

    def __get__(self, instance, owner=None):
        if instance is None:
            return self.method
        architecture = instance._fitted_architecture
        if architecture != "style":
            raise AttributeError(
                f"{self.method.__name__} is for architecture='style'; this "
                f"{type(instance).__name__} has architecture={architecture!r}."
            )
        return MethodType(self.method, instance)


class Styled:
    """Methods of models with styles."""

    @styled
    @isolated
    def styles(self, n_samples=1, *, y=None, truncation=1.0, random_state=None):
        """Draw styles: what the layers of the generator are modulated by.

        Parameters
        ----------
        n_samples : int, default=1
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs), \
default=None
            As of ``sample``.
        truncation : float, default=1.0
            As of ``sample``.
        random_state : int, RandomState or None, default=None
            None takes the estimator's own. The same number gives the styles of the
            samples that ``sample`` draws.

        Returns
        -------
        W : ndarray of shape (n_samples, n_components_)
            In single precision.

        Raises
        ------
        ValueError
            As of ``sample``.
        """
        z, _, condition = self._drawn_noise(n_samples, y, random_state)
        check_truncation(truncation)

        def styles(z, context=None):
            return self._truncated(z, context, truncation)

        width = self.n_components_
        W = self._map_rows(
            z, styles, width, condition, units=(0.0, 1.0), dtype=np.float32
        )
        return self._marked(W)

    @styled
    @isolated
    def from_styles(self, W):
        """Images of styles.

        Noise inputs are those of the model, the same for all images: equal styles give
        equal images.

        Parameters
        ----------
        W : array-like of shape (n_samples, n_components_) or \
(n_samples, n_layers, n_components_)
            Of this model; with one style for each layer, from the smallest images on.
            Of what `project` returns, ``W[0]`` are the styles of one image. Arrays
            computed from styles, and lists and pickles of them, belong to their model.
            ``np.array``, ``tolist`` and ``np.save`` keep the numbers alone, which no
            check can tell from those of another model.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape and units of the training samples; float32 where those were,
            else float64.

        Raises
        ------
        ValueError
            When W has another shape, is not finite, or comes from another model.
        """
        return self._restored(self._images_of(self._layered(W, "W")), None)

    @styled
    def mix(self, coarse, fine, n_layers):
        """Images with the coarse features of some styles and the fine ones of others.

        Layers of a model that was trained with ``style_mixing=0.5`` work with those of
        other styles; mixtures of other models are often no images like the training
        ones. In a conditional model the class is part of a style, and goes with the
        coarse one.

        Parameters
        ----------
        coarse, fine : array-like of styles
            As of `from_styles`, with the same checks; as many of both, or one of
            either for all.
        n_layers : int
            Layers, from the smallest images on, that follow ``coarse``: at least 1 and
            fewer than there are. Images of 32 x 32 have 4, of 4, 8, 16 and 32 pixels.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape and units of the training samples; float32 where those were,
            else float64.

        Raises
        ------
        ValueError
            When styles do not fit this model or each other, or n_layers is out of
            range.
        """
        coarse, fine = self._layered(coarse, "coarse"), self._layered(fine, "fine")
        n_each = len(coarse), len(fine)
        if min(n_each) != 1 and n_each[0] != n_each[1]:
            raise ValueError(
                "coarse and fine must be as many styles, or one of them a single one; "
                f"got {n_each[0]} and {n_each[1]}."
            )
        check_integer("n_layers", n_layers, most=self.net_.generator.n_layers - 1)
        coarse, fine = np.broadcast_arrays(coarse, fine)
        mixed = np.concatenate([coarse[:, :n_layers], fine[:, n_layers:]], axis=1)
        return self._restored(self._images_of(mixed), None)

    @styled
    def interpolate(self, a, b, n_steps=10):
        """Images on the way from one style to another, along a straight line.

        Parameters
        ----------
        a, b : array-like of shape (n_components_,) or (n_layers, n_components_)
            Single styles, or arrays of one, with the checks of `from_styles`.
        n_steps : int, default=10
            Images on the way, those of both ends included; at least 2.

        Returns
        -------
        X : ndarray of shape (n_steps, n_features)
            In the shape and units of the training samples; float32 where those were,
            else float64.

        Raises
        ------
        ValueError
            When a or b is no single style of this model, or n_steps is below 2.
        """
        check_is_fitted(self)
        check_integer("n_steps", n_steps, least=2)
        ends = []
        for style, name in ((a, "a"), (b, "b")):
            style = as_styles(style)
            shape, width = style.shape, self.n_components_
            # Marked ones say themselves whether they are one image's layers.
            is_of_layers = shape == (net_layers(self), width)
            if shape == (width,) or (is_of_layers and not isinstance(style, Styles)):
                style = style[None]
            end = self._layered(style, name)
            if len(end) != 1:
                raise ValueError(f"{name} must be a single style; got {len(end)}.")
            ends.append(end[0])
        share = np.linspace(0, 1, n_steps, dtype=np.float32)[:, None, None]
        return self._restored(
            self._images_of((1 - share) * ends[0] + share * ends[1]), None
        )

    @styled
    @isolated
    def project(self, X, *, n_steps=_STEPS):
        """The styles whose images are nearest to those of X.

        Every image starts from the nearest of 1,000 drawn ones, and each layer of the
        generator has a style of its own (Abdal et al. 2019, arXiv 1904.03189).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Images like the training ones, in their units: where those were uint8 or
            filled [0, 1], values within that range.
        n_steps : int, default=200

        Returns
        -------
        W : ndarray of shape (n_samples, n_layers, n_components_)
            For `from_styles`, `mix` and `interpolate`.
        images : ndarray of shape (n_samples, n_features)
            In X's shape; float32 where the training images were, else float64.

        Raises
        ------
        ValueError
            When X has another shape or range than the training images, or n_steps is no
            positive integer.

        Warns
        -----
        UserWarning
            When values of X are many times larger or smaller than those of training
            images without a range.
        """
        check_integer("n_steps", n_steps)
        rows = self._rows(X)
        is_bytes = getattr(X, "dtype", None) == np.uint8
        if self._sample_range is not None:
            check_range(rows, self._sample_range, is_bytes=is_bytes)
        else:
            warn_of_units(rows, self.mean_, self.units_.scale)
        starts = self.styles(_STARTS, random_state=0)
        starts = torch.from_numpy(np.array(starts)).to(self._device)
        net, shape = self.net_.generator, (net_layers(self), self.n_components_)

        def styles(x):
            return projected(net, x, starts, n_steps).flatten(1)

        W = self._map_rows(
            rows, styles, shape[0] * shape[1], dtype=np.float32, draws=True
        )
        W = W.reshape(-1, *shape)
        return self._marked(W), self._restored(self._images_of(W), X)

    # Styles as arrays

    @property
    def _fitted_architecture(self):
        """That of the networks, where there are some."""
        network = vars(self).get("network_", {})
        return network.get("architecture", self.architecture)

    def _truncated(self, z, context, truncation):
        """Styles of noise, nearer to the mean style of their condition."""
        net = self.net_.generator
        w = net.styles(z, context)
        if truncation == 1:
            return w
        return torch.lerp(net.average(context).to(w), w, float(truncation))

    @property
    def _sample_range(self):
        """Smallest and largest value of samples; None for any."""
        # Files of earlier versions do not say it of shares.
        is_of_shares = self.net_.generator.is_confined and self._value_range is None
        return SHARES if is_of_shares else self._value_range

    def _finished(self, rows):
        """Generated rows in X's range and dtype."""
        if self._sample_range is not None:
            # Confined ones leave it by the rounding of the units only.
            np.clip(rows, *self._sample_range, out=rows)
        return rows.astype(self._dtype, copy=False)

    def _images_of(self, W):
        """Flat rows in X's units of styles of every layer."""
        shape = W.shape[1:]

        def images(w):
            return self.units_.to_x(self.net_.generator.images(w.unflatten(1, shape)))

        rows = np.ascontiguousarray(W, dtype=np.float32).reshape(len(W), -1)
        return self._finished(
            self._map_rows(
                rows, images, self.n_features_in_, units=(0.0, 1.0), dtype=np.float64
            )
        )

    def _layered(self, W, name):
        """Validated styles, one for each layer."""
        check_is_fitted(self)
        width, n_layers = self.n_components_, net_layers(self)
        W = as_styles(W)
        model, array = getattr(W, "model", None), np.asarray(W)
        if array.ndim == 2 and getattr(W, "of_layers", False):
            # One image of layered styles.
            array = array[None]
        shape = array.shape
        fits = array.ndim in (2, 3) and shape[-1] == width and len(array) > 0
        if not fits or (array.ndim == 3 and shape[1] != n_layers):
            raise ValueError(
                f"{name} must be styles of this model, of shape (n_samples, {width}) "
                f"or (n_samples, {n_layers}, {width}); got shape {shape}."
                + (f" Write {name}[None] for a single one." * (shape == (width,)))
            )
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(f"{name} must hold finite numbers.")
        if model == SEVERAL:
            raise ValueError(
                f"{name} mixes styles of several models, which mean nothing together."
            )
        if model is not None and model != self._fingerprint():
            raise ValueError(
                f"{name} holds styles of another model, which mean nothing to this "
                "one. Draw them with this model's styles, or find them with project."
            )
        array = array.astype(np.float32, copy=False)
        if array.ndim == 2:
            array = np.repeat(array[:, None], n_layers, axis=1)
        return array

    def _marked(self, W):
        W = W.view(Styles)
        W.model, W.of_layers = self._fingerprint(), W.ndim == 3
        return W

    def _fingerprint(self) -> str:
        weights = self.net_.generator.mapping.parameters()
        digest = hashlib.sha256()
        for weight in weights:
            digest.update(weight.detach().cpu().numpy().tobytes())
        return digest.hexdigest()


def net_layers(estimator) -> int:
    """Layers that a style modulates."""
    return estimator.net_.generator.n_layers


def check_truncation(truncation) -> None:
    """Raise unless it is a share."""
    is_number = isinstance(truncation, Real) and not isinstance(truncation, bool)
    if not is_number or not 0 <= truncation <= 1:
        raise ValueError(f"truncation must lie in [0, 1]; got {truncation!r}.")
