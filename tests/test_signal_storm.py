"""Signals that raise at random moments: what they leave behind in the process."""

import random
import runpy
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import skae

settings = runpy.run_path(str(Path(__file__).with_name("test_settings.py")))["settings"]

pytestmark = [
    pytest.mark.skipif(
        not hasattr(signal, "setitimer"), reason="only POSIX has timers that signal"
    ),
    pytest.mark.filterwarnings("ignore:Training was interrupted"),
    # A signal in a finaliser is reported there and raises nowhere.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ESTIMATORS = [
    skae.AutoencoderTransformer(2, max_iter=3),
    skae.AEOutlierDetector(),
    skae.DenoisingAE(3, max_iter=3),
    skae.VariationalAE(2, max_iter=3),
    skae.StackedAEClassifier((8,), max_iter=3, pretrain_max_iter=1),
]
X = np.random.default_rng(0).normal(size=(300, 8))
Y = np.arange(300) % 3
N_SIGNALS = 300


class Alarm:
    """Raises in the main thread after some seconds."""

    def __init__(self):
        self.went_off = False
        self.before = signal.signal(signal.SIGALRM, self)

    def __call__(self, number, frame):
        self.went_off = True
        raise KeyboardInterrupt

    def during(self, call, seconds):
        """Repeat a call until the alarm goes off."""
        self.went_off = False
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                while not self.went_off:
                    call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass

    def remove(self):
        signal.signal(signal.SIGALRM, self.before)


@pytest.fixture
def alarm():
    alarm = Alarm()
    yield alarm
    alarm.remove()


def fitted(estimator):
    return clone(estimator).set_params(random_state=0).fit(X, Y)


def results(estimator):
    if hasattr(estimator, "predict_log_proba"):
        return estimator.predict_log_proba(X)
    return estimator.score_samples(X)


def calls(estimator):
    """Moments at which users press Ctrl-C, and about how long they last."""
    refitted = fitted(estimator)
    yield lambda: refitted.fit(X, Y), 0.08
    yield lambda: results(estimator), 0.004
    if hasattr(estimator, "transform"):
        yield lambda: estimator.transform(X[:1]), 0.004
    else:
        yield lambda: estimator.predict(X[:1]), 0.004
    if hasattr(estimator, "partial_fit"):
        streamed = fitted(estimator)
        yield lambda: streamed.partial_fit(X[:50], Y[:50]), 0.02


@pytest.fixture
def other_settings():
    """Settings that are not those at the start of a process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)


def test_signals_leave_settings_and_later_results_as_they_were(alarm, other_settings):
    models = [fitted(each) for each in ESTIMATORS]
    expected = [results(model) for model in models]
    moments = [moment for model in models for moment in calls(model)]
    before = settings()
    draw = random.Random(0)
    for number in range(N_SIGNALS):
        call, longest = moments[number % len(moments)]
        alarm.during(call, draw.uniform(0.0005, longest))
        assert settings() == before
    for model, estimator, scores in zip(models, ESTIMATORS, expected, strict=True):
        np.testing.assert_array_equal(results(model), scores)
        np.testing.assert_array_equal(results(fitted(estimator)), scores)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_an_interrupted_fit_leaves_a_whole_model(alarm, estimator):
    model = fitted(estimator)
    draw = random.Random(1)
    for _ in range(8):
        alarm.during(lambda: model.fit(X, Y), draw.uniform(0.002, 0.1))
        assert np.isfinite(results(model)).all()


def test_another_thread_keeps_its_settings_and_disturbs_no_fit():
    estimator = skae.AutoencoderTransformer(3, max_iter=20)
    expected = results(fitted(estimator))
    started, done = threading.Event(), threading.Event()
    found = []

    def user():
        torch.set_num_threads(2)
        with torch.no_grad():
            while not done.is_set():
                torch.set_default_dtype(torch.float64)
                found.append(
                    (
                        torch.get_num_threads(),
                        torch.get_default_dtype(),
                        torch.tensor([1.5]).dtype,
                        torch.is_grad_enabled(),
                    )
                )
                torch.set_default_dtype(torch.float32)
                started.set()

    thread = threading.Thread(target=user)
    thread.start()
    started.wait()
    try:
        during = results(fitted(estimator))
    finally:
        done.set()
        thread.join()
    np.testing.assert_array_equal(during, expected)
    assert set(found) == {(2, torch.float64, torch.float64, False)}
