"""The start of an autoencoder of images: which axes, and what is trained beside them.

`Fit` lets held-out images decide: few images of many pixels determine few axes, and
layers of many weights learn them by heart.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from skae.statistics.pca import PCAResult, principal
from skae.statistics.stationary import StationaryAxes
from skae.training.held_out import HoldOut
from skae.training.schedule import Schedule
from skae.training.trainer import Trainer

__all__ = ["ImageStart", "choose_axes", "path_of_all", "trial", "tried"]

# Of the autocorrelation; none is plain PCA.
_SHARES = (0.5, 1.0)
# Of the error, that other axes than PCA's have to gain.
_GAIN = 0.99
# Of more images for each of their values PCA's axes are well known.
_MANY = 5
_MOST_ENTRIES = 10**8
# A trial has a share of the steps, within bounds, and has to gain a share of the loss.
_TRIAL_SHARE, _FEWEST, _MOST = 1 / 8, 40, 200
_LEAST_GAIN = 3e-3


class ImageStart(NamedTuple):
    """PCA's path, by training images alone.

    Attributes
    ----------
    pca : PCAResult
        The path; its mean is where it is centred.
    residual : float
        Mean squared error per entry of held-out images, in the unit of ``pca`` squared.
    share : float
        Of the autocorrelation in the axes.
    ratio : float
        ``residual`` over that of PCA of the training images.
    """

    pca: PCAResult
    residual: float
    share: float
    ratio: float


def choose_axes(
    X: np.ndarray,
    weight: np.ndarray | None,
    training: np.ndarray,
    held_out: np.ndarray,
    pca: PCAResult,
    sample_shape: tuple[int, ...],
    random_state,
) -> ImageStart | None:
    """The axes of the training images that serve the held-out ones best.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
    training, held_out : ndarray of int
        Row numbers.
    pca : PCAResult
        Of all images.
    sample_shape : tuple (n_channels, height, width)
    random_state : RandomState

    Returns
    -------
    ImageStart or None
        None where PCA of all images is as good as known.
    """
    n_samples, n_features = X.shape
    n_components = pca.axes.shape[1]
    if n_samples > _MANY * n_features or n_samples * n_features > _MOST_ENTRIES:
        return None
    weights = None if weight is None else weight[training]
    plain = principal(X[training], n_components, weights, random_state)
    rows, others = (_single(X[each], pca) for each in (training, held_out))
    of_others = None if weight is None else weight[held_out]
    stationary = StationaryAxes(
        rows, sample_shape, None if weights is None else torch.from_numpy(weights)
    )
    paths = {0.0: (_single(plain.mean[None], pca)[0], _tensor(plain.axes))}
    for share in _SHARES:
        paths[share] = _path(stationary, n_components, share)
    errors = {share: _error(others, *path, of_others) for share, path in paths.items()}
    share = min(errors, key=errors.__getitem__)
    if errors[share] > _GAIN * errors[0.0]:
        share = 0.0
    ratio = errors[share] / max(errors[0.0], np.finfo(float).tiny)
    path = _as_pca(stationary, *paths[share], pca)
    return ImageStart(path, errors[share], share, ratio)


def path_of_all(
    X: np.ndarray, weight: np.ndarray | None, pca: PCAResult, share: float, sample_shape
) -> PCAResult:
    """What `choose_axes` chose, by all images."""
    if not share:
        return pca
    weight = None if weight is None else torch.from_numpy(weight)
    stationary = StationaryAxes(_single(X, pca), sample_shape, weight)
    path = _path(stationary, pca.axes.shape[1], share)
    return _as_pca(stationary, *path, pca)


def trial(schedule: Schedule) -> Schedule | None:
    """A short training; None where the training itself is hardly longer."""
    n_steps = int(np.clip(_TRIAL_SHARE * schedule.n_steps, _FEWEST, _MOST))
    if schedule.n_steps < 2 * n_steps:
        return None
    return replace(schedule, n_steps=n_steps, n_rounds=1, patience=None)


def tried(
    module: Module, schedule: Schedule, batches: Any, judge: HoldOut, generator
) -> tuple[Trainer, bool]:
    """The trainer of a trial, and whether held-out rows gain more than a trifle.

    Parameters
    ----------
    module : Module
        As `Trainer` trains it.
    schedule : Schedule
    batches : iterable of tuple
    judge : HoldOut
    generator : torch.Generator
        Of what is random in the module.
    """
    judge.record_start(module.eval())
    trainer = Trainer(module, schedule=schedule, generator=generator, evaluate=judge)
    trainer.train(batches)
    trainer.release()
    before, after = judge.mean(judge.start_loss), judge(module)
    return trainer, before - after > _LEAST_GAIN * abs(before)


def _path(stationary: StationaryAxes, n_components: int, share: float):
    """Center and axes."""
    generator = torch.Generator("cpu").manual_seed(0)
    return stationary.center(share), stationary.axes(n_components, share, generator)


def _as_pca(stationary, center: Tensor, axes: Tensor, pca: PCAResult) -> PCAResult:
    """A path as a result of PCA, which says of what mean and unit it is."""
    codes = (stationary.x + (stationary.mean - center)) @ axes
    variance = stationary.share_of_rows @ codes.square()
    return replace(
        pca,
        mean=center.double().numpy() * pca.unit + pca.mean,
        axes=axes.double().numpy(),
        axis_variance=variance.double().numpy(),
    )


def _single(X: np.ndarray, pca: PCAResult) -> Tensor:
    """Rows around PCA's mean, in its unit."""
    rows = np.subtract(X, pca.mean, dtype=np.float64) / pca.unit
    return torch.from_numpy(rows).float()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()


def _error(x: Tensor, center: Tensor, axes: Tensor, weight) -> float:
    """Mean squared error per entry."""
    x = x - center
    error = (x - (x @ axes) @ axes.mT).square().mean(1).double()
    return float(np.average(error.numpy(), weights=weight))
