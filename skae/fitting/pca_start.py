"""The start as PCA: model units, and anchors from principal axes.

Model units are X centred and divided by one scalar, so that directions keep PCA's
meaning, or, for models that must not depend on X's units, by a unit for each column.
For a Gaussian likelihood that starts as PCA the scalar is PCA's residual standard
deviation; likelihoods of rows that are not centred get X itself. What of the start is
left after training is decided in ``fitting/departure.py``.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skae.parts.anchored import Anchor
from skae.rows.tensors import as_double
from skae.statistics.column_units import pooled_deviation
from skae.statistics.pca import Moments, PCAResult, principal
from skae.training.held_out import Folds

__all__ = [
    "NEGLIGIBLE",
    "Units",
    "anchor_of",
    "member_anchors",
    "network_scales",
    "units_of",
]

# A residual below this share of the variance is rounding: PCA is the answer.
NEGLIGIBLE = 1e-7
# Smallest deviation of a column that the network sees, in those of a typical one.
_FLOOR = 0.3
# Of a code's variance, for one that is all noise or all signal.
_SHARES = 1e-3, 1 - 1e-6
_ROUNDING = 32 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Units:
    """How X and the model's rows relate: x = (X - center) / scale.

    Attributes
    ----------
    center : ndarray of shape (n_features,)
    scale : float or ndarray of shape (n_features,)
    constant : ndarray of shape (n_features,) or None
        The value of columns that were constant in all training, which come back as it;
        NaN for the others.
    """

    # What is read of a file has no more: rows would broadcast to any size.
    __most_axes__ = 1

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
        scale = self.scale if np.ndim(self.scale) == 0 else as_double(self.scale)
        rows = x.cpu().double() * scale + as_double(self.center)
        if self.constant is None:
            return rows
        constant = as_double(self.constant)
        return torch.where(constant.isnan(), rows, constant)

    def limits(self, value_range: tuple[float, float] | None) -> Tensor | None:
        """The smallest and the largest row of the model; None for any."""
        if value_range is None:
            return None
        return self.to_model(np.array(value_range)[:, None] + 0 * self.center)

    def released(self, low, high, groups: np.ndarray | None = None) -> "Units":
        """The units for further rows, whose columns lie between low and high.

        Columns that vary now are constant no longer. Where columns have units of their
        own, those get one, which columns of a group share.
        """
        if self.constant is None:
            return self
        extent = np.fmax(high - self.constant, self.constant - low)
        is_free = extent > _ROUNDING * np.abs(self.constant)
        if not is_free.any():
            return self
        scale, extent = self.scale, np.where(is_free, extent, 0)
        if np.ndim(scale):
            if groups is not None:
                groups = np.unique(groups, return_inverse=True)[1]
                largest = np.zeros(groups.max() + 1)
                np.maximum.at(largest, groups, extent)
                extent = largest[groups]
            # Columns that did not vary have no unit yet: one.
            has_none = (extent > 0) & ~np.isnan(self.constant) & (scale == 1)
            scale = np.where(has_none, extent, scale)
        constant = np.where(is_free, np.nan, self.constant)
        return replace(
            self, scale=scale, constant=None if np.isnan(constant).all() else constant
        )

    @property
    def columns(self) -> Tensor:
        """The unit of each column, float64."""
        scale = as_double(self.scale)
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
    moments: Moments,
    residual: float | None = None,
    *,
    centred: bool = True,
    columns: np.ndarray | None = None,
) -> Units:
    """Model units from moments, and from one of the following.

    Parameters
    ----------
    residual : float, optional
        PCA's mean squared error per entry; the mean variance where left out.
    centred : bool, default=True
        False for likelihoods of X as it is.
    columns : ndarray of shape (n_features,), optional
        A unit for each column, in X's units.
    """
    constant = None
    if not (moments.variance > 0).all():
        constant = np.where(moments.variance > 0, np.nan, moments.mean)
    if not centred:
        return Units(np.zeros_like(moments.mean), 1.0, constant)
    if columns is not None:
        return Units(moments.center, columns, constant)
    square = float(moments.variance.mean()) if residual is None else residual
    scale = moments.unit * float(np.sqrt(square)) if square > 0 else 1.0
    return Units(moments.center, scale, constant)


def network_scales(
    moments: Moments, units: Units, groups: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """r and s of `AnchoredCodec`, each of shape ``(n_features,)``.

    r is one over each column's standard deviation in model units, with a floor; columns
    of a group share one. s is the standard deviation where it is below one.
    """
    deviation = np.sqrt(moments.variance) * (moments.unit / units.scale)
    output_scale = np.minimum(deviation, 1)
    if groups is not None:
        deviation = pooled_deviation(deviation, groups)
    floor = _FLOOR * np.sqrt(np.mean(deviation**2))
    deviation = np.maximum(deviation, floor)
    input_scale = 1 / np.where(deviation > 0, deviation, 1)
    return torch.from_numpy(input_scale).float(), torch.from_numpy(output_scale).float()


def anchor_of(
    pca: PCAResult, units: Units, likelihood, *, shrunk: bool = False
) -> Anchor:
    """The anchor of a principal component analysis, or of a probabilistic one.

    The likelihood's link carries the reconstruction to raw outputs; codes are shrunk
    in probabilistic PCA.
    """
    ratio = pca.unit / units.scale
    scale = np.sqrt(pca.axis_variance) * ratio
    scale = np.maximum(scale, max(1e-6 * scale.max(initial=0), 1e-12))
    center = as_double((pca.mean - units.center) / units.scale).float()
    shrinkage = np.ones(len(scale))
    if shrunk:
        n_features, n_components = pca.axes.shape
        n_rest = max(1, n_features - n_components)
        noise = pca.residual * n_features / n_rest * ratio**2
        shrinkage = np.clip(1 - noise / scale**2, *_SHARES)
    return Anchor(
        as_double(np.ascontiguousarray(pca.axes)).float(),
        as_double(scale).float(),
        center,
        likelihood.link(center),
        likelihood.link_derivative(center),
        as_double(shrinkage).float(),
    )


def member_anchors(
    anchor: Anchor, folds: Folds, likelihood, random_state, *, shrunk: bool = False
) -> Anchor:
    """The anchor of all rows and one for each fold, along a leading axis.

    Those of the folds come from their own training rows, in model units, and have the
    signs of the first.
    """
    anchors = [anchor]
    full_axes = anchor.axes.numpy()
    rows = folds.x.cpu().double().numpy()
    weight = None if folds.weight is None else folds.weight.cpu().double().numpy()
    model_units = Units(np.zeros(rows.shape[1]), 1.0)
    for fold in range(folds.n_folds):
        kept = folds.training_rows(fold)
        fold_weight = None if weight is None else weight[kept]
        pca = principal(rows[kept], full_axes.shape[1], fold_weight, random_state)
        signs = np.sign(np.sum(pca.axes * full_axes, axis=0))
        pca = replace(pca, axes=pca.axes * np.where(signs == 0, 1, signs))
        anchors.append(anchor_of(pca, model_units, likelihood, shrunk=shrunk))
    return Anchor(*(torch.stack(tensors) for tensors in zip(*anchors, strict=True)))
