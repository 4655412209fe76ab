"""Fits of groups against fits of one process."""

from functools import partial

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from skae import (
    AdversarialAE,
    AutoencoderTransformer,
    ConditionalVAE,
    ConvAE,
    DenoisingAE,
    RecurrentAE,
    VariationalAE,
)
from skae.distributed.ranks import fit_rank, take_fitted
from skae.rows import devices, sources
from skae.rows.sharded import JoinedRows, ShardedRows
from skae.statistics import centred_rows, pca
from skae.statistics.centred_rows import CentredRows
from skae.statistics.pca import principal

N_ROWS, WIDTH = 2000, 12


def curved(n_rows=N_ROWS):
    random = np.random.default_rng(0)
    codes = random.normal(size=(n_rows, 3))
    X = np.tanh(codes @ random.normal(size=(3, WIDTH)))
    return (X + 0.1 * random.normal(size=X.shape)).astype(np.float32)


def shares(n_rows, size):
    """Unequal parts in two stretches a member; the last member has no rows."""
    edges = np.sort(np.random.default_rng(1).integers(0, n_rows, 2 * size - 3))
    stretches = np.split(np.arange(n_rows), edges)
    own = [np.concatenate(stretches[rank :: size - 1]) for rank in range(size - 1)]
    return [*map(np.sort, own), np.empty(0, dtype=int)]


@pytest.fixture
def fitted_in_group(in_group):
    return partial(fitted, in_group)


def fitted(in_group, estimator, X, size=3, y=None, clean=None, **options):
    parts = shares(len(X), size)

    def fit(group):
        own = parts[group.rank]
        local_y = None if clean is None else JoinedRows([clean[own]], "y")
        local = JoinedRows([X[own]])
        return fit_rank(
            estimator, local, own, len(X), group, y, local_y=local_y, **options
        )

    results = in_group(size, fit)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def test_rows_are_read_like_an_array_and_summed_up_exactly(in_group):
    X = curved(500).astype(np.float64)
    X[7, 2] = np.nan
    weight = np.random.default_rng(2).uniform(1, 2, len(X))
    parts = shares(len(X), 3)

    def read(group):
        own = parts[group.rank]
        rows = ShardedRows(JoinedRows([X[own]]), own, len(X), group)
        some = rows[[3, 499, 0, 7]], rows[10:20], rows.selected(np.arange(5, 400))[:3]
        summary = rows.summarized(weight)
        return some, summary, principal(rows, 4, weight)

    expected = principal(X, 4, weight)
    for some, summary, found in in_group(3, read):
        for got, rows in zip(some, (X[[3, 499, 0, 7]], X[10:20], X[5:8]), strict=True):
            np.testing.assert_array_equal(got, rows)
        assert summary.first_missing == (7, 2)
        assert summary.n_rows == len(X)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(
            found.axis_variance, expected.axis_variance, rtol=1e-9
        )
        np.testing.assert_allclose(found.axes, expected.axes, atol=1e-7)


def test_axes_of_many_columns_take_no_rows_of_others(in_group, monkeypatch):
    for module in (pca, centred_rows, sources):
        # As if there were more than 2,000 columns.
        monkeypatch.setattr(module, "_FORMED", 4)
    X = curved(500).astype(np.float64)
    weight = np.random.default_rng(2).uniform(1, 2, len(X))
    parts = shares(len(X), 3)

    def fail(self, rows):
        raise AssertionError("rows are sent")

    def read(group):
        own = parts[group.rank]
        rows = ShardedRows(JoinedRows([X[own]]), own, len(X), group)
        few = CentredRows(rows, weight, np.zeros(WIDTH), 1.0)
        times = few @ np.eye(WIDTH)[:, :2], few.covariance()
        return times, principal(rows, 2, weight)

    expected = principal(X, 2, weight)
    monkeypatch.setattr(ShardedRows, "_block", fail)
    monkeypatch.setattr(ShardedRows, "_gathered", fail)
    scaled = X * np.sqrt(weight / weight.sum())[:, None]
    for (first_columns, covariance), axes in in_group(3, read):
        np.testing.assert_allclose(first_columns, scaled[:, :2], rtol=1e-12)
        np.testing.assert_allclose(covariance, scaled.T @ scaled, rtol=1e-12)
        np.testing.assert_allclose(axes.axis_variance, expected.axis_variance)
        np.testing.assert_allclose(axes.axes, expected.axes, atol=1e-6)


def test_unequal_parts_give_a_model_as_good_as_that_of_one_process(fitted_in_group):
    X = curved()
    estimator = AutoencoderTransformer(3, random_state=0, max_iter=15)
    models = fitted_in_group(estimator, X)
    alone = AutoencoderTransformer(3, random_state=0, max_iter=15).fit(X)
    error, own = (np.mean((m.reconstruct(X) - X) ** 2) for m in (models[0], alone))
    assert error < 1.1 * own
    for other in models[1:]:
        np.testing.assert_array_equal(other.transform(X), models[0].transform(X))
    assert models[0].n_iter_ == alone.n_iter_


def test_the_same_parts_give_the_same_bits(fitted_in_group):
    X = curved()
    estimator = DenoisingAE(8, random_state=3, max_iter=2, noise="gaussian")
    first, second = (fitted_in_group(estimator, X)[0].transform(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_one_member_has_the_bits_of_its_rows_as_a_source(in_group, monkeypatch):
    # Where small, rows of one process are loaded, and their sums added otherwise.
    monkeypatch.setattr(sources, "_LOADED_BYTES", 0)
    monkeypatch.setattr(devices, "_RESIDENT_BYTES", 0)
    X = curved()
    estimator = AutoencoderTransformer(3, random_state=0, max_iter=2)
    rows = JoinedRows([X[:900], X[900:]])
    alone = AutoencoderTransformer(3, random_state=0, max_iter=2).fit(rows)

    def fit(group):
        return fit_rank(estimator, rows, np.arange(len(X)), len(X), group)

    (fitted,) = in_group(1, fit)
    np.testing.assert_array_equal(fitted.transform(X), alone.transform(X))
    np.testing.assert_array_equal(fitted.reconstruct(X), alone.reconstruct(X))
    assert fitted.loss_curve_ == alone.loss_curve_
    assert fitted.validation_scores_ == alone.validation_scores_


def images(X):
    return np.hstack([X, X[:, :4]])


@pytest.mark.parametrize(
    ("estimator", "X", "options"),
    [
        (VariationalAE(3), curved(), {}),
        (AdversarialAE(3), curved(), {}),
        (ConditionalVAE(3), curved(), {"y": np.arange(N_ROWS) % 3}),
        (ConvAE(3, sample_shape=(4, 4)), images(curved()), {}),
        (RecurrentAE(3, sample_shape=(4, 3)), curved(), {}),
        (DenoisingAE(3), curved(), {"clean": 2 * curved()}),
        (AutoencoderTransformer(3), curved(300), {}),
        (
            AutoencoderTransformer(3),
            curved(),
            {"sample_weight": np.arange(N_ROWS) % 5},
        ),
    ],
)
def test_every_autoencoder_is_fitted_by_a_group(estimator, X, options, fitted_in_group):
    estimator.set_params(random_state=0, max_iter=1)
    fitted = take_fitted(estimator, fitted_in_group(estimator, X, **options)[0])
    assert np.isfinite(fitted.loss_curve_).all()
    assert fitted.n_features_in_ == X.shape[1]


def test_an_entry_that_is_refused_is_named_by_its_number_among_all_rows(
    fitted_in_group,
):
    X = curved()
    X[1234, 5] = np.inf
    with pytest.raises(ValueError, match=r"X\[1234, 5\] is inf"):
        fitted_in_group(AutoencoderTransformer(3, random_state=0), X)


def test_parts_of_different_widths_are_refused(in_group):
    X = curved()

    def fit(group):
        own = np.arange(1000) + 1000 * group.rank
        local = JoinedRows([X[own, : WIDTH - group.rank]])
        return fit_rank(AutoencoderTransformer(3), local, own, len(X), group)

    for error in in_group(2, fit):
        assert isinstance(error, ValueError)
        assert "columns 12" in str(error)
        assert "columns 11" in str(error)


class StopsIn(Callback):
    """Wants to stop after a round, in one of the members only."""

    members: list = []

    def on_train_begin(self, net, **kwargs):
        self.is_first = not self.members
        self.members.append(self)

    def on_epoch_end(self, net, **kwargs):
        if self.is_first and len(net.history) == 2:
            net.stop_training = True


def test_a_callback_that_stops_one_member_stops_all(fitted_in_group):
    StopsIn.members.clear()
    estimator = VariationalAE(3, random_state=0, callbacks=[StopsIn()])
    models = fitted_in_group(estimator, curved())
    assert [len(model.loss_curve_) for model in models] == [2, 2, 2]
    assert {model.stop_reason_ for model in models} == {"stopped by a callback"}


def test_batch_norm_statistics_are_those_of_all_rows(in_group):
    X = curved()

    def averaged(group):
        from skae.training.spread import Spread

        own = X[: 500 * (group.rank + 1)] if group.rank else X[500:]
        layer = torch.nn.BatchNorm1d(WIDTH, momentum=None)
        layer(torch.from_numpy(own))

        class Batches:
            share = len(own) / 2500

        Batches.group = group
        Spread(Batches()).average([layer])
        return layer

    every = np.concatenate([X[500:], X[:1000]])
    for layer in in_group(2, averaged):
        np.testing.assert_allclose(layer.running_mean, every.mean(0), atol=1e-5)
        np.testing.assert_allclose(layer.running_var, every.var(0), rtol=1e-2)
