"""The engine on a GPU, against the CPU."""

import numpy as np
import pytest
import torch

from skae.models.autoencoder import Autoencoder
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Bernoulli, Gaussian
from skae.parts.priors import NoPrior
from skae.rows.chunks import Rows
from skae.rows.devices import resolve_device
from skae.training.batches import Batches
from skae.training.held_out import Folds, HoldOut
from skae.training.schedule import Schedule
from skae.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

N, D, K = 96, 6, 2
X = np.random.default_rng(0).random((N, D))


def trained(device, likelihood, *, members=None, autograd=False):
    device = torch.device(device)
    rows = Rows(X, np.zeros(D), 1.0, device, torch.float64)
    generator = torch.Generator().manual_seed(0)
    codec = Dense((8,)).build(D, K, generator=generator, members=members)
    model = Autoencoder(
        codec.to(device).double(), likelihood, NoCorruption(), NoPrior()
    )
    weight = None
    if members is None:
        judge = HoldOut(rows[:20])
    else:
        judge = Folds(rows[:], members - 1, generator)
        weight = judge.train_weight
    trainer = Trainer(
        model,
        schedule=Schedule(5, 30, 16, 1e-2, weight_decay=0.1, patience=3),
        generator=torch.Generator(device).manual_seed(0),
        evaluate=judge,
        autograd=autograd,
    )
    return trainer.train(Batches(rows, np.arange(N), 16, 30, generator, weight))


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli()])
@pytest.mark.parametrize("members", [None, 4])
@pytest.mark.parametrize("autograd", [False, True])
def test_training_on_the_gpu_gives_the_cpus_numbers(likelihood, members, autograd):
    options = {"members": members, "autograd": autograd}
    here = trained("cpu", likelihood, **options)
    there = trained("cuda", likelihood, **options)
    for key in ("train_loss", "valid_loss"):
        assert there.history[:, key] == pytest.approx(here.history[:, key], rel=1e-6)
    for own, other in zip(
        there.module_.parameters(), here.module_.parameters(), strict=True
    ):
        assert own.is_cuda
        torch.testing.assert_close(own.cpu(), other, rtol=1e-5, atol=1e-7)


def test_the_same_seed_gives_the_same_bits_on_the_gpu():
    first, again = (trained("cuda", Gaussian()) for _ in range(2))
    for a, b in zip(
        first.module_.parameters(), again.module_.parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_auto_finds_the_gpu():
    assert resolve_device("auto").type == "cuda"


def test_members_move_to_the_cpu_and_compute_the_same():
    codec = trained("cuda", Gaussian(), members=4).module_.codec
    alone = codec.member(2)
    x = torch.as_tensor(X, device="cuda")
    expected = codec.encode(x)[2].cpu()
    torch.testing.assert_close(alone.cpu().encode(x.cpu()), expected)
