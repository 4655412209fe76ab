"""Ctrl-C in every phase of every estimator: the best so far, or the earlier state."""

import itertools
import runpy
import signal
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

import skae
from skae.callbacks import SampleGrid
from skae.inspection import SampleDisplay
from skae.outliers import ensemble_training

ESTIMATORS = runpy.run_path(str(Path(__file__).with_name("test_settings.py")))[
    "ESTIMATORS"
]
TRAINED = [name for name in ESTIMATORS if name != "AEOutlierDetector"]
STREAMING = [name for name in TRAINED if hasattr(ESTIMATORS[name], "partial_fit")]
PHASES = ["on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end"]
PHASES += ["on_train_end"]
X = np.random.default_rng(0).normal(size=(120, 16))


class Interrupt(Callback):
    """Raises in a phase, the first time or after some calls."""

    def __init__(self, phase, after=0):
        count = itertools.count()

        def interrupt(*args, **kwargs):
            if next(count) == after:
                self.n_batches = 0
                raise KeyboardInterrupt

        setattr(self, phase, interrupt)

    # The loop looks for hooks of batches in the class.
    def on_batch_end(self, net, **kwargs):
        self.n_batches = getattr(self, "n_batches", 0) + 1


def labels(estimator):
    y = np.arange(len(X)) % 3
    return np.where(y > 0, y, np.nan) if is_classifier(estimator) else y


def brief(name, **parameters):
    return clone(ESTIMATORS[name]).set_params(max_iter=3, random_state=0, **parameters)


def results(estimator):
    if is_classifier(estimator):
        return estimator.predict_proba(X)
    if isinstance(estimator, skae.ConditionalVAE):
        return estimator.score_samples(X, labels(estimator))
    return estimator.score_samples(X)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", TRAINED)
def test_an_interrupt_in_training_leaves_the_best_so_far(name, phase):
    model = brief(name, callbacks=[Interrupt(phase)])
    with pytest.warns(ConvergenceWarning, match="Training was interrupted"):
        model.fit(X, labels(model))
    assert model.interrupted_
    assert np.isfinite(results(model)).all()


def test_a_signal_while_a_picture_is_drawn_ends_the_training(tmp_path, monkeypatch):
    images = np.random.default_rng(0).random((40, 4, 4))
    grid = SampleGrid(tmp_path / "samples.png", n_samples=4)
    draw = SampleDisplay.plot

    def interrupted(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(SampleDisplay, "plot", interrupted)
    model = brief("GAN", architecture="conv", callbacks=[grid])
    with pytest.warns(ConvergenceWarning, match="Training was interrupted after"):
        model.fit(images)
    assert model.interrupted_
    assert model.stop_reason_ == "interrupted"
    assert len(model.epochs_) == 1


@pytest.mark.parametrize("name", ["AutoencoderTransformer", "GAN"])
def test_an_interrupt_at_the_end_loses_no_training(name):
    whole = brief(name).fit(X)
    model = brief(name, callbacks=[Interrupt("on_train_end")])
    with pytest.warns(ConvergenceWarning, match="interrupted after 3 epochs"):
        model.fit(X)
    np.testing.assert_array_equal(results(model), results(whole))


@pytest.mark.parametrize("phase", ["on_batch_end", "on_epoch_end"])
@pytest.mark.filterwarnings("ignore:Training was interrupted after")
@pytest.mark.parametrize("name", STREAMING)
def test_an_interrupted_chunk_leaves_no_trace(name, phase):
    model = brief(name)
    classes = {"classes": [1, 2]} if is_classifier(model) else {}
    interrupted = brief(name, callbacks=[Interrupt(phase)])
    with pytest.raises(KeyboardInterrupt, match="partial_fit was interrupted"):
        interrupted.partial_fit(X[:60], labels(model)[:60], **classes)
    assert not hasattr(interrupted, "net_")
    chunks = [slice(0, 60), slice(60, 90), slice(90, 120)]
    for number, chunk in enumerate(chunks):
        y = labels(model)[chunk]
        model.partial_fit(X[chunk], y, **classes)
        interrupted.set_params(callbacks=None)
        if number == 1:
            before = results(interrupted)
            interrupted.set_params(callbacks=[Interrupt(phase)])
            with pytest.raises(KeyboardInterrupt, match="partial_fit"):
                interrupted.partial_fit(X[chunk], y)
            np.testing.assert_array_equal(results(interrupted), before)
            interrupted.set_params(callbacks=None)
        interrupted.partial_fit(X[chunk], y, **classes)
    np.testing.assert_array_equal(results(interrupted), results(model))


@pytest.mark.parametrize("n_before", [0, 1, 2, 3, 4])
def test_an_interrupted_classifier_stops_at_once(n_before):
    """Of the layers, the head, the release and the fine-tuning; but it has a head."""
    parameters = {"hidden_layer_sizes": (12, 6), "pretrain_max_iter": 2}
    whole = brief("StackedAEClassifier", **parameters)
    whole.fit(X, labels(whole))
    n_rounds = [n for _, n in whole.stages_]
    interrupt = Interrupt("on_train_begin", n_before)
    model = brief("StackedAEClassifier", callbacks=[interrupt], **parameters)
    with pytest.warns(ConvergenceWarning, match="Training was interrupted"):
        model.fit(X, labels(model))
    stages = [name for name, _ in model.stages_]
    assert [n for _, n in model.stages_][:n_before] == n_rounds[:n_before]
    if n_before < 2:
        assert stages[n_before + 1 :] == ["head"]
        assert 0 < interrupt.n_batches <= 100
    else:
        assert len(stages) == n_before + 1
    assert np.isfinite(results(model)).all()


class TestDetector:
    @staticmethod
    def interrupted_after(monkeypatch, n_steps):
        def batches(rows, **options):
            for number, batch in enumerate(rows):
                if number == n_steps:
                    raise KeyboardInterrupt
                yield batch

        monkeypatch.setattr(ensemble_training, "tqdm", batches)

    def test_training_so_far_is_calibrated(self, monkeypatch):
        X = np.random.default_rng(0).normal(size=(600, 6))
        whole = skae.AEOutlierDetector(random_state=0).fit(X)
        self.interrupted_after(monkeypatch, 20)
        detector = skae.AEOutlierDetector(random_state=0)
        with pytest.warns(ConvergenceWarning, match="interrupted after 20 of 40 steps"):
            detector.fit(X)
        new = np.random.default_rng(1).normal(size=(2000, 6))
        assert 0.02 < (detector.predict(new) == -1).mean() < 0.1
        assert not np.array_equal(detector.score_samples(new), whole.score_samples(new))

    def test_an_interrupt_elsewhere_leaves_the_earlier_state(self, monkeypatch):
        detector = skae.AEOutlierDetector(random_state=0).fit(X)
        before = detector.score_samples(X)

        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(ensemble_training, "_member", interrupt)
        with pytest.raises(KeyboardInterrupt):
            detector.fit(X[:100])
        np.testing.assert_array_equal(detector.score_samples(X), before)
        unfitted = skae.AEOutlierDetector(random_state=0)
        with pytest.raises(KeyboardInterrupt):
            unfitted.fit(X)
        assert not hasattr(unfitted, "offset_")
