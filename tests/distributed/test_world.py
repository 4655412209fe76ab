"""Fits of processes that find one another by the environment, as under torchrun."""

import multiprocessing
import os
import socket
from contextlib import suppress

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

import skae.distributed
from skae import AEOutlierDetector, AutoencoderTransformer
from skae.callbacks import Checkpoint
from skae.distributed.world import world_size

N_ROWS, WIDTH = 2000, 6
# Seconds that only a test that fails waits for.
_LONGEST = 300.0
BRIEF = {"random_state": 0, "max_iter": 1}


def rows():
    random = np.random.default_rng(0)
    X = np.tanh(random.normal(size=(N_ROWS, 2)) @ random.normal(size=(2, WIDTH)))
    return (X + 0.1 * random.normal(size=X.shape)).astype(np.float32)


class StopsOnce(Callback):
    """Ends the first training of this process after its first round."""

    is_over = False

    def on_epoch_end(self, net, **kwargs):
        if not StopsOnce.is_over:
            StopsOnce.is_over = True
            raise RuntimeError("stopped")


def _fit(path, rank, size, port, answers):
    """In a process of its own: fits that work, and some that do not."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(place, RANK=str(rank), WORLD_SIZE=str(size))
    X = np.load(path, mmap_mode="r")
    callbacks = [Checkpoint(f"{path}.checkpoint", every=0), StopsOnce()]
    fits = [
        (AutoencoderTransformer(2, max_iter=2), X),
        (AutoencoderTransformer(2, random_state=0, max_iter=2), X),
        (AEOutlierDetector(random_state=0, max_iter=1), X[:300]),
        (AutoencoderTransformer(2, random_state=0), X[: N_ROWS - rank]),
        (AutoencoderTransformer(2, random_state=0), X if rank else 3),
        (AutoencoderTransformer(2, random_state=0, max_iter=2), X),
        (AutoencoderTransformer(2, max_iter=2 + rank), X),
        # Without a seed, and what goes on from there: all draw like the file.
        (AutoencoderTransformer(2, max_iter=3, callbacks=callbacks), X),
        (AutoencoderTransformer(2, max_iter=3, callbacks=callbacks), X),
    ]
    results = []
    for estimator, data in fits:
        try:
            fitted = skae.distributed.fit(estimator, data, deadline=60)
            assert fitted is estimator
            results.append(estimator.score_samples(np.asarray(X[:50])))
        except Exception as error:
            results.append(f"{type(error).__name__}: {error}")
    answers.put((rank, results))


def free_port():
    """One below those that systems give to connections, of other tests for example."""
    for port in np.random.default_rng().permutation(np.arange(20_000, 30_000)):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", int(port)))
            return int(port)
    raise OSError("no port is free")


def test_all_processes_have_the_same_model_or_a_clear_error(tmp_path):
    path = tmp_path / "rows.npy"
    checkpoint = tmp_path / "rows.npy.checkpoint"
    np.save(path, rows())
    port = free_port()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skae.distributed"])
    answers = context.Queue()
    processes = [
        context.Process(target=_fit, args=(path, rank, 2, port, answers), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    try:
        results = dict(answers.get(timeout=_LONGEST) for _ in processes)
    finally:
        for process in processes:
            process.kill()
            process.join()
    for number in (0, 1, 2, 5, 8):
        np.testing.assert_array_equal(results[0][number], results[1][number])
    np.testing.assert_array_equal(results[0][1], results[0][5])
    for rank, words in enumerate(["process 1 has X of shape (1999, 6)", "(1999, 6)"]):
        assert "fit the same estimator to the same rows" in results[rank][3]
        assert words in results[rank][3]
        assert results[rank][4].startswith(("ValueError", "TypeError"))
        assert "max_iter = 2" in results[rank][6]
        assert "max_iter = 3" in results[rank][6]
        assert results[rank][7] == "RuntimeError: stopped"
    assert not checkpoint.exists()


def test_in_one_process_it_is_the_estimators_own_fit(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert world_size() == 1
    X = rows()
    fitted = skae.distributed.fit(AutoencoderTransformer(2, **BRIEF), X)
    own = AutoencoderTransformer(2, **BRIEF).fit(X)
    np.testing.assert_array_equal(fitted.transform(X), own.transform(X))


@pytest.mark.parametrize("deadline", [0, -1.0, True, "long"])
def test_a_deadline_is_seconds(deadline):
    with pytest.raises(ValueError, match="deadline must be seconds"):
        skae.distributed.fit(AutoencoderTransformer(2), rows(), deadline=deadline)


@pytest.mark.parametrize("size", ["1", "2"])
def test_pipelines_and_other_estimators_are_refused_by_name(size, monkeypatch):
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "RANK": "0"}
    for name, value in {**place, "WORLD_SIZE": size}.items():
        monkeypatch.setenv(name, value)
    pipeline = make_pipeline(AutoencoderTransformer(2))
    for each in (pipeline, PCA(2), AutoencoderTransformer):
        name = type(each).__name__
        with pytest.raises(TypeError, match=f"an estimator of skae; got {name}"):
            skae.distributed.fit(each, rows(), deadline=0.1)
