"""What the codes of a plane are decoded to, by any transformer that inverts."""

from typing import Any

import numpy as np
from scipy.stats import norm

from skae.checks.integers import check_integer
from skae.inspection.drawing import (
    GridDisplay,
    check_has,
    display,
    in_shape,
)
from skae.parts.priors import StandardNormal
from skae.parts.targets import Normal

__all__ = ["ManifoldDisplay"]

_TAILS = 0.02
_MOST_TICKS = 7


@display
class ManifoldDisplay(GridDisplay):
    """Decoded samples on a grid of codes.

    Parameters
    ----------
    samples : ndarray of shape (n_rows, n_columns, *sample_shape)
        Of the codes ``(first[column], second[row])``.
    first, second : ndarray of shape (n_columns,) and (n_rows,)
        Codes along both axes.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One for all images, or one for each sequence or row of bars, the first row of
        axes the highest.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AdversarialAE
    >>> from skae.inspection import ManifoldDisplay
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = AdversarialAE(max_iter=2, random_state=0).fit(X)
    >>> display = ManifoldDisplay.from_estimator(ae, sample_shape=(8, 8))
    >>> display.samples.shape
    (20, 20, 1, 8, 8)
    """

    samples: Any
    first: Any
    second: Any
    kind: str = "bar"

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X=None,
        *,
        y=None,
        n_steps=None,
        sample_shape=None,
        kind="auto",
        axes=None,
    ):
        """Decode a grid of codes and draw.

        Parameters
        ----------
        estimator : fitted transformer with ``inverse_transform``
            Of two components.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), optional
            The grid covers the codes of these rows, without the outermost 2% on each
            side. Left out, it is made of the quantiles of a standard normal code, from
            2% to 98%, for estimators with such a prior.
        y : scalar or array-like of shape (n_outputs,), optional
            Condition of all samples, for conditional estimators.
        n_steps : int, optional
            Codes along each axis; 20 for images and 7 for others when left out.
        axes : matplotlib Axes or ndarray of n_steps * n_steps of them, optional
            One for images; a new figure's when left out.

        """
        check_has(estimator, "inverse_transform", "Manifolds")
        codes = None if X is None else np.asarray(estimator.transform(X))
        width = estimator.n_components_ if codes is None else codes.shape[1]
        if width != 2:
            raise ValueError(
                "A manifold is drawn of codes of two entries; those of this "
                f"{type(estimator).__name__} have {width}."
            )
        probe = _decoded(estimator, np.zeros((1, 2)), y)
        probe, kind = in_shape(estimator, probe, sample_shape, kind)
        if n_steps is None:
            n_steps = 20 if kind == "image" else 7
        check_integer("n_steps", n_steps, least=2)
        first, second = _grid(estimator, codes, n_steps)
        grid = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
        samples = _decoded(estimator, grid, y)
        samples = samples.reshape(n_steps, n_steps, *probe.shape[1:])
        return cls(samples=samples, first=first, second=second, kind=kind).plot(axes)

    def plot(self, axes=None):
        """Draw the grid; both entries of the code grow to the right and upwards."""
        draw = self._draw_tiles if self.kind == "image" else self._draw_panels
        # Rows of the grid upwards.
        draw(np.asarray(self.samples)[::-1], axes)
        return self

    def _draw_tiles(self, samples, axes):
        n_rows, n_columns, n_channels, height, width = samples.shape
        tiles = samples.transpose(2, 0, 3, 1, 4)
        page = tiles.reshape(n_channels, n_rows * height, n_columns * width)
        form = self._form(samples)
        # Five to nine inches.
        form.panel = np.clip([n_columns * width, n_rows * height], 250, 450) / 50 + 0.3
        self._draw(form, [page], (1, 1), axes, of="as images are drawn on one Axes")
        self.axes_ = self.axes_.ravel()
        ax = self.axes_[0]
        ax.images[0].set_extent((-0.5, n_columns - 0.5, -0.5, n_rows - 0.5))
        ax.set_aspect(height / width)
        ax.set_xticks(*_ticks(self.first))
        ax.set_yticks(*_ticks(self.second))
        ax.set(xlabel="code 0", ylabel="code 1")

    def _draw_panels(self, samples, axes):
        form, shape = self._form(samples), samples.shape[:2]
        form.panel, form.margin = (1.0, 0.8), 0.5
        flat = np.concatenate(samples)
        axes = self._draw(form, flat, shape, axes, of="one for each code")
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
        for ax, code in zip(axes[-1], self.first, strict=True):
            ax.set_xlabel(f"{code:.2g}", fontsize="small")
        for ax, code in zip(axes[:, 0], self.second[::-1], strict=True):
            ax.set_ylabel(f"{code:.2g}", fontsize="small")
        self.figure_.supxlabel("code 0", fontsize="medium")
        self.figure_.supylabel("code 1", fontsize="medium")


def _grid(estimator, codes, n_steps):
    """Codes along both axes."""
    if codes is not None:
        low, high = np.quantile(codes, [_TAILS, 1 - _TAILS], axis=0)
        return np.linspace(low, high, n_steps).T
    prior = getattr(getattr(estimator, "net_", None), "prior", None)
    if not isinstance(prior, StandardNormal | Normal):
        raise ValueError(
            f"The codes of this {type(estimator).__name__} are not standard normal: "
            "pass X, rows whose codes set the limits of the grid."
        )
    quantiles = norm.ppf(np.linspace(_TAILS, 1 - _TAILS, n_steps))
    return quantiles, quantiles


def _decoded(estimator, Z, y):
    """Samples of codes as flat rows."""
    condition = {} if y is None else {"y": y}
    return np.asarray(estimator.inverse_transform(Z, **condition)).reshape(len(Z), -1)


def _ticks(codes):
    """Places of some codes, both ends among them, and what is written there."""
    places = np.linspace(0, len(codes) - 1, min(_MOST_TICKS, len(codes)))
    places = np.unique(np.round(places).astype(int))
    return places, [f"{codes[place]:.2g}" for place in places]
