"""The codes of any fitted transformer as points in the plane, or along a line."""

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
)

from skae.inspection.drawing import PlotDisplay, check_has, display

__all__ = ["LatentDisplay"]

# Colours that can be told apart.
_MOST_CLASSES = 20
# Of whole numbers; more are taken for numbers on a scale.
_MOST_NUMBERS = 12


@display
class LatentDisplay(PlotDisplay):
    """Codes of rows, coloured by class or value.

    Codes of two columns are drawn as they are, wider ones along their two principal
    axes. A single column is drawn against y, or as a histogram without y.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
    y : array-like of shape (n_samples,), optional
        Class labels, up to 20 classes, get a legend; numbers of more than 12 values, or
        with fractions, get a colour bar. Pass class numbers as strings or categories
        for a legend.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skae import AutoencoderTransformer
    >>> from skae.inspection import LatentDisplay
    >>> X, y = load_wine(return_X_y=True)
    >>> ae = make_pipeline(StandardScaler(), AutoencoderTransformer(2, random_state=0))
    >>> display = LatentDisplay.from_estimator(ae.fit(X), X, y)
    >>> display.figure_.savefig("codes.png")  # doctest: +SKIP
    """

    codes: Any
    y: Any = None

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None):
        """Encode rows and draw.

        Parameters
        ----------
        estimator : fitted transformer
        y : array-like of shape (n_samples,), optional
            Class labels or numbers.
        """
        check_has(estimator, "transform", "Codes")
        return cls(codes=np.asarray(estimator.transform(X)), y=y).plot(ax)

    def plot(self, ax=None):
        """Draw the codes."""
        codes = check_array(self.codes, input_name="codes")
        name = getattr(self.y, "name", None) or "y"
        y = classes = None
        if self.y is not None:
            check_consistent_length(codes, self.y)
            y = column_or_1d(self.y)
            # Missing labels cannot be sorted among the others.
            y = y.astype(str) if y.dtype.kind == "O" else y
            is_category = str(getattr(self.y, "dtype", "")) == "category"
            classes = _classes(y, are_numbers=y.dtype.kind in "iuf" and not is_category)
        ax = self._start(ax)
        points, labels = _plane(codes)
        ax.set_xlabel(labels[0])
        if len(labels) == 2:
            _draw_plane(ax, points, y, classes, name)
            ax.set_ylabel(labels[1])
        else:
            _draw_line(ax, points[:, 0], y, classes, name)
        return self


def _palette(n_colors):
    from matplotlib import colormaps

    return colormaps["tab10" if n_colors <= 10 else "tab20"].colors[:n_colors]


def _draw_plane(ax, points, y, classes, name):
    size = _point_size(len(points))
    if classes is None:
        values = ax.scatter(*points.T, c=y, s=size)
        if y is not None:
            ax.figure.colorbar(values, ax=ax, label=name)
        return
    for label, color in zip(classes, _palette(len(classes)), strict=True):
        ax.scatter(*points[y == label].T, s=size, color=color, label=str(label))
    ax.legend(
        title=name,
        ncols=1 if len(classes) <= 10 else 2,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        markerscale=1.5,
    )


def _draw_line(ax, code, y, classes, name):
    ax.set_ylabel("rows" if y is None else name)
    if y is None:
        ax.hist(code, bins=40)
    elif classes is None:
        ax.scatter(code, y, s=_point_size(len(code)))
    else:
        # Points of one class would hide each other on one line.
        place = np.searchsorted(classes, y)
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(code))
        colors = np.asarray(_palette(len(classes)))[place]
        ax.scatter(code, place + jitter, s=_point_size(len(code)), c=colors)
        ax.set_yticks(range(len(classes)), map(str, classes))


def _plane(codes):
    """Codes in at most two columns, and what these are called."""
    width = codes.shape[1]
    if width <= 2:
        return codes, ["code"] if width == 1 else ["code 0", "code 1"]
    with np.errstate(invalid="ignore"):  # The shares of codes that do not vary.
        pca = PCA(2, random_state=0).fit(codes)
    total = codes.var(axis=0, ddof=1).sum() or 1.0
    labels = [
        f"PCA axis {axis} of {width} code columns ({variance / total:.0%})"
        for axis, variance in enumerate(pca.explained_variance_)
    ]
    return pca.transform(codes), labels


def _classes(y, are_numbers):
    """The classes of labels; None for numbers that are better on a scale."""
    classes = np.unique(y)
    if are_numbers:
        is_whole = np.all(classes == np.round(classes))
        return classes if is_whole and len(classes) <= _MOST_NUMBERS else None
    if len(classes) <= _MOST_CLASSES:
        return classes
    raise ValueError(
        f"y has {len(classes)} classes; colours distinguish {_MOST_CLASSES}. Group "
        "them, or pass numbers for a colour bar."
    )


def _point_size(n_points):
    return float(np.clip(8000 / n_points, 3, 30))
