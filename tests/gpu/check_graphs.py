"""Training steps that are replayed from a graph, against steps that are launched.

The pretended device records and replays operations as CUDA does.
`test_pretend_device.py` runs these checks in a process of their own.
"""

import numpy as np
import pytest
import skorch.callbacks
import torch
from pretend_device import NAME, active
from pretend_graph import Graph, Stream, on_stream
from sklearn.datasets import load_digits

import skae
from skae.models.autoencoder import Autoencoder
from skae.parts.base import Penalty
from skae.parts.corruption import GaussianNoise
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.penalties import Contraction
from skae.parts.priors import NoPrior
from skae.training import captured
from skae.training.capturable import foreign_code
from skae.training.schedule import Schedule
from skae.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore")

DIGITS = load_digits()
X, Y = DIGITS.data[:320] / 16, DIGITS.target[:320]
MANY = DIGITS.data[:700] / 16
IMAGES = X.reshape(-1, 8, 8)
FEW = np.where(np.arange(len(Y)) < 50, Y, -1)
MODELS = {
    "alone": (skae.AutoencoderTransformer(3, batch_size=64, max_iter=2), MANY),
    "folds": (skae.AutoencoderTransformer(3, alpha=0.1, batch_size=64, max_iter=4), X),
    "DenoisingAE": (skae.DenoisingAE(3, batch_size=64, max_iter=4), X),
    "VariationalAE": (
        skae.VariationalAE(3, kl_warmup=0.5, batch_size=64, max_iter=4),
        X,
    ),
    "ConvAE": (skae.ConvAE(3, channels=(2,), batch_size=32, max_iter=5), IMAGES[:120]),
    "GAN": (skae.GAN(3, replay=0.5, batch_size=32, max_iter=6), X[:80]),
    "convolutional GAN": (
        skae.GAN(3, architecture="conv", channels=(2,), batch_size=16, max_iter=8),
        IMAGES[:64],
    ),
    "AdversarialAE": (
        skae.AdversarialAE(2, prior="mixture", batch_size=32, max_iter=6),
        X[:80],
    ),
    "StackedAEClassifier": (
        skae.StackedAEClassifier((6,), pretrain_max_iter=3, max_iter=4),
        X[:200],
        FEW[:200],
    ),
}


@pytest.fixture
def trainings(monkeypatch):
    """What each training has left: its steps, losses and weights."""
    left = []

    def train(self, batches, run=Trainer.train):
        try:
            return run(self, batches)
        finally:
            losses = [
                value
                for row in self.history
                for name, value in row.items()
                if name.endswith("loss")
            ]
            weights = [*self.weights_.values()[1].values(), self.flat_.data]
            left.append((self.step_, losses, [w.cpu() for w in weights]))

    monkeypatch.setattr(Trainer, "train", train)
    return left


def fitted(trainings, model, *data, **params):
    """The trainings of a fit."""
    trainings.clear()
    model.set_params(device=NAME, random_state=0, **params).fit(*data)
    return list(trainings)


def assert_same(trainings, others):
    assert len(trainings) == len(others)
    for (_, losses, weights), (_, others_losses, others_weights) in zip(
        trainings, others, strict=True
    ):
        np.testing.assert_array_equal(losses, others_losses)
        assert all(map(torch.equal, weights, others_weights))


@pytest.mark.parametrize("name", MODELS)
def test_replayed_steps_are_those_that_are_launched(name, trainings, monkeypatch):
    model, *data = MODELS[name]
    replayed = fitted(trainings, model, *data)
    assert {step.reason for step, *_ in replayed} == {None}
    assert sum(step.n_replayed for step, *_ in replayed) > 8
    monkeypatch.setattr(captured, "_LEAST_STEPS", np.inf)
    launched = fitted(trainings, model, *data)
    assert {step.n_replayed for step, *_ in launched} == {0}
    assert_same(replayed, launched)


class Batched:
    """Batches of these sizes, of the same rows in all trainings."""

    def __init__(self, sizes):
        random = np.random.default_rng(0)
        self.rows = [
            torch.from_numpy(random.normal(size=(size, 6)).astype(np.float32)).to(NAME)
            for size in sizes
        ]

    def __iter__(self):
        return iter([(x, None) for x in self.rows])


def trained(sizes, *, lr=1e-3, callbacks=None, penalties=(), n_rounds=3, **options):
    generator = torch.Generator("cpu").manual_seed(0)
    codec = Dense((5,)).build(6, 2, generator=generator)
    noise = GaussianNoise(0.1)
    trainer = Trainer(
        Autoencoder(codec.to(NAME), Gaussian(), noise, NoPrior(), penalties),
        schedule=Schedule(n_rounds, len(sizes), max(sizes), lr, weight_decay=0.1),
        generator=torch.Generator(NAME).manual_seed(0),
        callbacks=callbacks,
        **options,
    )
    return trainer.train(Batched(sizes))


def test_each_shape_of_batches_has_a_graph(trainings, monkeypatch):
    sizes = [16, 16, 16, 9] * 10
    step = trained(sizes).step_
    # Of each shape, the first three are launched.
    assert step.n_replayed == 27 + 7
    monkeypatch.setattr(captured, "_LEAST_STEPS", np.inf)
    trained(sizes)
    assert_same(*[[each] for each in trainings])


def test_shapes_without_end_get_few_graphs():
    sizes = [size for size in range(3, 13) for _ in range(5)]
    before = Graph.n_captures
    step = trained(sizes).step_
    assert step.reason is None
    assert Graph.n_captures - before <= 8


def test_a_back_off_starts_anew(trainings, monkeypatch):
    """The second round is lost: its losses are NaN."""

    def lost(self, run=Trainer._record_losses):
        if len(self.history) == 2:
            self._sums["train_loss"].fill_(float("nan"))
        run(self)

    monkeypatch.setattr(Trainer, "_record_losses", lost)
    before = Graph.n_captures
    trainer = trained([8] * 60)
    assert trainer.optimizer_.factor == 0.1
    assert trainer.optimizer_.step_count == 20
    assert Graph.n_captures - before == 2
    assert trainer.step_.n_replayed == 37 + 17
    monkeypatch.setattr(captured, "_LEAST_STEPS", np.inf)
    trained([8] * 60)
    assert_same(*[[each] for each in trainings])


class Watching(skorch.callbacks.Callback):
    def on_batch_end(self, net, loss=None, **kwargs):
        self.losses = [*getattr(self, "losses", []), loss.item()]


def test_callbacks_that_watch_batches_see_every_step(trainings):
    watching = Watching()
    step = trained([8] * 30, callbacks=[watching]).step_
    assert step.n_replayed == 0
    assert len(watching.losses) == 30
    trained([8] * 30)
    assert_same(*[[each] for each in trainings])


class Changing(skorch.callbacks.Callback):
    """Changes a number that a graph would hold."""

    def on_epoch_end(self, net, **kwargs):
        net.module_.penalties[0].weight = 2.0 * len(net.history)


def test_what_callbacks_change_between_rounds_counts(trainings, monkeypatch):
    for least_steps in (8, np.inf):
        monkeypatch.setattr(captured, "_LEAST_STEPS", least_steps)
        penalty = Contraction(0.1)
        trained([8] * 45, penalties=[penalty], callbacks=[Changing()])
    assert trainings[0][0].n_replayed == 3 * 12
    assert_same(*[[each] for each in trainings])


class Counting(Penalty):
    """Grows from step to step, on the host."""

    n_calls = 0

    def __call__(self, state):
        self.n_calls += 1
        return state.h.square().sum(-1) * self.n_calls


class Peeking(Counting):
    capturable = True

    def __call__(self, state):
        if state.h.sum().item() > 1e9:
            raise ValueError
        return super().__call__(state)


class Late(Penalty):
    """Reads from the device from its fourth call on, after it was watched."""

    capturable = True
    n_calls = 0

    def __call__(self, state):
        self.n_calls += 1
        cost = state.h.square().sum(-1)
        return cost * float(cost.sum() > 0) if self.n_calls > 3 else cost


class Drawing(Penalty):
    """Draws on the CPU."""

    capturable = True

    def __call__(self, state):
        drawn = torch.rand(1, generator=self.generator, device="cpu").to(NAME)
        return state.h.square().sum(-1) * drawn


@pytest.mark.parametrize(
    ("penalty", "reason"),
    [
        (Counting, "Counting is a class of yours"),
        (Peeking, "_local_scalar_dense"),
        (Late, "not permitted when stream is capturing"),
        (Drawing, "works on the CPU"),
    ],
)
def test_code_that_cannot_be_captured_is_run(penalty, reason, trainings, monkeypatch):
    for least_steps in (8, np.inf):
        monkeypatch.setattr(captured, "_LEAST_STEPS", least_steps)
        own = penalty()
        own.generator = torch.Generator("cpu").manual_seed(0)
        trainer = trained([8] * 30, penalties=[own])
        assert trainer.step_.n_replayed == 0
        assert trainer.optimizer_.step_count == 30
    assert reason in trainings[0][0].reason
    assert_same(*[[each] for each in trainings])
    assert not active.stuck


class Scaling(Penalty):
    capturable = True

    def __call__(self, state):
        return state.h.square().sum(-1)


def test_a_users_class_that_says_so_is_captured():
    assert trained([8] * 30, penalties=[Scaling()]).step_.n_replayed == 27


def test_hooks_and_functions_are_found_wherever_they_are():
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert foreign_code(layer) is None
    layer[0].register_forward_hook(lambda *_: None)
    assert foreign_code(layer) == "<lambda> is a function of yours"
    assert foreign_code(Batched([1])) == "Batched is a class of yours"


def test_inside_another_capture_steps_are_launched(monkeypatch):
    module = torch.get_device_module(NAME)
    monkeypatch.setattr(module, "is_current_stream_capturing", lambda: True)
    assert trained([8] * 30).step_.n_replayed == 0


def test_the_state_between_two_replays_is_that_of_the_training(monkeypatch):
    states = []

    def note(self, batch, sums, watch=None, run=captured.GraphedStep.__call__):
        result = run(self, batch, sums, watch)
        (optimizer,) = self._optimizers
        states.append(optimizer.state() | {"data": optimizer.flat.data.cpu().clone()})
        return result

    monkeypatch.setattr(captured.GraphedStep, "__call__", note)
    trained([8] * 20)
    replayed = states[:]
    states.clear()
    monkeypatch.setattr(captured, "_LEAST_STEPS", np.inf)
    trained([8] * 20)
    for one, other in zip(replayed, states, strict=True):
        assert one["n_steps"] == other["n_steps"]
        assert all(map(np.array_equal, one.values(), other.values()))


def test_the_table_is_filled_again_where_it_is_used_up(trainings, monkeypatch):
    monkeypatch.setattr(captured, "_TABLE_ROWS", 7)
    trained([8] * 40)
    monkeypatch.setattr(captured, "_TABLE_ROWS", 64)
    trained([8] * 40)
    assert_same(*[[each] for each in trainings])


@pytest.mark.parametrize("what", ["item", "upload", "mask", "generator", "size"])
def test_a_capture_refuses_what_cuda_refuses(what):
    x = torch.ones(4, device=NAME)
    foreign = torch.Generator(NAME).manual_seed(5)
    work = {
        "item": lambda: x.sum().item(),
        "upload": lambda: x + torch.ones(4, device="cpu").to(NAME),
        "mask": lambda: x[x > 0],
        "generator": lambda: torch.rand(4, generator=foreign, device=NAME),
        "size": x.nonzero,
    }[what]
    graph = Graph()
    with on_stream(Stream()):
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            with pytest.raises(RuntimeError, match="capturing"):
                work()
        finally:
            with pytest.raises(RuntimeError, match="previous error"):
                graph.capture_end()
            active.stuck = []


def test_a_replay_refuses_memory_that_is_gone():
    x = torch.ones(4, device=NAME)
    graph = Graph()
    with on_stream(Stream()):
        graph.capture_begin(capture_error_mode="thread_local")
        y = x + 1
        graph.capture_end()
    graph.replay()
    assert y.tolist() == [2] * 4
    del x
    with pytest.raises(RuntimeError, match="was freed"):
        graph.replay()
