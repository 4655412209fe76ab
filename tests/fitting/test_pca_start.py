"""From principal components to the codec's units and back."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from skae.fitting.pca_start import (
    Units,
    anchor_of,
    member_anchors,
    network_scales,
    units_of,
)
from skae.parts.anchored import AnchoredCodec
from skae.parts.dense import Dense
from skae.parts.likelihoods import Bernoulli, Gaussian
from skae.rows.chunks import Rows
from skae.statistics.pca import Moments, principal
from skae.training.held_out import Folds

K = 2


def table(seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    spread = random.standard_normal((80, 5)) * [5.0, 3.0, 1.0, 1.0, 1.0]
    return scale * (spread @ np.linalg.qr(random.standard_normal((5, 5)))[0] + 4)


def columns(variance):
    """Moments of columns of mean one."""
    return Moments(mean=np.ones(len(variance)), unit=1.0, variance=variance)


def beside_path(anchor, found, units):
    codec = Dense((8,)).build(5, K, generator=generator())
    scales = network_scales(found, units)
    return AnchoredCodec(codec, anchor, *scales, generator=generator())


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-20])
def test_an_anchored_codec_reconstructs_as_pca_in_x_units(scale):
    X = table(scale=scale)
    found = principal(X, K)
    units = units_of(found, found.residual)
    rows = Rows(X, units.center, units.scale, torch.device("cpu"))
    anchor = anchor_of(found, units, Gaussian())
    codec = beside_path(anchor, found, units)
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
    units = units_of(found, found.residual)
    pca = PCA(K).fit(X)
    residual = np.mean((X - pca.inverse_transform(pca.transform(X))) ** 2)
    assert units.scale == pytest.approx(residual**0.5)


def test_other_likelihoods_take_x_as_it_is():
    units = units_of(columns(np.ones(3)), 0.5, centred=False)
    assert units.scale == 1
    assert not units.center.any()


def test_without_variance_the_scale_is_one():
    assert units_of(columns(np.zeros(3))).scale == 1


def test_the_bernoulli_anchor_meets_the_mean():
    X = 1 / (1 + np.exp(-table()))
    found = principal(X, K)
    units = units_of(found, centred=False)
    anchor = anchor_of(found, units, Bernoulli())
    codec = beside_path(anchor, found, units)
    mean = torch.as_tensor(X.mean(0, keepdims=True), dtype=torch.float)
    back = Bernoulli().mean(codec.decode(codec.encode(mean)))
    torch.testing.assert_close(back, mean, rtol=1e-4, atol=1e-4)


def test_input_scales_are_inverse_deviations_with_a_floor():
    variance = np.array([4.0, 4.0, 1e-8, 0.0])
    scale, _ = network_scales(columns(variance), Units(np.ones(4), 2.0))
    floor = 0.3 * np.sqrt(np.mean(variance / 4))
    np.testing.assert_allclose(scale, [1, 1, 1 / floor, 1 / floor], rtol=1e-6)
    still = columns(np.zeros(2))
    assert network_scales(still, Units(np.ones(2), 1.0))[0].tolist() == [1, 1]


def test_each_fold_has_the_pca_of_its_training_rows_with_common_signs():
    X = table()
    full = principal(X, K)
    units = units_of(full, full.residual)
    rows = Rows(X, units.center, units.scale, torch.device("cpu"))
    folds = Folds(rows[:], 4, generator())
    anchor = anchor_of(full, units, Gaussian())
    anchors = member_anchors(anchor, folds, Gaussian(), None)
    assert anchors.axes.shape == (5, 5, K)
    assert all(map(torch.equal, (tensor[0] for tensor in anchors), anchor))
    for fold in range(4):
        pca = PCA(K).fit(X[folds.training_rows(fold)])
        axes = anchors.axes[fold + 1].double().numpy()
        np.testing.assert_allclose(
            np.abs(np.sum(axes * pca.components_.T, 0)), 1, rtol=1e-5
        )
        assert (np.sum(axes * full.axes, 0) > 0).all()
        center = anchors.center[fold + 1].double().numpy() * units.scale + units.center
        np.testing.assert_allclose(center, pca.mean_, rtol=1e-4)


def test_constant_columns_come_back_exactly():
    X = table()
    X[:, 1], X[:, 3] = 0.5, -3e5
    found = principal(X, K)
    for units in (
        units_of(found, found.residual),
        units_of(found, centred=False),
        units_of(found, columns=np.linspace(0.5, 1.5, 5)),
    ):
        # Whatever the model says of them.
        back = units.to_x(torch.randn(80, 5, generator=generator())).numpy()
        assert (back[:, [1, 3]] == X[:, [1, 3]]).all()
        assert (back[:, [0, 2, 4]] != X[:, [0, 2, 4]]).all()
        there = units.to_model(X, torch.float64)
        rest = units.to_x(there)[:, [0, 2, 4]].numpy()
        np.testing.assert_allclose(rest, X[:, [0, 2, 4]], rtol=1e-12)


def test_columns_of_different_units_have_one_each():
    X = table() * [1, 1e3, 1e-3, 1, 1]
    found = principal(X, K)
    units = units_of(found, columns=X.std(0))
    np.testing.assert_allclose(units.to_model(X).std(0, correction=0), 1, rtol=1e-5)
    np.testing.assert_allclose(units.to_x(units.to_model(X)), X, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(units.columns, X.std(0))
    assert units.of_codes == 1
    assert units_of(found, found.residual).of_codes == pytest.approx(
        found.residual**0.5 * found.unit
    )


def test_columns_of_small_deviations_move_in_them():
    variance = np.array([4.0, 1.0, 0.25, 0.0])
    _, scale = network_scales(columns(variance), Units(np.ones(4), 2.0))
    np.testing.assert_allclose(scale, [1, 0.5, 0.25, 0])


def test_columns_of_a_group_share_their_input_scale():
    variance = np.array([1.0, 9.0, 4.0, 4.0])
    groups = np.array([0, 0, 1, 1])
    scale, _ = network_scales(columns(variance), Units(np.ones(4), 1.0), groups)
    np.testing.assert_allclose(scale, [5**-0.5, 5**-0.5, 0.5, 0.5])


def test_shrunk_anchors_are_probabilistic_pca():
    X = table()
    found = principal(X, K)
    units = units_of(found, found.residual)
    anchor = anchor_of(found, units, Gaussian(), shrunk=True)
    pca = PCA(K).fit(X)
    expected = 1 - pca.noise_variance_ / pca.explained_variance_
    np.testing.assert_allclose(anchor.shrinkage, expected, rtol=1e-5)
    assert (anchor_of(found, units, Gaussian()).shrinkage == 1).all()
