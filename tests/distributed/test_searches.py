"""Searches and lazy methods on a cluster of worker processes."""

import numpy as np
import pytest
from joblib import parallel_backend
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score

import skae.distributed
from skae.distributed.placing import workers_of

distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")

X, Y = load_digits(return_X_y=True)
X = X[:300] / 16
BRIEF = {"max_iter": 1, "random_state": 0}
pytestmark = [
    pytest.mark.usefixtures("in_time"),
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning",
        "ignore:.*unclosed:ResourceWarning",
    ),
]


def test_searches_choose_as_on_one_process(client):
    grid = {"n_components": [2, 4]}
    estimator = skae.AutoencoderTransformer(**BRIEF)
    search = GridSearchCV(estimator, grid, cv=2)
    with parallel_backend("dask", client=client, wait_for_workers_timeout=300):
        spread = GridSearchCV(estimator, grid, cv=2).fit(X)
        scores = cross_val_score(estimator, X, cv=2)
    search.fit(X)
    for name in ("split0_test_score", "split1_test_score", "mean_test_score"):
        np.testing.assert_array_equal(
            spread.cv_results_[name], search.cv_results_[name]
        )
    np.testing.assert_array_equal(
        spread.best_estimator_.transform(X), search.best_estimator_.transform(X)
    )
    np.testing.assert_array_equal(scores, cross_val_score(estimator, X, cv=2))


def test_searches_on_collections_choose_as_on_arrays(client):
    rows = client.persist(da.from_array(X, chunks=(60, 64)))
    estimator = skae.AutoencoderTransformer(**BRIEF)
    search = GridSearchCV(estimator, {"n_components": [2, 4]}, cv=3)
    # More fits than threads: all wait for blocks, which the same threads compute.
    with parallel_backend("dask", client=client, wait_for_workers_timeout=300):
        search.fit(rows)
    scores = search.cv_results_["mean_test_score"]
    search.fit(X)
    np.testing.assert_allclose(scores, search.cv_results_["mean_test_score"])


def test_a_task_may_fit_on_the_cluster_that_it_runs_on(client):
    place = {"workers": sorted(workers_of(client))[:1]}
    rows = client.persist(da.from_array(X, chunks=(60, 64)), **place)

    def fit(rows):
        estimator = skae.AutoencoderTransformer(2, **BRIEF)
        options = {"client": distributed.get_client(), "deadline": 120}
        return skae.distributed.fit(estimator, rows, **options).n_features_in_

    # The worker has one thread, which is the task's until that waits.
    fits = [client.submit(fit, rows, pure=False, **place) for _ in range(2)]
    assert client.gather(fits) == [64] * 2


def test_workers_give_the_bits_of_this_process(client):
    detector = skae.AEOutlierDetector(2, **BRIEF).fit(X)
    rows = da.from_array(X, chunks=(70, 64))
    lazy = detector.p_values(rows)
    np.testing.assert_array_equal(lazy.compute(), detector.p_values(X))
    codes = skae.DenoisingAE(3, **BRIEF).fit(X).set_output(transform="pandas")
    frame = codes.transform(rows)
    np.testing.assert_array_equal(client.compute(frame).result(300), codes.transform(X))


def test_errors_of_workers_name_the_row(client):
    rows = X.copy()
    rows[200, 5] = np.nan
    lazy = skae.DenoisingAE(3, **BRIEF).fit(X).score_samples(da.from_array(rows, 70))
    with pytest.raises(ValueError, match="In row 200 of X: Input X contains NaN"):
        client.compute(lazy).result(300)
