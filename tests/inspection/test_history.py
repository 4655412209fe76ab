"""The picture of the training."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skae import AutoencoderTransformer, DenoisingAE
from skae.inspection import HistoryDisplay

pytest.importorskip("matplotlib")

X = np.random.default_rng(0).normal(size=(80, 5))


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_both_losses_are_drawn_over_epochs_and_the_kept_one_marked():
    ae = DenoisingAE(3, max_iter=6, random_state=0).fit(X)
    ax = HistoryDisplay.from_estimator(ae).ax_
    kept = ae.epochs_[np.argmax(ae.validation_scores_)]
    assert legend_of(ax) == ["training", "held out", f"kept: epoch {kept:.3g}"]
    training, held_out, mark = ax.lines
    np.testing.assert_array_equal(training.get_xdata(), ae.epochs_)
    np.testing.assert_array_equal(held_out.get_xdata(), ae.epochs_)
    np.testing.assert_array_equal(training.get_ydata(), ae.loss_curve_)
    np.testing.assert_array_equal(
        held_out.get_ydata(), -np.array(ae.validation_scores_)
    )
    assert mark.get_xdata()[0] == kept


def test_without_held_out_rows_the_lowest_training_loss_is_marked():
    ae = DenoisingAE(3, max_iter=6, early_stopping=False, random_state=0).fit(X)
    ax = HistoryDisplay.from_estimator(ae).ax_
    kept = ae.epochs_[np.argmin(ae.loss_curve_)]
    assert legend_of(ax) == ["training", f"kept: epoch {kept:.3g}"]


def test_no_round_is_marked_where_none_was_kept():
    # Noise has no structure beyond PCA, which is kept.
    ae = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(X)
    assert ae.departure_ == 0
    assert ae.n_iter_ > 0
    assert legend_of(HistoryDisplay.from_estimator(ae).ax_) == ["training", "held out"]


def test_the_last_round_of_partial_fit_is_not_marked_as_chosen():
    ae = DenoisingAE(3, random_state=0).partial_fit(X).partial_fit(X)
    assert legend_of(HistoryDisplay.from_estimator(ae).ax_) == ["training"]


def test_the_mark_stays_where_a_warm_start_was_no_better():
    ae = DenoisingAE(3, max_iter=20, random_state=0).fit(X)
    before, kept = ae.transform(X), HistoryDisplay.from_estimator(ae).kept
    ae.set_params(warm_start=True, max_iter=2, learning_rate_init=50.0).fit(X)
    assert np.array_equal(ae.transform(X), before)
    assert ae.epochs_[-1] == 22
    assert HistoryDisplay.from_estimator(ae).kept == kept


def test_epochs_without_held_out_rows_are_a_gap_in_their_curve():
    ae = DenoisingAE(3, max_iter=4, random_state=0).fit(X).partial_fit(X)
    _, held_out = HistoryDisplay.from_estimator(ae).ax_.lines
    assert held_out.get_xdata()[-1] == 5
    assert np.isnan(held_out.get_ydata()).tolist() == [False] * 4 + [True]


def test_steep_curves_are_drawn_on_a_logarithmic_scale():
    def scale(*losses):
        return HistoryDisplay(loss_curve=losses).plot().ax_.get_yscale()

    assert [scale(90, 1), scale(9, 1), scale(90, -1)] == ["log", "linear", "linear"]


def test_axes_may_be_passed():
    ax = HistoryDisplay(loss_curve=[2.0, 1.0]).plot().ax_
    assert HistoryDisplay(loss_curve=[3.0, 1.0]).plot(ax).figure_ is ax.figure
    assert len(ax.lines) == 2


def test_refuses_estimators_without_history():
    with pytest.raises(NotFittedError):
        HistoryDisplay.from_estimator(DenoisingAE())
    linear = AutoencoderTransformer(2, activation="identity").fit(X)
    with pytest.raises(ValueError, match="n_iter_=0, since PCA itself was the result"):
        HistoryDisplay.from_estimator(linear)
    with pytest.raises(ValueError, match="PCA has none"):
        HistoryDisplay.from_estimator(PCA(2).fit(X))
