"""Anchors from principal components: the codec's start in model units.

Model units are X centred and divided by one scalar, so that directions keep PCA's
meaning. For a Gaussian likelihood the scalar is PCA's residual standard deviation, for
others X is taken as it is.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skae.parts.dense import Anchor
from skae.training.principal import Principal, principal
from skae.training.selection import Folds

__all__ = [
    "NEGLIGIBLE",
    "Units",
    "anchor_of",
    "fold_anchors",
    "input_scale_of",
    "stacked",
    "units_of",
]

_FLOOR = 0.3
# A residual below this share of the variance is rounding: PCA is the answer.
NEGLIGIBLE = 1e-7


@dataclass(frozen=True)
class Units:
    """How X and the model's rows relate: x = (X - center) / scale."""

    center: np.ndarray
    scale: float

    def to_model(self, block: np.ndarray) -> Tensor:
        """Rows of X as float32 rows of the model."""
        # Sums follow the memory layout, which frames and slices bring along.
        scaled = np.ascontiguousarray((block - self.center) / self.scale)
        return torch.from_numpy(scaled).float()


def units_of(mean, unit, variance, residual=None, *, centred=True) -> Units:
    """Model units from moments in X's units.

    Parameters
    ----------
    mean : ndarray of shape (n_features,)
    unit : float
        Unit of the next two.
    variance : ndarray of shape (n_features,)
    residual : float, optional
        PCA's mean squared error per entry; the mean variance where left out.
    centred : bool, default=True
        False for likelihoods that judge X as it is.
    """
    if not centred:
        return Units(np.zeros_like(mean), 1.0)
    square = float(variance.mean()) if residual is None else residual
    return Units(mean, unit * float(np.sqrt(square)) if square > 0 else 1.0)


def input_scale_of(variance: np.ndarray, unit: float, scale: float) -> Tensor:
    """r: one over each feature's standard deviation, floored, in model units."""
    deviation = np.sqrt(variance) * (unit / scale)
    floor = _FLOOR * np.sqrt(np.mean(deviation**2))
    deviation = np.maximum(deviation, floor)
    return torch.as_tensor(1 / np.where(deviation > 0, deviation, 1), dtype=torch.float)


def anchor_of(found: Principal, units: Units, likelihood) -> Anchor:
    """The anchor of a principal component analysis."""
    ratio = found.unit / units.scale
    scale = np.sqrt(found.axis_variance) * ratio
    scale = np.maximum(scale, max(1e-6 * scale.max(initial=0), 1e-12))
    center = (found.mean - units.center) / units.scale
    center = torch.as_tensor(center, dtype=torch.float)
    axes = torch.as_tensor(np.ascontiguousarray(found.axes), dtype=torch.float)
    slope = likelihood.link_slope(center)
    return Anchor(
        axes,
        torch.as_tensor(scale, dtype=torch.float),
        center,
        likelihood.link(center),
        slope,
    )


def fold_anchors(
    folds: Folds, full: Principal, units: Units, likelihood, random_state
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
        anchors.append(anchor_of(own, model_units, likelihood))
    return anchors


def stacked(anchors: list[Anchor]) -> Anchor:
    """Anchors of members along a leading axis."""
    return Anchor(*(torch.stack(parts) for parts in zip(*anchors, strict=True)))
