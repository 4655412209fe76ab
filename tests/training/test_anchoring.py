"""From principal components to the codec's units and back."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from skae.parts.dense import Dense
from skae.parts.likelihoods import Bernoulli, Gaussian
from skae.training.anchoring import (
    anchor_of,
    fold_anchors,
    input_scale_of,
    stacked,
    units_of,
)
from skae.training.batches import Rows
from skae.training.principal import principal
from skae.training.selection import Folds

K = 2


def table(seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    spread = random.standard_normal((80, 5)) * [5.0, 3.0, 1.0, 1.0, 1.0]
    return scale * (spread @ np.linalg.qr(random.standard_normal((5, 5)))[0] + 4)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-20])
def test_an_anchored_codec_reconstructs_as_pca_in_x_units(scale):
    X = table(scale=scale)
    found = principal(X, K)
    units = units_of(found.mean, found.unit, found.variance, found.residual)
    rows = Rows(X, units.center, units.scale, torch.device("cpu"))
    anchor = anchor_of(found, units, Gaussian())
    codec = Dense((8,)).build(5, K, generator=generator(), anchor=anchor)
    raw = codec.decode(codec.encode(rows[:])).detach().double().numpy()
    pca = PCA(K).fit(X)
    expected = pca.inverse_transform(pca.transform(X))
    actual = raw * units.scale + units.center
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * scale)
    code = codec.encode(rows[:]).detach().numpy() * units.scale
    np.testing.assert_allclose(code, pca.transform(X), rtol=1e-4, atol=1e-4 * scale)


def test_model_units_make_the_residual_one():
    X = table()
    found = principal(X, K)
    units = units_of(found.mean, found.unit, found.variance, found.residual)
    pca = PCA(K).fit(X)
    residual = np.mean((X - pca.inverse_transform(pca.transform(X))) ** 2)
    assert units.scale == pytest.approx(residual**0.5)


def test_other_likelihoods_take_x_as_it_is():
    units = units_of(np.ones(3), 1.0, np.ones(3), 0.5, centred=False)
    assert units.scale == 1
    assert not units.center.any()


def test_without_variance_the_scale_is_one():
    assert units_of(np.ones(3), 1.0, np.zeros(3)).scale == 1


def test_the_bernoulli_anchor_meets_the_mean():
    X = 1 / (1 + np.exp(-table()))
    found = principal(X, K)
    units = units_of(found.mean, found.unit, found.variance, centred=False)
    anchor = anchor_of(found, units, Bernoulli())
    codec = Dense((8,)).build(5, K, generator=generator(), anchor=anchor)
    mean = torch.as_tensor(X.mean(0, keepdims=True), dtype=torch.float)
    back = Bernoulli().mean(codec.decode(codec.encode(mean)))
    torch.testing.assert_close(back, mean, rtol=1e-4, atol=1e-4)


def test_input_scales_are_inverse_deviations_with_a_floor():
    variance = np.array([4.0, 4.0, 1e-8, 0.0])
    scale = input_scale_of(variance, unit=1.0, scale=2.0)
    floor = 0.3 * np.sqrt(np.mean(variance / 4))
    np.testing.assert_allclose(scale, [1, 1, 1 / floor, 1 / floor], rtol=1e-6)
    assert input_scale_of(np.zeros(2), 1.0, 1.0).tolist() == [1, 1]


def test_each_fold_has_the_pca_of_its_training_rows_with_common_signs():
    X = table()
    full = principal(X, K)
    units = units_of(full.mean, full.unit, full.variance, full.residual)
    rows = Rows(X, units.center, units.scale, torch.device("cpu"))
    folds = Folds(rows[:], 4, generator())
    anchors = fold_anchors(folds, full, units, Gaussian(), None)
    assert len(anchors) == 4
    for fold, anchor in enumerate(anchors):
        pca = PCA(K).fit(X[folds.training_rows(fold)])
        axes = anchor.axes.double().numpy()
        np.testing.assert_allclose(
            np.abs(np.sum(axes * pca.components_.T, 0)), 1, rtol=1e-5
        )
        assert (np.sum(axes * full.axes, 0) > 0).all()
        center = anchor.center.double().numpy() * units.scale + units.center
        np.testing.assert_allclose(center, pca.mean_, rtol=1e-4)
    assert stacked(anchors).axes.shape == (4, 5, K)
