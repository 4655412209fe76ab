"""skorch's callbacks in estimators: what works, what is refused, and in searches."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)

from skae import GAN, AutoencoderTransformer, DenoisingAE

_rng = np.random.default_rng(0)
X = np.tanh(_rng.normal(size=(300, 2)) @ _rng.normal(size=(2, 5)))
X += 0.05 * _rng.normal(size=X.shape)
MODELS = {
    "cross-validated": lambda **p: AutoencoderTransformer(2, **p),
    "denoising": lambda **p: DenoisingAE(2, **p),
    "gan": lambda **p: GAN(2, **p),
}


@pytest.fixture(params=MODELS)
def fit(request):
    def fitted(*callbacks):
        make = MODELS[request.param]
        model = make(max_iter=4, callbacks=list(callbacks), random_state=0)
        return model.fit(X)

    return fitted


class TestEveryTraining:
    def test_a_checkpoint_can_be_loaded(self, fit, tmp_path):
        fit(Checkpoint(monitor=None, dirname=str(tmp_path)))
        saved = torch.load(tmp_path / "params.pt", weights_only=True)
        assert all(torch.isfinite(value).all() for value in saved.values())

    def test_a_checkpoint_at_the_end_has_the_fitted_weights(self, fit, tmp_path):
        model = fit(TrainEndCheckpoint(dirname=str(tmp_path)))
        (path,) = tmp_path.glob("*params.pt")
        saved = torch.load(path, weights_only=True)
        if isinstance(model, GAN | DenoisingAE):
            for name, parameter in model.net_.named_parameters():
                assert torch.equal(saved[name], parameter)

    def test_early_stopping_stops(self, fit):
        # An improvement by a hundred percent is none.
        stopping = EarlyStopping(patience=2, threshold=1.0, sink=lambda text: None)
        assert len(fit(stopping).loss_curve_) <= 3

    def test_a_log_is_printed_without_verbose(self, fit, capsys):
        model = fit(PrintLog())
        out = capsys.readouterr().out
        assert "train_loss" in out
        assert len(out.splitlines()) == 2 + len(model.loss_curve_)

    def test_rounds_are_timed(self, fit):
        durations = []

        class Timer(EpochTimer):
            def on_epoch_end(self, net, **kwargs):
                super().on_epoch_end(net, **kwargs)
                durations.append(net.history[-1, "dur"])

        assert len(fit(Timer()).loss_curve_) == len(durations)

    def test_a_bar_of_batches_is_drawn(self, fit, capsys):
        counted = []

        class Bar(ProgressBar):
            def on_epoch_end(self, net, **kwargs):
                counted.append((self.pbar_.n, self.pbar_.total))
                super().on_epoch_end(net, **kwargs)

        model = fit(Bar(detect_notebook=False))
        assert len(counted) == len(model.loss_curve_)
        assert all(0 < done == total for done, total in counted)
        assert "%" in capsys.readouterr().err

    def test_gradients_are_clipped(self, fit):
        # AdamW does not mind the size of gradients that are all as small.
        free, clipped = fit(), fit(GradientNormClipping(1e-6))
        assert free.loss_curve_ != clipped.loss_curve_

    def test_weights_are_initialised(self, fit):
        free, halved = fit(), fit(Initializer("*", fn=lambda p: p.data.mul_(0.5)))
        assert free.loss_curve_[0] != halved.loss_curve_[0]

    @pytest.mark.parametrize(
        "callback",
        [
            Checkpoint(load_best=True),
            Checkpoint(f_pickle="net.pkl"),
            Freezer("*"),
        ],
    )
    def test_what_can_not_work_is_refused_before_training(self, fit, callback):
        with pytest.raises(ValueError, match="cannot be used: "):
            fit(callback)


class TestParametersOfCallbacks:
    @pytest.fixture
    def model(self):
        stopping = EarlyStopping(patience=3)
        return DenoisingAE(2, callbacks=[("es", stopping), PrintLog])

    def test_they_are_parameters_of_the_estimator(self, model):
        params = model.get_params()
        assert params["callbacks__es"] is model.callbacks[0][1]
        assert params["callbacks__es__patience"] == 3
        assert params["callbacks__PrintLog"] is PrintLog
        assert not any(
            name.startswith("callbacks__") for name in model.get_params(False)
        )

    def test_they_can_be_set(self, model):
        model.set_params(callbacks__es__patience=7, n_components=3)
        assert model.callbacks[0][1].patience == 7
        assert model.n_components == 3

    def test_a_class_becomes_an_instance(self, model):
        model.set_params(callbacks__PrintLog__floatfmt=".2f")
        assert model.get_params()["callbacks__PrintLog__floatfmt"] == ".2f"

    def test_a_callback_can_be_replaced_and_left_out(self, model):
        other = EarlyStopping(patience=5)
        model.set_params(callbacks__es__patience=6, callbacks__es=other)
        assert model.callbacks[0] == ("es", other)
        assert other.patience == 6
        model.set_params(callbacks__es=None)
        assert model.callbacks == [PrintLog]

    def test_unknown_names_are_refused(self, model):
        with pytest.raises(ValueError, match=r"callbacks__no names no .* \['es', 'Pri"):
            model.set_params(callbacks__no__patience=1)
        with pytest.raises(ValueError, match="it has none"):
            DenoisingAE().set_params(callbacks__es__patience=1)

    def test_clones_have_callbacks_of_their_own(self, model):
        copied = clone(model)
        copied.set_params(callbacks__es__patience=9)
        assert model.callbacks[0][1].patience == 3

    def test_they_can_be_searched(self):
        stopping = EarlyStopping(sink=lambda text: None, threshold=1.0)
        pipeline = make_pipeline(
            DenoisingAE(2, max_iter=4, callbacks=[("es", stopping)], random_state=0)
        )
        grid = {"denoisingae__callbacks__es__patience": [1, 3]}
        search = GridSearchCV(pipeline, grid, cv=2, refit=False).fit(X)
        first, second = search.cv_results_["mean_test_score"]
        assert first != second
