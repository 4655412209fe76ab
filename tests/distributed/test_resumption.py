"""Checkpoints of a group that are taken up by another number of processes."""

import numpy as np
import pytest
from skorch.callbacks import Callback

from skae import AutoencoderTransformer
from skae.callbacks import Checkpoint
from skae.distributed.ranks import fit_rank
from skae.rows.sharded import JoinedRows

N_ROWS, WIDTH, STOP, EPOCHS = 2000, 8, 10, 6


def curved():
    random = np.random.default_rng(0)
    X = np.tanh(random.normal(size=(N_ROWS, 3)) @ random.normal(size=(3, WIDTH)))
    return (X + 0.1 * random.normal(size=X.shape)).astype(np.float32)


X = curved()


class Killed(Exception):
    pass


class Kill(Callback):
    """Ends the training in one of its steps, once."""

    is_over = False

    def __init__(self):
        self.n_steps = 0

    def on_batch_end(self, net, training, **kwargs):
        self.n_steps += 1
        if self.n_steps == STOP and not Kill.is_over:
            raise Killed


def fit(in_group, estimator, size):
    """Models of a group of this size, whose last member has no rows; 0 is no group."""
    if not size:
        return [estimator.fit(X)]
    owners = np.arange(N_ROWS) % max(1, size - 1)

    def fit_one(group):
        own = np.flatnonzero(owners == group.rank)
        local = JoinedRows([X[own]])
        return fit_rank(estimator, local, own, N_ROWS, group)

    return in_group(size, fit_one)


@pytest.mark.parametrize(
    ("before", "after"), [(3, 1), (3, 0), (4, 3), (1, 3), (0, 3), (1, 0)]
)
def test_another_number_of_processes_goes_on(in_group, tmp_path, before, after):
    path = tmp_path / "fit.checkpoint"
    Kill.is_over = False
    callbacks = [Checkpoint(path, every=0), Kill()]
    estimator = AutoencoderTransformer(
        3, random_state=0, max_iter=EPOCHS, callbacks=callbacks
    )
    try:
        results = fit(in_group, estimator, before)
    except Killed as error:
        results = [error]
    assert isinstance(results[0], Exception)
    assert path.exists()
    Kill.is_over = True
    models = fit(in_group, estimator, after)
    for model in models:
        if isinstance(model, Exception):
            raise model
    assert not path.exists()
    n_steps = EPOCHS * (round((1 - estimator.validation_fraction) * N_ROWS) // 256)
    assert models[0].n_iter_ == EPOCHS
    assert models[0].epochs_[-1] == EPOCHS
    if not after:
        # Its state is in the file: no step was taken twice or left out.
        assert estimator.callbacks[1].n_steps == n_steps
    whole = AutoencoderTransformer(3, random_state=0, max_iter=EPOCHS).fit(X)
    error, own = (
        np.mean((each.reconstruct(X) - X) ** 2) for each in (models[0], whole)
    )
    assert error < 1.2 * own
    for model in models[1:]:
        np.testing.assert_array_equal(model.transform(X), models[0].transform(X))
