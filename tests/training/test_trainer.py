"""The training loop: two paths, one result; stopping, callbacks and accidents."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    Initializer,
    LoadInitState,
    LRScheduler,
    ParamMapper,
    TrainEndCheckpoint,
    Unfreezer,
)
from skorch.utils import freeze_parameter
from torch import nn

from skae.models.autoencoder import Autoencoder
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.modules import PairCodec
from skae.parts.priors import NoPrior, StandardNormal
from skae.rows.chunks import Rows
from skae.training.batches import Batches
from skae.training.callbacks import check_callbacks, named_callbacks
from skae.training.schedule import Patience, Schedule
from skae.training.steps import AutogradGradient, FormulaGradient
from skae.training.trainer import Trainer

N, D, K = 64, 6, 2
ROWS = Rows(
    np.random.default_rng(0).standard_normal((N, D)),
    np.zeros(D),
    1.0,
    torch.device("cpu"),
    torch.float64,
)


def autoencoder(tied=False, members=None):
    generator = torch.Generator().manual_seed(0)
    codec = Dense((8,), tied_weights=tied).build(
        D, K, generator=generator, members=members
    )
    return Autoencoder(codec.double(), Gaussian(), NoCorruption(), NoPrior())


def trainer_of(model=None, *, n_rounds=4, lr=1e-2, patience=None, **options):
    schedule = Schedule(
        n_rounds, 3 * n_rounds, 16, lr, weight_decay=0.1, patience=patience
    )
    generator = torch.Generator().manual_seed(0)
    return Trainer(
        autoencoder() if model is None else model,
        schedule=schedule,
        generator=generator,
        **options,
    )


def train(trainer, weight=None):
    generator = torch.Generator().manual_seed(1)
    n_steps = trainer.schedule.n_steps
    return trainer.train(Batches(ROWS, np.arange(N), 16, n_steps, generator, weight))


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def held_out(model):
    with torch.no_grad():
        raw = model.reconstruct(ROWS[:])
        return model.likelihood.nll(raw, ROWS[:]).mean().item()


class Scripted:
    """A held-out objective that says what it is told, and notes what it saw."""

    def __init__(self, *losses):
        self.losses = list(losses)
        self.seen = []

    def __call__(self, model):
        self.seen.append(weights(model))
        return self.losses[len(self.seen) - 1]


class Noisy:
    """A little Gaussian noise."""

    def __call__(self, x, generator):
        return x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


class AtEveryStep(Callback):
    """Does something before each training step."""

    def __init__(self, action):
        self.action = action

    def on_batch_begin(self, net, **kwargs):
        self.action(net)


class Counter(Callback):
    """Counts what it is notified of."""

    def __init__(self):
        self.batches = self.rounds = 0

    def on_batch_end(self, net, batch=None, loss=None, **kwargs):
        assert torch.isfinite(loss)
        assert batch[0].shape == (16, D)
        self.batches += 1

    def on_epoch_end(self, net, **kwargs):
        self.rounds += 1


class AtStep(Callback):
    """Does something before one training step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_train_begin(self, net, **kwargs):
        self.steps = 0

    def on_batch_begin(self, net, **kwargs):
        self.steps += 1
        if self.steps == self.step:
            self.action(net)


class Wish(Callback):
    """Asks to stop at the n-th call of a hook."""

    def __init__(self, hook, at):
        self.hook, self.at = hook, at

    def initialize(self):
        self.calls = 0
        return self

    def noted(self, hook, net):
        self.calls += hook == self.hook
        if self.calls == self.at:
            net.stop_training = True


def _hook(name):
    return lambda self, net, *args, **kwargs: self.noted(name, net)


for _place in ("train_begin", "epoch_begin", "epoch_end"):
    setattr(Wish, f"on_{_place}", _hook(f"on_{_place}"))
for _place in ("batch_begin", "grad_computed", "batch_end"):
    setattr(Wish, f"on_{_place}", _hook(f"on_{_place}"))


def interrupt(net):
    raise KeyboardInterrupt


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_paths_give_the_same_numbers(tied, members, weighted):
    lead = () if members is None else (members,)
    weight = torch.rand((*lead, N), generator=torch.Generator().manual_seed(2)).double()
    runs = [
        train(
            trainer_of(autoencoder(tied, members), autograd=autograd),
            weight if weighted else None,
        )
        for autograd in (False, True)
    ]
    assert isinstance(runs[0].gradient_, FormulaGradient)
    assert isinstance(runs[1].gradient_, AutogradGradient)
    losses = [run.history[:, "train_loss"] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(
        weights(runs[0].module_), weights(runs[1].module_), rtol=1e-5, atol=1e-7
    )


def test_any_pair_of_modules_trains_by_autograd():
    codec = PairCodec(nn.Linear(D, K), nn.Linear(K, D)).double()
    model = Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior())
    before = held_out(model)
    train(trainer_of(model, n_rounds=20))
    assert held_out(model) < before


def test_the_same_seeds_give_the_same_bits():
    first, again = (train(trainer_of(evaluate=held_out)) for _ in range(2))
    assert torch.equal(weights(first.module_), weights(again.module_))
    assert first.history.to_list() == again.history.to_list()


def test_a_frozen_module_stays_as_it_was():
    codec = PairCodec(nn.Linear(D, K), nn.Linear(K, D)).double()
    codec.encoder.requires_grad_(False)
    before = codec.encoder.weight.clone()
    train(trainer_of(Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior())))
    assert torch.equal(codec.encoder.weight, before)


def test_a_share_of_the_rate_is_what_a_parameter_moves_at():
    model = autoencoder()
    frozen, slow, *_ = parameters = list(model.parameters())
    start = [p.detach().clone() for p in parameters]
    options = {"n_rounds": 1, "keep_last": True}
    train(trainer_of(model, rates={frozen: 0.0, slow: 0.01}, **options))
    plain = train(trainer_of(**options)).module_
    assert torch.equal(frozen, start[0])
    moved, alone = (
        (found - start[1]).abs().mean() for found in (slow, list(plain.parameters())[1])
    )
    assert 0 < moved < 0.1 * alone


class TestRelease:
    """After training, what was one buffer is ordinary parameters."""

    @pytest.fixture
    def trainer(self):
        # Tied weights: one of the parameters is stored column by column.
        return train(trainer_of(autoencoder(tied=True)))

    def test_each_parameter_gets_memory_of_its_own(self, trainer):
        parameters = list(trainer.module_.parameters())
        buffer = trainer.flat_.data.untyped_storage().data_ptr()
        places = {p.untyped_storage().data_ptr() for p in parameters}
        assert places == {buffer}
        before = weights(trainer.module_)
        trainer.release()
        places = {p.untyped_storage().data_ptr() for p in parameters}
        assert len(places) == len(parameters)
        assert buffer not in places
        for parameter in parameters:
            assert parameter.untyped_storage().nbytes() == 8 * parameter.numel()
            assert parameter.grad is None
        assert torch.equal(weights(trainer.module_), before)

    def test_the_buffer_is_then_without_effect(self, trainer):
        trainer.release()
        before = weights(trainer.module_)
        trainer.flat_.data.zero_()
        assert torch.equal(weights(trainer.module_), before)

    def test_the_same_module_can_be_trained_again(self, trainer):
        trainer.release()
        before = held_out(trainer.module_)
        train(trainer_of(trainer.module_, n_rounds=20))
        assert held_out(trainer.module_) < before


class TestStopping:
    def test_the_best_weights_are_restored(self):
        judge = Scripted(9, 5, 3, 4, 8)
        trainer = train(trainer_of(evaluate=judge))
        assert torch.equal(weights(trainer.module_), judge.seen[2])
        assert trainer.history[:, "valid_loss"] == [5, 3, 4, 8]

    def test_the_start_is_kept_where_nothing_is_better(self):
        model = autoencoder()
        start = weights(model)
        train(trainer_of(model, evaluate=Scripted(1, 2, 3, 4, 5)))
        assert torch.equal(weights(model), start)

    @pytest.mark.parametrize("losses", [(9, 5, 3, 4, 8), (1, 2, 3, 4, 5)])
    def test_the_last_weights_are_kept_on_request(self, losses):
        judge = Scripted(*losses)
        trainer = train(trainer_of(evaluate=judge, keep_last=True))
        assert torch.equal(weights(trainer.module_), judge.seen[4])
        assert not torch.equal(weights(trainer.module_), judge.seen[3])
        assert trainer.kept_round_ == 4

    def test_the_last_weights_are_those_of_the_last_finite_round(self):
        judge = Scripted(9, 5, 6, float("nan"), float("nan"))
        with pytest.warns(ConvergenceWarning, match="lower learning rate"):
            trainer = train(trainer_of(evaluate=judge, keep_last=True))
        assert torch.equal(weights(trainer.module_), judge.seen[2])
        assert trainer.kept_round_ == 2

    @pytest.mark.parametrize(("keep_last", "kept"), [(True, 4), (False, 1)])
    def test_of_a_training_loss_that_rises_the_last_round_is_kept_on_request(
        self, keep_last, kept
    ):
        class Rising(Autoencoder):
            steps = 0

            def batch_loss(self, *batch, generator):
                self.steps += 1
                nats = super().batch_loss(*batch, generator=generator)
                return nats + 100 * self.steps

        seen = []
        model = Rising(autoencoder().codec, Gaussian(), NoCorruption(), NoPrior())
        trainer = trainer_of(
            model,
            autograd=True,
            keep_last=keep_last,
            on_round=lambda number, module: seen.append(weights(module)),
        )
        train(trainer)
        losses = trainer.history[:, "train_loss"]
        assert losses == sorted(losses)
        assert trainer.kept_round_ == kept
        assert torch.equal(weights(model), seen[kept - 1])

    def test_patience_ends_the_training(self):
        judge = Scripted(9, 5, 3, 3, 4, 5, 6, 7)
        trainer = train(trainer_of(n_rounds=7, patience=2, evaluate=judge))
        assert len(trainer.history) == 4
        assert not trainer.interrupted_

    @pytest.mark.parametrize(
        ("losses", "stops_at"),
        [
            # Within 5% of -100 all the way, then worse and worse.
            ((-100, -100, -99, -96, -92, -88, -84), 4),
            ((-100, -106, -112, -118, -124, -130, -136), None),
            ((100, 100, 99, 96, 92, 88, 84), 4),
            ((100, 94, 89, 84, 79, 75, 71), None),
            ((0, 0, 0, 0, 0, 0, 0), 4),
            ((float("nan"), 5, 5, 5, 5, 5, 5), 5),
        ],
    )
    def test_an_improvement_is_one_of_either_sign(self, losses, stops_at):
        patience = Patience(3, 0.05)
        stops = [n for n, loss in enumerate(losses, 1) if patience.is_over(loss)]
        assert stops[:1] == ([] if stops_at is None else [stops_at])

    def test_patience_ends_a_training_on_negative_losses(self):
        judge = Scripted(-90, -100, -100.001, -99, -96, -92, -88, -84)
        trainer = train(trainer_of(n_rounds=7, patience=3, evaluate=judge))
        assert len(trainer.history) == 4
        assert trainer.stop_reason_ == "stopped after 3 evaluations without a gain"

    def test_the_training_loss_decides_without_a_judge(self):
        trainer = train(trainer_of(n_rounds=10))
        losses = trainer.history[:, "train_loss"]
        assert losses[-1] < losses[0]
        assert "valid_loss" not in trainer.history[-1]

    def test_what_is_judged_is_the_average_of_the_weights(self):
        judge = Scripted(9, 8, 7, 6, 5)
        trainer = train(trainer_of(evaluate=judge))
        assert torch.equal(judge.seen[-1], judge.seen[4])
        assert torch.equal(weights(trainer.module_), judge.seen[4])

    def test_on_round_may_end_the_training(self):
        rounds = []

        def on_round(number, model):
            rounds.append(number)
            return number == 2

        trainer = train(trainer_of(on_round=on_round))
        assert rounds == [1, 2]
        assert not trainer.interrupted_
        assert trainer.stop_reason_ == "stopped by a callback"

    @pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
    def test_a_wish_to_stop_is_granted_after_the_round(self, hook):
        trainer = train(trainer_of(evaluate=held_out, callbacks=[Wish(hook, 2)]))
        assert trainer.history[:, "step"] == [3, 6]
        assert trainer.history[-1, "valid_loss"] == held_out(trainer.module_)
        assert not trainer.interrupted_
        assert trainer.stop_reason_ == "stopped by a callback"

    def test_a_wish_at_the_start_is_granted_after_one_round(self):
        trainer = train(trainer_of(callbacks=[Wish("on_train_begin", 1), Counter()]))
        assert trainer.history[:, "step"] == [3]

    @pytest.mark.parametrize(
        "hook", ["on_batch_begin", "on_grad_computed", "on_batch_end"]
    )
    def test_a_wish_in_a_batch_is_granted_after_the_batch(self, hook):
        trainer = train(trainer_of(evaluate=held_out, callbacks=[Wish(hook, 5)]))
        assert trainer.history[:, "step"] == [3, 5]
        assert trainer.history[-1, "valid_loss"] == held_out(trainer.module_)
        assert not trainer.interrupted_

    def test_skorchs_early_stopping_is_no_interruption(self):
        judge = Scripted(9, 5, 6, 7, 8)
        stopping = EarlyStopping(patience=2, sink=lambda text: None)
        trainer = train(trainer_of(evaluate=judge, callbacks=[stopping]))
        assert len(trainer.history) == 3
        assert not trainer.interrupted_
        assert trainer.stop_reason_ == "stopped by a callback"
        assert torch.equal(weights(trainer.module_), judge.seen[1])


class TestCallbacks:
    def test_batches_and_rounds_are_notified(self):
        counter = Counter()
        train(trainer_of(callbacks=[counter]))
        assert (counter.batches, counter.rounds) == (12, 4)

    def test_watching_changes_nothing(self):
        watched = train(trainer_of(callbacks=[Counter()]))
        assert torch.equal(
            weights(watched.module_), weights(train(trainer_of()).module_)
        )

    @pytest.mark.parametrize("autograd", [False, True])
    def test_gradient_clipping_clips(self, autograd):
        norms = []

        class Norm(Callback):
            def on_batch_end(self, net, **kwargs):
                norms.append(net.flat_.grad.norm().item())

        clipping = GradientNormClipping(1e-3)
        train(trainer_of(autograd=autograd, callbacks=[clipping, Norm()]))
        assert norms == pytest.approx([1e-3] * 12, rel=1e-3)

    @pytest.mark.parametrize("evaluate", [None, held_out])
    def test_checkpoints_are_written(self, tmp_path, evaluate):
        monitor = "valid_loss_best" if evaluate else "train_loss_best"
        checkpoint = Checkpoint(
            dirname=str(tmp_path), monitor=monitor, f_optimizer=None, f_criterion=None
        )
        train(trainer_of(evaluate=evaluate, callbacks=[checkpoint]))
        saved = torch.load(tmp_path / "params.pt", weights_only=True)
        assert saved.keys() == autoencoder().state_dict().keys()

    def test_a_checkpoint_has_the_weights_that_were_judged(self, tmp_path):
        checkpoint = Checkpoint(dirname=str(tmp_path), f_optimizer=None)
        judge = Scripted(9, 5, 3, 4, 8)
        train(trainer_of(evaluate=judge, callbacks=[checkpoint]))
        model = autoencoder()
        model.load_state_dict(torch.load(tmp_path / "params.pt", weights_only=True))
        assert torch.equal(weights(model), judge.seen[2])

    def test_a_checkpoint_at_the_end_has_the_weights_that_are_kept(self, tmp_path):
        checkpoint = TrainEndCheckpoint(dirname=str(tmp_path), f_optimizer=None)
        judge = Scripted(9, 5, 3, 4, 8)
        train(trainer_of(evaluate=judge, callbacks=[checkpoint]))
        (saved,) = tmp_path.glob("*params.pt")
        model = autoencoder()
        model.load_state_dict(torch.load(saved, weights_only=True))
        assert torch.equal(weights(model), judge.seen[2])

    def test_an_initializer_sets_the_first_weights(self):
        initializer = Initializer("*", fn=lambda p: p.data.fill_(0.25))
        seen = AtStep(1, lambda net: values.append(weights(net.module_)))
        values = []
        train(trainer_of(callbacks=[initializer, seen]))
        assert (values[0] == 0.25).all()

    def test_a_progress_bar_on_request(self, capsys):
        train(trainer_of(verbose=1))
        assert "training" in capsys.readouterr().err
        train(trainer_of())
        assert capsys.readouterr() == ("", "")


class TestAccidents:
    def test_one_divergence_backs_off_and_goes_on(self):
        poison = AtStep(5, lambda net: net.flat_.data.fill_(torch.nan))
        trainer = trainer_of(n_rounds=8, evaluate=held_out, callbacks=[poison])
        before = held_out(trainer.module)
        with pytest.warns(ConvergenceWarning, match="lower learning rate"):
            train(trainer)
        assert held_out(trainer.module_) < before
        assert trainer.optimizer_.factor == pytest.approx(0.1)

    @pytest.mark.parametrize("evaluate", [None, held_out])
    def test_a_hopeless_rate_raises_and_ends_in_the_start(self, evaluate):
        model = autoencoder()
        start = weights(model)
        with pytest.raises(FloatingPointError, match="learning_rate_init"):
            train(trainer_of(model, n_rounds=9, lr=1e300, evaluate=evaluate))
        assert torch.equal(weights(model), start)

    @pytest.mark.parametrize("step", [1, 8])
    def test_ctrl_c_keeps_the_best_so_far(self, step):
        judge = Scripted(9, 8, 7, 6, 5)
        trainer = trainer_of(evaluate=judge, callbacks=[AtStep(step, interrupt)])
        train(trainer)
        assert trainer.interrupted_
        assert torch.equal(weights(trainer.module_), judge.seen[(step - 1) // 3])

    def test_an_error_in_a_callback_comes_through(self):
        def fail(net):
            raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            train(trainer_of(callbacks=[AtStep(2, fail)]))


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (3, "list of skorch callbacks; got 3"),
        (LRScheduler(), "LRScheduler cannot be used: the learning rate follows"),
        (EpochScoring("accuracy"), "EpochScoring cannot be used: there is no dataset"),
        (("named", EpochScoring("accuracy")), "EpochScoring cannot be used"),
        (LRScheduler, "LRScheduler cannot be used"),
        (BatchScoring("accuracy"), "BatchScoring cannot be used: there is no dataset"),
        (Checkpoint(load_best=True), r"\(load_best=True\) .* leave load_best out"),
        (EarlyStopping(load_best=True), r"EarlyStopping\(load_best=True\)"),
        (Checkpoint(f_pickle="net.pkl"), r"\(f_pickle=...\) .* the fitted estimator"),
        (TrainEndCheckpoint(f_pickle="net.pkl"), r"TrainEndCheckpoint\(f_pickle"),
        (("frozen", Freezer("*")), r"Freezer cannot .* call requires_grad_\(False\)"),
        (Unfreezer("*"), "Unfreezer cannot be used: the optimiser moves all"),
        (ParamMapper("*", fn=freeze_parameter), "ParamMapper cannot be used: the opt"),
        (LoadInitState(Checkpoint()), "LoadInitState .* use warm_start=True"),
    ],
)
def test_callbacks_that_can_not_work_are_refused(callback, message):
    with pytest.raises(ValueError, match=message):
        check_callbacks([callback])


def test_other_callbacks_are_welcome():
    check_callbacks(None)
    check_callbacks([Checkpoint(), ("named", Checkpoint()), Checkpoint])
    check_callbacks([Initializer("*"), EarlyStopping, TrainEndCheckpoint()])


def test_callbacks_have_the_names_that_skorch_gives():
    entries = [("mine", Checkpoint()), Checkpoint, EarlyStopping(), EarlyStopping()]
    names = [name for name, _ in named_callbacks(entries)]
    assert names == ["mine", "Checkpoint", "EarlyStopping_1", "EarlyStopping_2"]
    trainer = trainer_of(callbacks=entries).initialize()
    assert names == [name for name, _ in trainer.callbacks_]
    assert named_callbacks(None) == []


def test_rounds_share_the_steps_as_evenly_as_can_be():
    schedule = Schedule(3, 10, 16, 1e-2, steps_per_epoch=4)
    assert [schedule.steps_in(number) for number in (1, 2, 3)] == [3, 3, 4]
    assert schedule.epochs(6) == 1.5


class TestProgress:
    def test_a_module_is_told_the_share_of_the_training_that_is_done(self):
        seen = []
        watch = AtEveryStep(lambda net: seen.append(net.module_.progress))
        trainer = train(trainer_of(callbacks=[watch]))
        assert seen == [(step + 1) / 12 for step in range(12)]
        assert trainer.module_.progress == 1.0

    def test_extra_passes_leave_the_weight_of_the_divergence_alone(self):
        def extra(net):
            net.module_.batch_loss(ROWS[:4], generator=torch.Generator().manual_seed(0))

        def drawn():
            generator = torch.Generator().manual_seed(0)
            codec = Dense((8,)).build(D, K, generator=generator, n_outputs=2 * K)
            parts = Gaussian(), NoCorruption(), StandardNormal()
            return Autoencoder(codec.double(), *parts, kl_warmup=0.5)

        plain, watched = (
            train(trainer_of(drawn(), callbacks=callbacks))
            for callbacks in (None, [AtEveryStep(extra)])
        )
        assert torch.equal(weights(plain.module_), weights(watched.module_))


class TestBatchNorm:
    """Statistics belong to the weights that they come with."""

    @staticmethod
    def model():
        generator = torch.Generator().manual_seed(0)
        layers = [nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, K)]
        codec = PairCodec(nn.Sequential(*layers), nn.Linear(K, D))
        with torch.no_grad():
            for layer in (layers[0], layers[3], codec.decoder):
                weight = layer.weight
                weight.copy_(torch.randn(weight.shape, generator=generator))
                layer.bias.zero_()
        parts = Gaussian(), NoCorruption(), NoPrior()
        return Autoencoder(codec, *parts).double()

    def test_the_kept_model_has_the_loss_that_was_best(self):
        trainer = trainer_of(self.model(), n_rounds=8, lr=0.3, evaluate=held_out)
        train(trainer)
        losses = trainer.history[:, "valid_loss"]
        assert 0 < trainer.kept_round_
        assert held_out(trainer.module_) == min(losses)
        assert losses.index(min(losses)) + 1 == trainer.kept_round_

    def test_statistics_are_those_of_training_batches_under_the_kept_weights(self):
        trainer = train(trainer_of(self.model(), evaluate=held_out, keep_last=True))
        linear, norm = trainer.module_.codec.encoder[:2]
        generator = torch.Generator().manual_seed(1)
        batches = list(Batches(ROWS, np.arange(N), 16, 12, generator))
        means = [linear(x).mean(0) for x, *_ in batches]
        torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
        variances = [linear(x).var(0) for x, *_ in batches]
        torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))
        assert norm.num_batches_tracked == 12
        assert norm.momentum == 0.1

    def test_the_training_is_the_same_however_often_it_is_evaluated(self):
        def run(n_rounds):
            schedule = Schedule(n_rounds, 12, 16, 1e-2)
            noise = torch.Generator().manual_seed(0)
            model = self.model()
            model.corruption = Noisy()
            trainer = Trainer(
                model,
                schedule=schedule,
                generator=noise,
                evaluate=held_out,
                keep_last=True,
            )
            return weights(train(trainer).module_)

        assert torch.equal(run(1), run(12))

    def test_a_start_that_is_best_keeps_its_statistics(self):
        model = self.model()
        before = {name: b.clone() for name, b in model.named_buffers()}
        train(trainer_of(model, evaluate=Scripted(1, 2, 3, 4, 5)))
        for name, buffer in model.named_buffers():
            assert torch.equal(buffer, before[name])


class TestState:
    @staticmethod
    def streamed(pickled):
        schedule = Schedule(1, 3, 16, 1e-2, ema_decay=0.0, constant=True)
        model, state = autoencoder(), None
        model.corruption = Noisy()
        noise = torch.Generator().manual_seed(0)
        for _ in range(4):
            trainer = Trainer(model, schedule=schedule, generator=noise, state=state)
            train(trainer)
            trainer.release()
            state = trainer.state()
            if pickled:
                model, state = pickle.loads(pickle.dumps((model, state)))
                noise = torch.Generator().manual_seed(99)
        return weights(model)

    def test_chunks_go_on_from_a_pickled_state_bit_for_bit(self):
        assert torch.equal(self.streamed(True), self.streamed(False))
