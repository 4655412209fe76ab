"""Warnings point at the line of the user's call, whatever lies between."""

import warnings

import numpy as np
import pytest
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


def with_class_to_come():
    gan = GAN(architecture="style", channels=4, **BRIEF)
    return gan.partial_fit(IMAGES, Y, classes=[0, 1, 2, 3])


CALLS = {
    "y is the same": lambda: gan().fit(X, SAME),
    "y is the same for all": lambda: gan().partial_fit(X, SAME),
    "y has 40 classes": lambda: gan().fit(X, MANY),
    "y has 40 classes for 40": lambda: gan().partial_fit(X, MANY),
    r"y has the classes \[-1": lambda: gan().partial_fit(X, Y - 1),
    r"y has the classes \[-1, 0": lambda: ConditionalVAE(2, **BRIEF).fit(X, Y - 1),
    "Mode collapse": lambda: gan(n_modes=10).fit(X),
    "max_iter=2 ended": lambda: ConvAE(**BRIEF).fit(IMAGES),
    "max_iter=2 ended the": lambda: make_pipeline(StandardScaler(), gan(n_modes=1)).fit(
        X
    ),
    "false_alarm_rate=0.05": lambda: AEOutlierDetector(max_iter=1).fit(X[:10]),
    "y is -1 in": lambda: StackedAEClassifier((4,), **BRIEF).fit(X, Y - 1),
}


def lines(call, message):
    """Where the user is said to have caused the warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [w for w in caught if str(w.message).startswith(message)]
    assert found, [str(w.message) for w in caught]
    return {(w.filename, w.lineno) for w in found}


@pytest.mark.parametrize("message", CALLS)
def test_warnings_point_at_the_call(message):
    call = CALLS[message]
    starts = message.replace("\\", "")
    ((file, line),) = lines(call, starts)
    assert file == __file__
    # A lambda of two lines calls in its second.
    assert 0 <= line - call.__code__.co_firstlineno <= 1


def test_samples_and_styles_of_classes_to_come():
    gan = with_class_to_come()
    for call in (lambda: gan.sample(2, y=3), lambda: gan.styles(2, y=3)):
        place = (__file__, call.__code__.co_firstlineno)
        assert lines(call, "y has the classes [3]") == {place}


def test_a_warning_outside_of_the_package_points_at_its_caller():
    def call():
        warn_user("here")

    place = (__file__, call.__code__.co_firstlineno + 1)
    assert lines(call, "here") == {place}
