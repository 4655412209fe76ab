"""Axes of images with the same statistics at every pixel, against formed matrices."""

import itertools

import pytest
import torch

from skae.statistics.stationary import StationaryAxes

SHAPE = (2, 5, 4)


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.randn(60, *SHAPE, generator=generator, dtype=torch.float64)
    return smooth.cumsum(-1).cumsum(-2).flatten(1)


def autocorrelation(x, weight):
    """Entry by entry: the mean over images and pairs of pixels of one displacement."""
    images = x.view(-1, *SHAPE)
    center = (weight @ x).view(SHAPE).mean((1, 2))
    images = images - center[:, None, None]
    sums, counts = {}, {}
    places = list(itertools.product(*map(range, SHAPE)))
    for (a, i, j), (b, k, m) in itertools.product(places, places):
        key = a, b, i - k, j - m
        product = weight @ (images[:, a, i, j] * images[:, b, k, m])
        sums[key] = sums.get(key, 0) + product
        counts[key] = counts.get(key, 0) + 1
    rows = [
        [sums[a, b, i - k, j - m] / counts[a, b, i - k, j - m] for b, k, m in places]
        for a, i, j in places
    ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_axes_are_those_of_the_formed_matrix(x, share, weighted):
    weight = torch.ones(len(x), dtype=torch.float64)
    if weighted:
        weight[::2] = 3.0
    found = StationaryAxes(x, SHAPE, weight if weighted else None)
    axes = found.axes(3, share, torch.Generator().manual_seed(1))
    weight /= weight.sum()
    centred = x - weight @ x
    formed = (1 - share) * (centred.mT * weight) @ centred
    formed += share * autocorrelation(x, weight)
    values, vectors = torch.linalg.eigh(formed)
    expected = vectors[:, values.abs().argsort(descending=True)[:3]]
    # Their spaces: signs are open.
    torch.testing.assert_close(axes @ axes.mT, expected @ expected.mT)


def test_the_center_goes_from_pixels_to_channels(x):
    found = StationaryAxes(x, SHAPE)
    torch.testing.assert_close(found.center(0.0), x.mean(0))
    of_channels = x.view(-1, *SHAPE).mean((0, 2, 3)).repeat_interleave(20)
    torch.testing.assert_close(found.center(1.0), of_channels)
