"""What training asks of a device: kernels, waits and bytes a step.

Counts are those of the pretended device, which launches about what CUDA does.
`test_pretend_device.py` runs these checks in a process of their own.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from pretend_device import NAME, log
from sklearn.datasets import load_digits

import skae
from skae.models.autoencoder import Autoencoder
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.rows.chunks import Rows
from skae.training import captured
from skae.training.batches import Batches
from skae.training.schedule import Schedule
from skae.training.steps import Step
from skae.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore")

DIGITS = load_digits()
X, Y = DIGITS.data[:900] / 16, DIGITS.target[:900]
FEW = np.where(np.arange(len(DIGITS.target)) < 50, DIGITS.target, -1)


def snapshot():
    """Kernels, waits of the host and uploaded bytes until now."""
    totals = map(Counter.total, (log.kernels, log.waits))
    return np.array([*totals, log.n_bytes["to device"]])


@pytest.fixture
def steps(monkeypatch):
    """What the training steps of each module cost, by its class."""
    costs: dict[str, list] = {}

    def counted(self, batches, run=Trainer._run_steps):
        before = snapshot()
        run(self, batches)
        n_steps, cost = self._n_in_round, snapshot() - before
        name = type(self.module_).__name__
        name = f"joint {name}" if getattr(self.module_, "terms", None) else name
        costs.setdefault(name, []).append((n_steps, *cost))

    monkeypatch.setattr(Trainer, "_run_steps", counted)
    return costs


def per_step(costs):
    """Kernels, waits and bytes a step; a round waits once, for its loss."""
    n_steps, kernels, waits, n_bytes = np.sum(costs, axis=0)
    return kernels / n_steps, (waits - len(costs)) / n_steps, n_bytes / n_steps


def trained(sizes, *, autograd=False, members=None):
    generator = torch.Generator("cpu").manual_seed(0)
    *hidden, width = sizes[1:]
    codec = Dense(tuple(hidden)).build(
        sizes[0], width, generator=generator, members=members
    )
    trainer = Trainer(
        Autoencoder(codec.to(NAME), Gaussian(), NoCorruption(), NoPrior()),
        schedule=Schedule(1, 40, 64, 1e-3),
        generator=torch.Generator(NAME),
        autograd=autograd,
    )
    rows = np.random.default_rng(0).normal(size=(2000, sizes[0]))
    on_device = Rows(rows, np.zeros(sizes[0]), 1.0, torch.device(NAME))
    return trainer.train(Batches(on_device, np.arange(2000), 64, 40, generator))


@pytest.mark.parametrize(
    ("sizes", "options", "most_kernels"),
    [
        ((64, 32), {}, 21),
        ((64, 32), {"autograd": True}, 30),
        ((64, 128, 32), {}, 32),
        ((64, 128, 32), {"members": 10}, 36),
    ],
)
def test_a_step_launches_few_kernels_and_waits_for_none(
    steps, sizes, options, most_kernels
):
    trained(sizes, **options)
    kernels, waits, n_bytes = per_step(steps["Autoencoder"])
    # Before the graph is there: the batch is gathered and copied, the table filled.
    assert kernels <= most_kernels + 5 / 40
    # The row numbers of all batches at once, and the schedule.
    assert waits <= 2 / 40
    assert n_bytes <= 8 * 64 + 16


def test_small_tables_upload_their_row_numbers_together(steps):
    model = skae.AutoencoderTransformer(4, max_iter=20, random_state=0, device=NAME)
    model.fit(X, sample_weight=np.linspace(1, 2, len(X)))
    _, waits, _ = per_step(steps["Autoencoder"])
    assert waits <= 0.05


def test_the_classifiers_last_stage_launches_few_kernels(steps):
    skae.StackedAEClassifier(
        (32, 16), max_iter=1, pretrain_max_iter=1, random_state=0, device=NAME
    ).fit(DIGITS.data / 16, FEW)
    kernels, waits, _ = per_step(steps["joint Classification"])
    assert kernels <= 250
    # Three rounds of row numbers and the labels' spread over all steps.
    assert waits <= 0.5


def test_the_detector_waits_for_neither_members_nor_steps():
    waits = []
    # The first fit uploads constants of the process.
    for n_members, max_iter in ((2, 2), (2, 2), (6, 8)):
        detector = skae.AEOutlierDetector(
            n_members, max_iter=max_iter, random_state=0, device=NAME
        )
        log.reset()
        detector.fit(X)
        waits.append(log.waits.total())
    assert waits[1] <= 10
    assert waits[2] <= 10
    log.reset()
    detector.score_samples(X[:200])
    assert log.waits.total() == 2
    assert log.kernels.total() <= 250


TRACED = {
    "AutoencoderTransformer": skae.AutoencoderTransformer(3),
    "DenoisingAE": skae.DenoisingAE(3),
    "SparseAE": skae.SparseAE(9),
    "ContractiveAE": skae.ContractiveAE(3),
    "VariationalAE": skae.VariationalAE(3, kl_warmup=0.9),
    "AdversarialAE": skae.AdversarialAE(2),
    "GAN": skae.GAN(3),
}


@pytest.mark.parametrize("name", TRACED)
def test_two_steps_differ_in_data_only(name, monkeypatch):
    traces = []
    monkeypatch.setattr(captured, "_LEAST_STEPS", np.inf)

    def traced(self, batch, sums, watch, step=Step.__call__):
        log.trace = []
        loss = step(self, batch, sums, watch)
        traces.append(log.trace)
        log.trace = None
        return loss

    monkeypatch.setattr(Step, "__call__", traced)
    model = TRACED[name].set_params(max_iter=2, random_state=0, device=NAME)
    model.fit(X[:400])
    one, other = traces[-2:]
    assert one == other
    assert not [operation for operation, _ in one if operation.startswith("copy to")]
