"""How fits train: length in epochs, curves that go on, advice, the line at the end."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn

from skae import (
    GAN,
    AdversarialAE,
    AutoencoderTransformer,
    DenoisingAE,
    StackedAEClassifier,
    VariationalAE,
)
from skae.fitting.fit import advice_on

STREAMING = {
    "pca": lambda: AutoencoderTransformer(2, random_state=0),
    "random": lambda: AutoencoderTransformer(2, init="random", random_state=0),
    "denoising": lambda: DenoisingAE(2, random_state=0),
    "variational": lambda: VariationalAE(2, random_state=0),
    "adversarial": lambda: AdversarialAE(2, random_state=0),
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(300, 2))
    noise = 0.05 * rng.normal(size=(300, 6))
    return np.tanh(latent @ rng.normal(size=(2, 6))) + noise


def assert_equal_fits(first, second):
    assert first.loss_curve_ == second.loss_curve_
    assert first.validation_scores_ == second.validation_scores_
    np.testing.assert_array_equal(first.epochs_, second.epochs_)
    weights, others = first.net_.state_dict(), second.net_.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in others)


class TestLength:
    @pytest.mark.parametrize(
        "make",
        [
            lambda **p: AutoencoderTransformer(2, **p),
            lambda **p: AutoencoderTransformer(2, init="random", **p),
            lambda **p: VariationalAE(2, kl_warmup=0.5, **p),
            lambda **p: AdversarialAE(2, **p),
            lambda **p: GAN(2, **p),
        ],
    )
    def test_as_many_epochs_as_the_default_are_the_same_fit(self, X, make):
        # Of few rows: 18 in 3 batches, which no default length is a multiple of.
        plain = {"random_state": 0, "n_iter_no_change": np.inf, "batch_size": 6}
        default = make(**plain).fit(X[:20])
        assert isinstance(default.n_iter_, int)
        again = make(max_iter=default.n_iter_, **plain).fit(X[:20])
        assert again.n_iter_ == default.n_iter_
        assert_equal_fits(default, again)

    def test_curves_have_an_entry_for_each_evaluation(self, X):
        model = DenoisingAE(2, batch_size=24, max_iter=12, random_state=0).fit(X)
        # 240 rows in 10 batches.
        assert model.n_iter_ == 12
        n_rounds = len(model.epochs_)
        assert 10 <= n_rounds < 12
        assert len(model.loss_curve_) == len(model.validation_scores_) == n_rounds
        expected = [k * 120 // n_rounds / 10 for k in range(1, n_rounds + 1)]
        np.testing.assert_allclose(model.epochs_, expected)

    def test_epochs_are_over_all_rows_where_they_are_cross_validated(self, X):
        model = AutoencoderTransformer(2, batch_size=50, max_iter=3, random_state=0)
        steps = Steps()
        model.set_params(callbacks=[steps]).fit(X)
        assert steps.number == 3 * 300 // 50

    def test_epochs_that_were_begun_count(self, X):
        steps = Steps(stop_at=15)
        model = DenoisingAE(
            2, batch_size=24, max_iter=50, callbacks=[steps], random_state=0
        )
        model.fit(X)
        assert model.epochs_[-1] == 1.5
        assert model.n_iter_ == 2

    def test_an_epoch_of_a_classifier_is_one_of_its_last_stage(self, X):
        y = (X[:, 0] > 0).astype(int)
        model = StackedAEClassifier(
            (4,), max_iter=3, pretrain_max_iter=1, random_state=0
        ).fit(X, y)
        assert model.n_iter_ == 3
        assert len(model.epochs_) == len(model.loss_curve_)
        assert (np.diff(model.epochs_) > 0).all()


class Steps(Callback):
    """Counts training steps, and may end the training."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at

    def on_train_begin(self, net, **kwargs):
        self.number = 0

    def on_batch_end(self, net, **kwargs):
        self.number += 1
        net.stop_training = self.number == self.stop_at


class TestContinuing:
    @pytest.mark.parametrize("model", [DenoisingAE, AdversarialAE, GAN])
    def test_warm_start_goes_on_with_the_curves(self, X, model):
        plain = {"max_iter": 3, "random_state": 0, "warm_start": True}
        fitted = model(2, **plain).fit(X)
        before = fitted.loss_curve_, fitted.validation_scores_, fitted.epochs_
        n_rounds = len(fitted.epochs_)
        fitted.fit(X)
        assert fitted.n_iter_ == 6
        after = fitted.loss_curve_, fitted.validation_scores_, fitted.epochs_
        for earlier, whole in zip(before, after, strict=True):
            assert len(whole) == 2 * n_rounds
            np.testing.assert_array_equal(whole[:n_rounds], earlier)
        np.testing.assert_allclose(fitted.epochs_[n_rounds:], 3 + before[2])

    def test_chunks_go_on_with_the_curves(self, X):
        model = DenoisingAE(2, max_iter=3, random_state=0).fit(X)
        n_rounds = len(model.epochs_)
        model.partial_fit(X).partial_fit(X)
        assert model.n_iter_ == 5
        assert model.epochs_[n_rounds:].tolist() == [4, 5]
        assert np.isnan(model.validation_scores_[n_rounds:]).all()
        assert np.isfinite(model.validation_scores_[:n_rounds]).all()

    @pytest.mark.parametrize("name", STREAMING)
    def test_pickling_between_chunks_changes_no_bit(self, X, name):
        plain, pickled = STREAMING[name](), STREAMING[name]()
        for chunk in np.split(X, 6):
            plain.partial_fit(chunk)
            pickled = pickle.loads(pickle.dumps(pickled.partial_fit(chunk)))
        assert_equal_fits(plain, pickled)
        np.testing.assert_array_equal(plain.transform(X), pickled.transform(X))

    def test_the_optimisers_state_is_plain_data(self, X):
        def leaves(value):
            if isinstance(value, dict):
                return [leaf for part in value.values() for leaf in leaves(part)]
            return [value]

        model = AdversarialAE(2, max_iter=1, random_state=0).partial_fit(X)
        kinds = {type(leaf) for leaf in leaves(model.optimizer_state_)}
        assert kinds == {np.ndarray, int, float, str}
        assert model.fit(X).optimizer_state_ is None

    @pytest.mark.parametrize("name", STREAMING)
    def test_a_chunk_that_fails_leaves_no_trace(self, X, name):
        plain, failed = STREAMING[name](), STREAMING[name]()
        bad = np.full((50, 6), 1e30)
        bad[::2] *= -1
        for model in (plain, failed):
            model.partial_fit(X[:150])
            if model is failed:
                codes = model.transform(X)
                with pytest.raises(FloatingPointError):
                    model.partial_fit(bad)
                np.testing.assert_array_equal(model.transform(X), codes)
            model.partial_fit(X[150:])
        assert_equal_fits(plain, failed)

    def test_a_callback_that_fails_in_a_chunk_leaves_no_trace(self, X):
        class Fails(Callback):
            def on_epoch_end(self, net, **kwargs):
                raise RuntimeError("mine")

        plain, failed = (DenoisingAE(2, random_state=0) for _ in range(2))
        for model in (plain, failed):
            model.partial_fit(X)
        with pytest.raises(RuntimeError, match="mine"):
            failed.set_params(callbacks=[Fails()]).partial_fit(X)
        failed.set_params(callbacks=None)
        assert_equal_fits(plain.partial_fit(X), failed.partial_fit(X))


def test_a_pair_of_modules_with_batch_norm_keeps_statistics_of_its_weights():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(400, 3))
    X = np.tanh(latent @ rng.normal(size=(3, 16))) + 0.1 * rng.normal(size=(400, 16))

    def layers(n_in, n_out):
        return [
            nn.Linear(n_in, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Linear(64, n_out),
        ]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        pair = nn.Sequential(*layers(16, 3)), nn.Sequential(*layers(3, 16))
    model = AutoencoderTransformer(
        architecture=pair, learning_rate_init=0.03, max_iter=60, random_state=0
    )
    watch = HeldOut()
    model.set_params(callbacks=[watch]).fit(X[:300])
    assert model.kept_round_ > 0
    assert watch.judge(model.net_) == -max(model.validation_scores_)
    assert model.score(X[300:]) > 0.8


class HeldOut(Callback):
    """Takes over the judge of the held-out rows."""

    def on_train_begin(self, net, **kwargs):
        self.judge = net.evaluate


class TestAdvice:
    """Losses fall by a hundred in all."""

    plain = {"tol": 1e-4, "max_iter": 8, "kept_untrained": False}

    @pytest.mark.parametrize(
        ("losses", "falls"),
        [
            ([60, 40, 30, 20, 15, 10, 5, 0], False),
            ([60, 40, 30, 25, 20, 15, 10, 0], True),
            ([-60, -120, -160, -190, -210, -230, -260, -300], True),
            ([40, 20, 5, 0, 3, 2, 4, 1], False),
            ([0], True),
        ],
    )
    def test_a_tenth_of_the_fall_in_the_last_quarter_is_much(self, losses, falls):
        advice = advice_on(100, losses, **self.plain)
        assert (advice is not None) == falls
        if falls:
            assert advice.startswith("max_iter=8 ended the training")

    def test_a_fall_below_tol_is_none(self):
        losses = [100 - 1e-4 * n for n in range(1, 9)]
        assert advice_on(100, losses, **self.plain) is None
        assert advice_on(100, losses, **{**self.plain, "tol": 1e-7}) is not None

    def test_a_default_length_is_not_for_the_user_to_raise(self):
        assert advice_on(100, [50, 0], **{**self.plain, "max_iter": None}) is None

    def test_nothing_is_said_where_nothing_was_held_out(self):
        for start, losses in ((None, []), (3.0, [])):
            advice = advice_on(start, losses, **{**self.plain, "kept_untrained": True})
            assert advice is None

    def test_too_few_epochs_warn(self, X):
        with pytest.warns(ConvergenceWarning, match=r"max_iter=2 .* Raise max_iter"):
            DenoisingAE(2, max_iter=2, random_state=0).fit(X)

    def test_an_untrained_model_warns(self, X):
        model = DenoisingAE(2, learning_rate_init=1e-12, random_state=0)
        with pytest.warns(ConvergenceWarning, match="untrained start, which is kept"):
            model.set_params(learning_rate_init=300.0, max_iter=3).fit(X)
        assert model.kept_round_ == 0


class TestTheLineAtTheEnd:
    def line(self, model, X, capsys):
        model.set_params(verbose=1).fit(X)
        out, err = capsys.readouterr()
        assert out == ""
        return err.splitlines()[-1].split("\r")[-1].strip()

    def test_it_says_how_long_how_well_and_why_no_longer(self, X, capsys):
        model = DenoisingAE(2, max_iter=30, random_state=0)
        line = self.line(model, X, capsys)
        losses = -np.array(model.validation_scores_)
        kept = model.epochs_[losses.argmin()]
        assert line == (
            f"DenoisingAE: 30 epochs, held-out loss {losses[0]:.4g} -> "
            f"{losses.min():.4g}, kept epoch {kept:.3g}, stopped at max_iter"
        )

    def test_without_held_out_rows_there_is_no_such_loss(self, X, capsys):
        model = DenoisingAE(2, early_stopping=False, random_state=0)
        line = self.line(model, X, capsys)
        assert line.startswith(f"DenoisingAE: {model.n_iter_} epochs, kept epoch ")
        assert line.endswith(", trained to the end")

    def test_patience_is_named(self, X, capsys):
        model = DenoisingAE(
            2, max_iter=500, tol=0.5, n_iter_no_change=2, random_state=0
        )
        line = self.line(model, X, capsys)
        assert line.endswith(", stopped after 2 evaluations without a gain")

    def test_an_answer_by_pca_needs_no_training(self, X, capsys):
        model = AutoencoderTransformer(2, activation="identity")
        line = self.line(model, X, capsys)
        assert line == "AutoencoderTransformer: nothing was trained"

    def test_without_verbose_nothing_is_printed(self, X, capsys):
        DenoisingAE(2, max_iter=2, random_state=0).fit(X)
        assert capsys.readouterr() == ("", "")
