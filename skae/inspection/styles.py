"""What styles do: mixtures as a table, truncation as strips, samples as they grew.

The displays use the public methods of ``GAN(architecture="style")``, and the pictures
that `skae.callbacks.SampleGrid` has kept.
"""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skae.checks.integers import check_integer
from skae.inspection.drawing import (
    GridDisplay,
    check_has,
    display,
    in_shape,
)
from skae.inspection.generated import single_styles

__all__ = ["GrowthDisplay", "StyleMixingDisplay", "TruncationDisplay"]

_TRUNCATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


@display
class StyleMixingDisplay(GridDisplay):
    """A table of mixed styles: coarse features by rows, fine ones by columns.

    The first column and the first row are the images of the styles themselves; the
    corner says which is which.

    Parameters
    ----------
    coarse : ndarray of shape (n_rows, *sample_shape)
    fine : ndarray of shape (n_columns, *sample_shape)
    mixed : ndarray of shape (n_rows, n_columns, *sample_shape)

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_rows + 1, n_columns + 1)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import GAN
    >>> from skae.inspection import StyleMixingDisplay
    >>> images = load_digits().images[:200] / 16
    >>> gan = GAN(architecture="style", channels=4, max_iter=1, early_stopping=False)
    >>> gan = gan.set_params(random_state=0).fit(images)
    >>> display = StyleMixingDisplay.from_estimator(gan, 3, 4, n_layers=1)
    >>> display.axes_.shape
    (4, 5)
    """

    coarse: Any
    fine: Any
    mixed: Any
    kind: str = "image"

    @classmethod
    def from_estimator(
        cls,
        estimator,
        coarse=4,
        fine=6,
        *,
        n_layers,
        sample_shape=None,
        kind="auto",
        axes=None,
        random_state=None,
    ):
        """Mix styles, and draw.

        Parameters
        ----------
        estimator : fitted GAN
            With ``architecture="style"``.
        coarse, fine : int or array-like of styles, default=4 and 6
            Styles, or how many to draw.
        n_layers : int
            Layers that follow the coarse styles, see `GAN.mix`.
        random_state : int, RandomState or None, default=None
            Decides the styles that are drawn; None is the estimator's own.

        """
        check_has(estimator, "mix", "Mixed styles")
        sizes = []
        for name, value in (("coarse", coarse), ("fine", fine)):
            if np.ndim(value) == 0:
                check_integer(name, value)
            sizes.append(value if np.ndim(value) == 0 else 0)
        drawn = None
        if any(sizes):
            drawn = estimator.styles(sum(sizes), random_state=random_state)
        if sizes[0]:
            coarse = drawn[: sizes[0]]
        if sizes[1]:
            fine = drawn[sizes[0] :]
        styles = single_styles(estimator, coarse, "coarse")
        coarse = np.concatenate(styles)
        fine = np.concatenate(single_styles(estimator, fine, "fine"))
        mixed = [estimator.mix(style, fine, n_layers) for style in styles]
        parts = estimator.from_styles(coarse), estimator.from_styles(fine), *mixed
        samples, kind = in_shape(estimator, np.concatenate(parts), sample_shape, kind)
        n_rows, n_columns = len(coarse), len(fine)
        table = samples[n_rows + n_columns :]
        return cls(
            coarse=samples[:n_rows],
            fine=samples[n_rows : n_rows + n_columns],
            mixed=table.reshape(n_rows, n_columns, *samples.shape[1:]),
            kind=kind,
        ).plot(axes)

    def plot(self, axes=None):
        """Draw the table."""
        n_rows, n_columns = np.shape(self.mixed)[:2]
        empty = np.full_like(self.fine[:1], np.nan)
        cells = [empty, self.fine]
        for image, row in zip(self.coarse, self.mixed, strict=True):
            cells += [image[None], row]
        form = self._form(self.mixed)
        cells, shape = np.concatenate(cells), (n_rows + 1, n_columns + 1)
        axes = self._draw(form, cells, shape, axes)
        corner = axes[0, 0]
        corner.set_axis_off()
        options = {"transform": corner.transAxes, "fontsize": "small"}
        corner.text(0.95, 0.5, "fine \N{RIGHTWARDS ARROW}", ha="right", **options)
        corner.text(0.5, 0.05, "coarse \N{DOWNWARDS ARROW}", ha="center", **options)
        return self


@display
class TruncationDisplay(GridDisplay):
    """Strips of samples, from the mean style to each sample's own.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_truncations, *sample_shape)
    truncations : array-like of float
        Of the columns.
    y : array-like of shape (n_samples,), optional
        Class or value of each sample, written beside its strip.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_samples, n_truncations)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import GAN
    >>> from skae.inspection import TruncationDisplay
    >>> images = load_digits().images[:200] / 16
    >>> gan = GAN(architecture="style", channels=4, max_iter=1, early_stopping=False)
    >>> gan = gan.set_params(random_state=0).fit(images)
    >>> display = TruncationDisplay.from_estimator(gan, 3)
    >>> display.axes_.shape
    (3, 5)
    """

    samples: Any
    truncations: Any
    kind: str = "image"
    y: Any = None

    @classmethod
    def from_estimator(
        cls,
        estimator,
        n_samples=4,
        *,
        truncations=_TRUNCATIONS,
        y=None,
        sample_shape=None,
        kind="auto",
        axes=None,
        random_state=None,
    ):
        """Sample at several truncations, and draw.

        Parameters
        ----------
        estimator : fitted GAN
            With ``architecture="style"``.
        n_samples : int, default=4
            Rows of the picture.
        truncations : sequence of float, default=(0, 0.25, 0.5, 0.75, 1)
            In [0, 1], one for each column.
        y : scalar or array-like of shape (n_samples,), optional
            Condition of the samples, for a model fitted with y. None takes the classes
            in turn where the model is fitted with classes.
        random_state : int, RandomState or None, default=None
            Decides the samples; None is the estimator's own.

        """
        check_has(estimator, "styles", "Truncated samples")
        check_integer("n_samples", n_samples)
        state = estimator.random_state if random_state is None else random_state
        # The same samples for every column.
        state = np.random.RandomState() if state is None else check_random_state(state)
        seed = int(state.randint(2**31 - 1))
        if y is None and hasattr(estimator, "classes_"):
            y = np.resize(estimator.classes_, n_samples)
        options = {"random_state": seed} | ({} if y is None else {"y": y})
        truncations = np.asarray(truncations)
        if truncations.ndim != 1 or not len(truncations):
            raise ValueError(
                "truncations must be one or more numbers in [0, 1], such as (0.5, 1); "
                f"got {truncations.tolist()!r}."
            )
        columns = [
            estimator.sample(n_samples, truncation=each, **options)
            for each in truncations.tolist()
        ]
        samples = np.concatenate(columns)
        samples, kind = in_shape(estimator, samples, sample_shape, kind)
        samples = samples.reshape(len(columns), n_samples, *samples.shape[1:])
        return cls(
            samples=samples.swapaxes(0, 1),
            truncations=truncations,
            kind=kind,
            y=None if y is None else _of_each(y, n_samples),
        ).plot(axes)

    def plot(self, axes=None):
        """Draw the strips."""
        samples = np.asarray(self.samples)
        form = self._form(samples)
        cells, shape = np.concatenate(samples), samples.shape[:2]
        axes = self._draw(form, cells, shape, axes, n_heads=1)
        _head(axes[0], "truncation", [f"{each:g}" for each in self.truncations])
        y = [] if self.y is None else self.y
        for ax, value in zip(axes[:, 0], y, strict=False):
            ax.set_ylabel(str(value), fontsize="small")
        return self


@display
class GrowthDisplay(GridDisplay):
    """Samples of a GAN through its training, one a row.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_stages, *sample_shape)
    epochs : array-like of float
        Of the columns.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_samples, n_stages)

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from skae import GAN
    >>> from skae.callbacks import SampleGrid
    >>> from skae.inspection import GrowthDisplay
    >>> images = load_digits().images[:200] / 16
    >>> grid = SampleGrid(os.path.join(tempfile.mkdtemp(), "samples.png"))
    >>> gan = GAN(architecture="progressive", channels=4, max_iter=4, random_state=0)
    >>> gan = gan.set_params(callbacks=[grid], early_stopping=False).fit(images)
    >>> GrowthDisplay.from_estimator(gan, 2).axes_.shape
    (2, 4)
    """

    samples: Any
    epochs: Any
    kind: str = "image"

    @classmethod
    def from_estimator(
        cls,
        estimator,
        n_samples=3,
        *,
        n_stages=8,
        sample_shape=None,
        kind="auto",
        axes=None,
    ):
        """Draw what a `skae.callbacks.SampleGrid` has kept of a fit.

        Parameters
        ----------
        estimator : fitted GAN
            With a ``SampleGrid`` in ``callbacks``.
        n_samples : int, default=3
            Rows of the picture.
        n_stages : int, default=8
            Columns, at most; they are spread over the training.

        """
        check_has(estimator, "sample", "Samples in training")
        check_integer("n_samples", n_samples)
        check_integer("n_stages", n_stages)
        grids = [each for each in map(_bare, estimator.callbacks or ()) if each]
        if not grids:
            raise ValueError(
                "Samples in training need a SampleGrid in the estimator's callbacks, "
                "which has recorded its fit."
            )
        kept = np.stack(grids[0]["samples_"], axis=1)
        if n_samples > len(kept):
            raise ValueError(
                f"n_samples={n_samples} is more than the {len(kept)} samples that the "
                "SampleGrid kept; its n_samples says how many."
            )
        kept = kept[:n_samples]
        n_stages = min(n_stages, kept.shape[1])
        stages = np.linspace(0, kept.shape[1] - 1, n_stages).round().astype(int)
        kept, epochs = kept[:, stages], np.asarray(grids[0]["epochs_"])[stages]
        samples, kind = in_shape(estimator, np.concatenate(kept), sample_shape, kind)
        samples = samples.reshape(*kept.shape[:2], *samples.shape[1:])
        return cls(samples=samples, epochs=epochs, kind=kind).plot(axes)

    def plot(self, axes=None):
        """Draw the stages."""
        samples = np.asarray(self.samples)
        form = self._form(samples[:, -1])
        cells, shape = np.concatenate(samples), samples.shape[:2]
        axes = self._draw(form, cells, shape, axes, n_heads=1)
        _head(axes[0], "epoch", [f"{each:.3g}" for each in self.epochs])
        return self


def _of_each(y, n_samples) -> list:
    """The condition of each sample; y may be a single one for all."""
    y = np.asarray(y)
    if y.ndim and len(y) == n_samples:
        return list(y)
    return [y[0] if y.ndim and len(y) == 1 else y] * n_samples


def _head(axes, what, values) -> None:
    """Write values above columns, and above the first one what they are."""
    for ax, value in zip(axes, [f"{what} {values[0]}", *values[1:]], strict=True):
        ax.set_title(value, fontsize="small")


def _bare(entry) -> dict | None:
    """What a callback has kept of samples; None where it keeps none."""
    callback = entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry
    kept = {} if isinstance(callback, type) else vars(callback)
    return kept if kept.get("samples_") else None
