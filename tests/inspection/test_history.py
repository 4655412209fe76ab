"""The picture of the training."""

import inspect

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

import skae
from skae import (
    GAN,
    AEOutlierDetector,
    AutoencoderTransformer,
    DenoisingAE,
    StackedAEClassifier,
)
from skae.inspection import HistoryDisplay

pytest.importorskip("matplotlib")

ESTIMATORS = [
    value
    for value in (getattr(skae, name) for name in skae.__all__)
    if inspect.isclass(value) and issubclass(value, BaseEstimator)
]

# Noise, and few rows of it, has nothing to learn.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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


def test_a_gans_losses_and_its_energy_distance_are_three_curves_on_two_scales():
    gan = GAN(max_iter=3, hidden_layer_sizes=8, random_state=0).fit(X)
    display = HistoryDisplay.from_estimator(gan)
    ax, other = display.ax_, display.validation_ax_
    distance = "energy distance to held-out rows"
    kept = f"kept: epoch {gan.kept_epoch_:.3g}"
    assert legend_of(ax) == ["generator", "critic", distance, kept]
    assert other is not ax
    assert other.get_ylabel() == distance
    curves = [*ax.lines, other.lines[0]]
    expected = (
        gan.loss_curve_,
        gan.critic_loss_curve_,
        -np.array(gan.validation_scores_),
    )
    for line, values in zip(curves, expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), gan.epochs_)
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert len({line.get_color() for line in curves}) == 3


def test_without_held_out_rows_a_gan_has_two():
    gan = GAN(max_iter=3, hidden_layer_sizes=8, early_stopping=False, random_state=0)
    display = HistoryDisplay.from_estimator(gan.fit(X))
    assert legend_of(display.ax_)[:2] == ["generator", "critic"]
    assert not hasattr(display, "validation_ax_")


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_classifiers_held_out_loss_is_that_of_the_last_stage(early_stopping):
    y = np.arange(80) % 3
    model = StackedAEClassifier(
        (4, 3),
        pretrain_max_iter=1,
        max_iter=3,
        early_stopping=early_stopping,
        random_state=0,
    )
    display = HistoryDisplay.from_estimator(model.fit(X, y))
    training, *held_out = display.ax_.lines
    np.testing.assert_array_equal(training.get_ydata(), model.loss_curve_)
    assert len(held_out) == early_stopping
    for line in held_out:
        assert len(line.get_ydata()) == 3
        np.testing.assert_array_equal(line.get_xdata(), model.epochs_[-3:])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_has_a_history_or_says_why_not(estimator):
    y = np.arange(80) % 3
    model = estimator(max_iter=2, random_state=0).fit(X, y)
    if estimator is AEOutlierDetector:
        with pytest.raises(ValueError, match="AEOutlierDetector has none"):
            HistoryDisplay.from_estimator(model)
        judge = DenoisingAE(3, max_iter=2, random_state=0)
        model = AEOutlierDetector(estimator=judge, random_state=0).fit(X)
    curve = HistoryDisplay.from_estimator(model).ax_.lines[0].get_ydata()
    expected = getattr(model, "estimator_", model).loss_curve_
    np.testing.assert_array_equal(curve, expected)


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
