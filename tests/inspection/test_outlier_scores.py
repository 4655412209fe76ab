"""The picture of outlier scores."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError

from skae import AEOutlierDetector
from skae.inspection import OutlierScoreDisplay

pytest.importorskip("matplotlib")

X = np.random.default_rng(0).normal(size=(80, 3))


@pytest.mark.parametrize("detector", [AEOutlierDetector, IsolationForest])
def test_every_row_is_drawn_and_the_threshold_marked(detector):
    fitted = detector(random_state=0).fit(X)
    display = OutlierScoreDisplay.from_estimator(fitted, np.r_[X, X[:1] + 1e6])
    assert sum(patch.get_height() for patch in display.ax_.patches) == 81
    assert display.ax_.lines[0].get_xdata()[0] == fitted.offset_


def test_classes_are_named_and_stacked():
    classes = np.where(np.arange(80) < 20, "a", "b")
    detector = AEOutlierDetector(random_state=0).fit(X)
    display = OutlierScoreDisplay.from_estimator(detector, X, classes, bins=5)
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert set(names) == {"a", "b", "threshold"}


def test_equal_scores_are_drawn():
    display = OutlierScoreDisplay(scores=np.zeros(5), offset=0.0).plot()
    assert sum(patch.get_height() for patch in display.ax_.patches) == 5


def test_refuses_what_it_can_not_draw():
    with pytest.raises(NotFittedError):
        OutlierScoreDisplay.from_estimator(AEOutlierDetector(), X)
    detector = AEOutlierDetector(random_state=0).fit(X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        OutlierScoreDisplay.from_estimator(detector, X, [0, 1])


def test_missing_labels_are_a_class_of_their_own():
    y = np.array(["usual", None, "rare"], dtype=object)
    display = OutlierScoreDisplay(scores=np.array([1.0, 2.0, 3.0]), offset=1.5, y=y)
    ax = display.plot().ax_
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"None", "rare", "usual"} < set(names)


def test_refuses_what_has_no_scores():
    detector = PCA(1).fit(np.eye(3))
    with pytest.raises(ValueError, match="with offset_; PCA has none"):
        OutlierScoreDisplay.from_estimator(detector, np.eye(3))
