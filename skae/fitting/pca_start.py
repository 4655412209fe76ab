"""Model units, and anchors from principal components: the codec's start in them.

Model units are X centred and divided by one scalar, so that directions keep PCA's
meaning, or, for models that have to be indifferent to X's units, by a unit for each
column. For a Gaussian likelihood that starts as PCA the scalar is PCA's residual
standard deviation; likelihoods of rows as they are get X itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skae.parts.anchored import Anchor
from skae.statistics.pca import Principal, principal
from skae.training.held_out import Folds

__all__ = [
    "NEGLIGIBLE",
    "Units",
    "anchor_of",
    "fold_anchors",
    "input_scale_of",
    "output_scale_of",
    "stacked",
    "units_of",
]

_FLOOR = 0.3
# A residual below this share of the variance is rounding: PCA is the answer.
NEGLIGIBLE = 1e-7
# Of a code's variance, for one that is all noise or all signal.
_SHARES = 1e-3, 1 - 1e-6


@dataclass(frozen=True)
class Units:
    """How X and the model's rows relate: x = (X - center) / scale.

    Attributes
    ----------
    center : ndarray of shape (n_features,)
    scale : float or ndarray of shape (n_features,)
    constant : ndarray of shape (n_features,) or None
        The value of columns that were constant in training, which come back as it;
        NaN for the others.
    """

    center: np.ndarray
    scale: float | np.ndarray
    constant: np.ndarray | None = None

    def to_model(self, block: np.ndarray, dtype=torch.float32) -> Tensor:
        """Rows of X as rows of the model."""
        # Sums follow the memory layout, which frames and slices bring along.
        scaled = np.ascontiguousarray((block - self.center) / self.scale)
        return torch.from_numpy(scaled).to(dtype)

    def to_x(self, x: Tensor) -> Tensor:
        """Rows of the model as float64 rows of X on the CPU."""
        x = x.cpu().double()
        scale = torch.as_tensor(self.scale, dtype=torch.float64)
        rows = x * scale + torch.as_tensor(self.center)
        if self.constant is None:
            return rows
        constant = torch.as_tensor(self.constant)
        return torch.where(constant.isnan(), rows, constant)

    @property
    def columns(self) -> Tensor:
        """The unit of each column, float64."""
        scale = torch.as_tensor(self.scale, dtype=torch.float64)
        return scale.expand(len(self.center)).contiguous()

    @property
    def typical(self) -> float:
        """One number of the size of all units."""
        return float(np.sqrt(np.mean(np.square(self.scale))))

    @property
    def of_codes(self) -> float:
        """The unit of a code that keeps X's units; one where columns have their own."""
        return float(self.scale) if np.ndim(self.scale) == 0 else 1.0


def units_of(
    found, residual=None, *, centred: bool = True, columns: np.ndarray | None = None
) -> Units:
    """Model units from moments.

    Parameters
    ----------
    found : Moments or Principal
    residual : float, optional
        PCA's mean squared error per entry; the mean variance where left out.
    centred : bool, default=True
        False for likelihoods that judge X as it is.
    columns : ndarray of shape (n_features,), optional
        A unit for each column, in X's units.
    """
    constant = None
    if not (found.variance > 0).all():
        constant = np.where(found.variance > 0, np.nan, found.mean)
    if not centred:
        return Units(np.zeros_like(found.mean), 1.0, constant)
    if columns is not None:
        return Units(found.center, columns, constant)
    square = float(found.variance.mean()) if residual is None else residual
    scale = found.unit * float(np.sqrt(square)) if square > 0 else 1.0
    return Units(found.center, scale, constant)


def _deviation(found, units: Units) -> np.ndarray:
    """Standard deviation of each column in model units."""
    return np.sqrt(found.variance) * (found.unit / units.scale)


def input_scale_of(found, units: Units, groups: np.ndarray | None = None) -> Tensor:
    """r: one over each column's standard deviation, floored, in model units.

    Columns of a group share one.
    """
    deviation = _deviation(found, units)
    if groups is not None:
        counts = np.bincount(groups)
        pooled = np.bincount(groups, deviation**2) / np.maximum(counts, 1)
        deviation = np.sqrt(pooled)[groups]
    floor = _FLOOR * np.sqrt(np.mean(deviation**2))
    deviation = np.maximum(deviation, floor)
    return torch.as_tensor(1 / np.where(deviation > 0, deviation, 1), dtype=torch.float)


def output_scale_of(found, units: Units) -> Tensor:
    """s: each column's standard deviation where that is below one model unit."""
    return torch.as_tensor(np.minimum(_deviation(found, units), 1), dtype=torch.float)


def anchor_of(
    found: Principal, units: Units, likelihood, *, shrunk: bool = False
) -> Anchor:
    """The anchor of a principal component analysis.

    Parameters
    ----------
    found : Principal
    units : Units
    likelihood : likelihood part
        Whose link carries the reconstruction to raw outputs.
    shrunk : bool, default=False
        Codes of probabilistic PCA.
    """
    ratio = found.unit / units.scale
    scale = np.sqrt(found.axis_variance) * ratio
    scale = np.maximum(scale, max(1e-6 * scale.max(initial=0), 1e-12))
    center = (found.mean - units.center) / units.scale
    center = torch.as_tensor(center, dtype=torch.float)
    axes = torch.as_tensor(np.ascontiguousarray(found.axes), dtype=torch.float)
    shrinkage = np.ones(len(scale))
    if shrunk:
        n_rest = max(1, found.axes.shape[0] - found.axes.shape[1])
        noise = found.residual * len(found.variance) / n_rest * ratio**2
        shrinkage = np.clip(1 - noise / scale**2, *_SHARES)
    return Anchor(
        axes,
        torch.as_tensor(scale, dtype=torch.float),
        center,
        likelihood.link(center),
        likelihood.link_slope(center),
        torch.as_tensor(shrinkage, dtype=torch.float),
    )


def fold_anchors(
    folds: Folds,
    full: Principal,
    units: Units,
    likelihood,
    random_state,
    *,
    shrunk: bool = False,
) -> list[Anchor]:
    """One anchor a fold, from its own training rows, with the signs of ``full``."""
    rows = folds.x.double().cpu().numpy()
    model_units = Units(np.zeros(rows.shape[1]), 1.0)
    anchors = []
    weight = None if folds.weight is None else folds.weight.double().cpu().numpy()
    for index in range(folds.n_folds):
        kept = folds.training_rows(index)
        own = principal(
            rows[kept],
            full.axes.shape[1],
            None if weight is None else weight[kept],
            random_state,
        )
        signs = np.sign(np.sum(own.axes * full.axes, axis=0))
        axes = own.axes * np.where(signs == 0, 1, signs)
        own = replace(own, axes=axes)
        anchors.append(anchor_of(own, model_units, likelihood, shrunk=shrunk))
    return anchors


def stacked(anchors: list[Anchor]) -> Anchor:
    """Anchors of members along a leading axis."""
    return Anchor(*(torch.stack(parts) for parts in zip(*anchors, strict=True)))
