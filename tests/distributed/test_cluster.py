"""Fits on a Dask cluster of three worker processes."""

import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback

import skae.distributed
from skae import AEOutlierDetector, AutoencoderTransformer, DenoisingAE
from skae.callbacks import Checkpoint
from skae.distributed import LostProcessError, placing
from skae.distributed import cluster as cluster_fits
from skae.distributed.placing import PlacedRows, workers_of
from skae.persistence import load, save
from skae.state import container

distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

N_ROWS, WIDTH = 2000, 8
# A deadline in seconds, longer than any test may take.
LONG = 600.0
BRIEF = {"random_state": 0, "max_iter": 2}
pytestmark = [
    pytest.mark.usefixtures("in_time"),
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning",
        "ignore:.*unclosed:ResourceWarning",
        "ignore:Port .* is already in use",
    ),
]


def curved():
    random = np.random.default_rng(0)
    codes = random.normal(size=(N_ROWS, 3))
    X = np.tanh(codes @ random.normal(size=(3, WIDTH)))
    return (X + 0.1 * random.normal(size=X.shape)).astype(np.float32)


X = curved()


def on_workers(client, blocks, workers):
    """A Dask array of these blocks, on these workers in turn."""
    addresses = sorted(workers_of(client))
    placed = [
        # Unlike scattered data, tasks stay on their worker, however busy it is.
        client.submit(
            np.array,
            block,
            workers=[addresses[workers[number % len(workers)]]],
            pure=False,
        )
        for number, block in enumerate(blocks)
    ]
    parts = [
        da.from_delayed(future, block.shape, block.dtype)
        for future, block in zip(placed, blocks, strict=True)
    ]
    return da.concatenate(parts)


def wait_until(is_true):
    """Wait for a condition, such as a file that another process writes."""
    while not is_true():
        time.sleep(0.02)


def test_rows_of_unknown_number_are_fitted(client):
    frame = dd.from_pandas(pd.DataFrame(X), npartitions=3)
    rows = frame.to_dask_array()
    assert np.isnan(rows.shape[0])
    of_rows = AutoencoderTransformer(3, **BRIEF).fit(rows)
    of_frame = AutoencoderTransformer(3, **BRIEF).fit(frame)
    np.testing.assert_array_equal(of_rows.transform(X), of_frame.transform(X))


def rounds_in(path):
    """Losses of the rounds that are over in a checkpoint, if there is one."""
    if not path.exists():
        return []
    tree, _ = container.read(path)
    return [row["row"]["train_loss"] for row in tree["current"]["history"][:-1]]


def test_an_ordinary_estimator_comes_back(client, tmp_path):
    estimator = AutoencoderTransformer(3, **BRIEF)
    # Unequal blocks, columns in two chunks, and a worker without rows.
    blocks = [X[:100], X[100:1300], X[1300:]]
    collection = on_workers(client, blocks, [0, 1]).rechunk({1: 5})
    assert estimator.fit(collection) is estimator
    assert estimator.random_state == 0
    alone = AutoencoderTransformer(3, **BRIEF).fit(X)
    error, own = (np.mean((e.reconstruct(X) - X) ** 2) for e in (estimator, alone))
    assert error < 1.2 * own
    save(estimator, tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(X), estimator.transform(X))


def test_frames_weights_and_clean_rows(client):
    columns = [f"c{number}" for number in range(WIDTH)]
    frame = dd.from_pandas(pd.DataFrame(X, columns=columns), npartitions=4)
    weight = np.r_[np.zeros(50), np.ones(N_ROWS - 50)]
    estimator = DenoisingAE(4, **BRIEF)
    estimator.fit(frame, frame, sample_weight=weight)
    assert [*estimator.feature_names_in_] == columns
    np.testing.assert_allclose(estimator.mean_, X[50:].mean(0), rtol=1e-5)


def test_the_same_blocks_on_the_same_workers_give_the_same_bits(client):
    collection = on_workers(client, [X[:900], X[900:]], [0, 1])
    first, second = (
        AutoencoderTransformer(3, **BRIEF).fit(collection).transform(X)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_estimators_of_one_process_read_the_collection(client):
    collection = da.from_array(X, chunks=(700, WIDTH))
    detector = AEOutlierDetector(random_state=0, max_iter=1)
    skae.distributed.fit(detector, collection, client=client)
    own = AEOutlierDetector(random_state=0, max_iter=1).fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), own.score_samples(X))


def test_what_is_wrong_with_the_rows_is_said_by_fit(client):
    collection = da.from_array(X, chunks=(700, WIDTH))
    estimator = AutoencoderTransformer(3, **BRIEF)
    with pytest.raises(ValueError, match=r"compute_chunk_sizes\(\)"):
        estimator.fit(collection[:, collection[0] > 0])
    bad = X.copy()
    bad[1500, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[1500, 2\] is nan"):
        estimator.fit(da.from_array(bad, chunks=(700, WIDTH)))
    with pytest.raises(ValueError, match="blocks of the same rows"):
        DenoisingAE(3).fit(collection, collection.rechunk((500, WIDTH)))
    with pytest.raises(ValueError, match="y, the clean rows, has 1999 rows and X 2000"):
        DenoisingAE(3).fit(collection, collection[:-1])
    with pytest.raises(TypeError, match="client is for Dask collections"):
        skae.distributed.fit(estimator, X, client=client)
    assert not hasattr(estimator, "net_")


@pytest.mark.parametrize("given", ["tcp://127.0.0.1:8786", 3])
def test_what_is_no_client_is_refused_by_type(given):
    X = da.from_array(curved(), chunks=500)
    with pytest.raises(TypeError, match=f"Client; got {type(given).__name__}"):
        skae.distributed.fit(AutoencoderTransformer(3), X, client=given)


def test_a_cluster_without_workers_is_an_error():
    with (
        distributed.LocalCluster(
            n_workers=0, dashboard_address="127.0.0.1:0", processes=False
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        collection = da.from_array(X, chunks=(700, WIDTH))
        estimator = AutoencoderTransformer(3)
        with pytest.raises(LostProcessError, match="has no workers"):
            skae.distributed.fit(estimator, collection, client=client)


def test_one_worker_goes_on_with_the_checkpoint_of_two(client, tmp_path):
    path, stop = tmp_path / "fit.checkpoint", tmp_path / "stop"

    class Stops(Callback):
        def __init__(self, path):
            self.path = path

        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3 and os.path.exists(self.path):
                raise RuntimeError("stopped after three rounds")

    stop.touch()
    # The seed is drawn: the fit that goes on has that of the file.
    callbacks = [Checkpoint(path, every=0), Stops(str(stop))]
    estimator = AutoencoderTransformer(3, max_iter=6, callbacks=callbacks)
    with pytest.raises(RuntimeError, match="stopped after three rounds"):
        estimator.fit(on_workers(client, [X[:900], X[900:]], [0, 1]))
    stop.unlink()
    reached = rounds_in(path)
    assert len(reached) == 2
    estimator.fit(on_workers(client, [X[:900], X[900:]], [0]))
    np.testing.assert_array_equal(estimator.loss_curve_[:2], reached)
    assert estimator.n_iter_ == 6
    assert estimator.random_state is None
    assert not path.exists()


def test_rows_that_are_gone_are_an_error(client):
    collection = on_workers(client, [X[:900], X[900:]], [0, 1])
    client.cancel(distributed.client.futures_of(collection)[1:])
    with pytest.raises(LostProcessError, match="cannot be computed again"):
        AutoencoderTransformer(3, **BRIEF).fit(collection)


def test_a_second_fit_on_the_same_workers_waits_or_says_so(client, clock):
    collection = on_workers(client, [X[:900], X[900:]], [0, 1])
    address = sorted(workers_of(client))[0]
    lock = distributed.Lock(f"skae-fit-{address}")
    assert lock.acquire(timeout=LONG)
    options = {"client": client, "deadline": LONG}
    try:
        with (
            clock.steps_from(cluster_fits, "_locked", 2 * LONG),
            pytest.raises(LostProcessError, match="Another fit has been running"),
        ):
            skae.distributed.fit(AutoencoderTransformer(3), collection, **options)
    finally:
        lock.release()
    results = []

    def fit():
        estimator = AutoencoderTransformer(3, **BRIEF)
        results.append(skae.distributed.fit(estimator, collection, **options))

    both = [threading.Thread(target=fit) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(LONG)
    codes = [estimator.transform(X) for estimator in results]
    np.testing.assert_array_equal(*codes)


@pytest.fixture
def busy(client, tmp_path):
    """Occupies the only threads of some workers until the test ends."""
    ends = tmp_path / "ends"

    def occupy(begun):
        begun.touch()
        wait_until(ends.exists)

    def busy(workers):
        for number, address in enumerate(workers):
            begun = tmp_path / f"begun{number}"
            tasks.append(client.submit(occupy, begun, workers=[address]))
            wait_until(begun.exists)

    tasks = []
    yield busy
    ends.touch()
    distributed.wait(tasks)


def test_busy_workers_are_named_after_the_deadline(client, busy, clock):
    addresses = sorted(workers_of(client))
    busy(addresses[1:])
    rows = on_workers(client, [X[:900], X[900:]], [0, 1])
    labels = on_workers(client, [X[:900, 0], X[900:, 0]], [2])
    options = {"client": client, "deadline": LONG}
    with (
        clock.steps_from(placing, "_wait", 0.6 * LONG),
        pytest.raises(LostProcessError, match=f"{addresses[1]}, .* no free"),
    ):
        skae.distributed.fit(AutoencoderTransformer(3, **BRIEF), rows, **options)
    alone = on_workers(client, [X], [0])
    with (
        clock.steps_from(cluster_fits, "in_memory", 0.6 * LONG),
        pytest.raises(LostProcessError, match=f"{addresses[2]} have no free thread"),
    ):
        skae.distributed.fit(
            AutoencoderTransformer(3, **BRIEF), alone, sample_weight=labels, **options
        )


def test_blocks_that_take_longer_than_the_deadline_are_waited_for(
    client, clock, tmp_path, monkeypatch
):
    begun, ends, looks = tmp_path / "begun", tmp_path / "ends", []
    is_worked_on = placing._is_worked_on

    def slow(block):
        begun.touch()
        wait_until(ends.exists)
        return block

    def looked(*args):
        looks.append(is_worked_on(*args))
        if len(looks) == 3:
            clock.step = 0.0
            ends.touch()
        return looks[-1]

    rows = da.from_array(X, chunks=(N_ROWS, WIDTH))
    rows = client.persist(rows.map_blocks(slow, meta=X[:0]))
    wait_until(begun.exists)
    monkeypatch.setattr(placing, "_is_worked_on", looked)
    with clock.steps_from(placing, "_wait", 0.6 * LONG):
        placed = PlacedRows.of(rows, client, deadline=LONG)
    assert looks[:3] == [True] * 3
    assert placed.starts.tolist() == [0, N_ROWS]


def test_a_worker_that_dies_is_named_and_the_next_fit_goes_on(client, tmp_path):
    path, pause = tmp_path / "fit.checkpoint", tmp_path / "pause"

    class Pauses(Callback):
        def __init__(self, path):
            self.path = path

        def on_epoch_end(self, net, **kwargs):
            while len(net.history) == 3 and os.path.exists(self.path):
                time.sleep(0.02)

    pause.touch()
    callbacks = [Checkpoint(path, every=0), Pauses(str(pause))]
    estimator = AutoencoderTransformer(
        3, random_state=0, max_iter=5, callbacks=callbacks
    )
    pids = client.run(os.getpid)
    victim = sorted(pids)[-1]

    def kill():
        wait_until(lambda: len(rounds_in(path)) >= 2)
        os.kill(pids[victim], signal.SIGKILL)
        pause.unlink()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    # These rows cannot be computed again without the worker.
    rows = on_workers(client, [X[:400], X[400:900], X[900:]], [0, 1, 2])
    with pytest.raises(LostProcessError, match=f"Worker {victim} was lost"):
        skae.distributed.fit(estimator, rows, client=client, deadline=LONG)
    killing.join()
    assert not hasattr(estimator, "net_")
    reached = rounds_in(path)
    estimator.fit(da.from_array(X, chunks=(400, WIDTH)))
    np.testing.assert_array_equal(estimator.loss_curve_[: len(reached)], reached)
    assert len(estimator.loss_curve_) > len(reached)
    assert not path.exists()


@pytest.mark.parametrize("n_rows", [200, N_ROWS])
def test_names_of_columns_are_kept(client, n_rows):
    names = [f"x{number}" for number in range(WIDTH)]
    frame = dd.from_pandas(pd.DataFrame(X[:n_rows], columns=names), npartitions=3)
    assert AutoencoderTransformer(2, **BRIEF).fit(frame).feature_names_in_.tolist() == (
        names
    )


def test_columns_of_booleans_and_nullable_numbers_are_numbers(client):
    flags = X[:, 0] > 0
    frame = pd.DataFrame(X[:, 1:3]).assign(
        flag=flags, whole=pd.array(np.arange(N_ROWS) % 7, dtype="Int64")
    )
    estimator = AutoencoderTransformer(2, **BRIEF)
    frame.columns = frame.columns.astype(str)
    estimator.fit(dd.from_pandas(frame, npartitions=3))
    numbers = frame.astype(float).to_numpy()
    np.testing.assert_allclose(estimator.mean_, numbers.mean(0), rtol=1e-5)


def test_blocks_narrower_than_the_collection_says_are_refused(client):
    rows = da.from_array(X, chunks=(500, WIDTH))
    narrow = rows.map_blocks(lambda block: block[:, :4], dtype=X.dtype)
    with pytest.raises(ValueError, match="8 columns by its meta, but block 0"):
        AutoencoderTransformer(2, **BRIEF).fit(narrow)


def test_an_empty_record_of_the_client_is_no_cluster_without_workers(
    client, monkeypatch
):
    # As the client's periodic request may leave it at any moment.
    none = {"workers": {}}
    monkeypatch.setattr(client, "scheduler_info", lambda **options: none)
    rows = da.from_array(X, chunks=(900, WIDTH))
    AutoencoderTransformer(3, **BRIEF).fit(rows)
    assert len(workers_of(client)) == 3


def test_clients_of_no_use_are_refused_at_once(client):
    rows = da.from_array(X, chunks=(500, WIDTH))
    closed = distributed.Client(client.scheduler.address, set_as_default=False)
    closed.close()
    with pytest.raises(ValueError, match="client is closed"):
        skae.distributed.fit(AutoencoderTransformer(2), rows, client=closed)
    with pytest.raises(TypeError, match="must be a distributed.Client; got"):
        skae.distributed.fit(AutoencoderTransformer(2), rows, client="tcp://a:1")
