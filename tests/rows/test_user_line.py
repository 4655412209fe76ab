"""Warnings point at the line of the user's call, whatever lies between."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import GAN, AEOutlierDetector, ConditionalVAE, ConvAE, StackedAEClassifier
from skae.rows.user_line import warn_user

X = np.random.default_rng(0).random((40, 4))
IMAGES = np.random.default_rng(0).random((40, 8, 8))
Y, SAME, MANY = np.arange(40) % 3, np.zeros(40, dtype=int), np.arange(40)
BRIEF = {"max_iter": 2, "random_state": 0}


def gan(**parameters):
    return GAN(hidden_layer_sizes=4, **BRIEF, **parameters)


def pipeline():
    small = ConvAE(sample_shape=(1, 2, 2), kernel_size=2, stride=2, **BRIEF)
    return make_pipeline(StandardScaler(), small)


CALLS = [
    ("y is the same", lambda: gan().fit(X, SAME)),
    ("y is the same", lambda: gan().partial_fit(X, SAME)),
    ("y has 40 classes", lambda: gan().fit(X, MANY)),
    ("y has 40 classes", lambda: gan().partial_fit(X, MANY)),
    ("y has the classes [-1", lambda: gan().partial_fit(X, Y - 1)),
    ("y has the classes [-1", lambda: ConditionalVAE(2, **BRIEF).fit(X, Y - 1)),
    ("y is -1 in", lambda: StackedAEClassifier((4,), **BRIEF).fit(X, Y - 1)),
    ("Mode collapse", lambda: gan(n_modes=10).fit(X)),
    ("max_iter=2 ended", lambda: ConvAE(**BRIEF).fit(IMAGES)),
    ("max_iter=2 ended", lambda: pipeline().fit(X)),
    ("max_iter=2 ended", lambda: cross_val_score(pipeline(), X, cv=2)),
    ("false_alarm_rate=0.05", lambda: AEOutlierDetector(max_iter=1).fit(X[:10])),
]


def lines(call, message):
    """Files and lines that warnings with this beginning point at."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [w for w in caught if str(w.message).startswith(message)]
    assert found, [str(w.message) for w in caught]
    return {(w.filename, w.lineno) for w in found}


@pytest.mark.parametrize(("message", "call"), CALLS)
def test_warnings_point_at_the_call(message, call):
    assert lines(call, message) == {(__file__, call.__code__.co_firstlineno)}


def test_samples_and_styles_of_classes_to_come():
    gan = GAN(architecture="style", channels=4, **BRIEF)
    gan.partial_fit(IMAGES, Y, classes=[0, 1, 2, 3])
    for call in (lambda: gan.sample(2, y=3), lambda: gan.styles(2, y=3)):
        place = (__file__, call.__code__.co_firstlineno)
        assert lines(call, "y has the classes [3]") == {place}


def test_a_warning_outside_of_the_package_points_at_its_caller():
    def call():
        warn_user("here")

    place = (__file__, call.__code__.co_firstlineno + 1)
    assert lines(call, "here") == {place}
