"""When images grow: levels, fades, and the module that follows them."""

import pytest
import torch

from skae.models.gan import GANModule, Replay
from skae.models.growth import Growth
from skae.parts.growing import GrowingCritic
from skae.parts.growing_generators import ProgressiveGenerator, StyleGenerator

SHAPE, D, K, N = (1, 16, 16), 256, 3, 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def module_of(share=0.5, interval=1):
    generator = StyleGenerator(SHAPE, (4,)).build(D, K, generator=seeded())
    critic = GrowingCritic(SHAPE, (4,)).build(D, generator=seeded(1))
    growth = Growth(share, generator.n_levels)
    return GANModule(generator, critic, "hinge", K, 0.1, 1, None, interval, growth)


@pytest.mark.parametrize(
    ("progress", "stage"),
    [
        (0.0, (0, 1.0, False)),
        (0.12, (0, 1.0, False)),
        (0.125, (1, 0.0, True)),
        (0.2, (1, 0.6, True)),
        (0.3, (1, 1.0, False)),
        (0.4375, (2, 0.5, True)),
        (0.5, (2, 1.0, False)),
        (1.0, (2, 1.0, False)),
    ],
)
def test_levels_are_faded_in_and_kept_for_as_long(progress, stage):
    level, alpha, is_fading = Growth(0.5, 3).at(progress)
    assert (level, is_fading) == (stage[0], stage[2])
    assert alpha == pytest.approx(stage[1])
    assert Growth(0.5, 3).is_over(progress) == (progress >= 0.5)


def test_without_a_share_images_are_whole():
    assert Growth(0.0, 3).at(1e-9) == (2, 1.0, False)
    assert Growth(0.4, 1).at(0.0) == (0, 1.0, False)


def test_networks_follow_the_progress():
    module = module_of()
    x = torch.randn(N, D, generator=seeded(2))
    for progress in (0.1, 0.2, 0.3, 0.45, 0.8):
        module.progress = progress
        module.group_loss("critic", x, generator=seeded())
        expected = Growth(0.5, 3).at(progress)
        for network in (module.generator, module.critic):
            assert (network.level, network.alpha, network.is_fading) == expected
        assert module.is_grown == (progress >= 0.5)


def test_the_share_faded_in_comes_from_the_device_where_it_is_scheduled():
    module = module_of()
    module.progress = 0.2
    assert module.numbers_at(0.2) == pytest.approx([0.6])
    module.scheduled = [torch.tensor(0.7)]
    module.begin_update("critic")
    assert float(module.generator.alpha) == pytest.approx(0.7)
    assert float(module.generator.reached) == pytest.approx(0.7)
    assert module_of(0.0).numbers_at(0.2) == ()


def test_steps_of_one_phase_run_the_same_operations():
    module, phases = module_of(interval=3), []
    for number in range(24):
        module.progress = (number + 1) / 24
        phases.append(module.phase)
        stage, since = module.stage, module.n_since
        module.phase = module.phase
        assert (module.stage, module.n_since) == (stage, since)
        module.begin_update("critic")
    kinds = {
        (Growth(0.5, 3).at((n + 1) / 24)[::2], n % 3): phase
        for n, phase in enumerate(phases)
    }
    assert len(set(kinds.values())) == len(kinds)
    assert all(
        kinds[Growth(0.5, 3).at((n + 1) / 24)[::2], n % 3] == phase
        for n, phase in enumerate(phases)
    )


def state_of(module):
    """Attributes of all parts, with the numbers of their tensors."""
    found = {}
    for name, part in module.named_modules():
        own = {**vars(part), **dict(part.named_buffers(recurse=False))}
        for key, value in own.items():
            is_tensor = isinstance(value, torch.Tensor)
            found[name, key] = value.tolist() if is_tensor else repr(value)
    return found


@pytest.mark.parametrize("part", [ProgressiveGenerator, StyleGenerator])
@pytest.mark.parametrize("progress", [0.2, 1.0])
def test_the_loss_of_rows_only_reads_the_module(part, progress):
    generator = part(SHAPE, (4,)).build(D, K, generator=seeded())
    critic = GrowingCritic(SHAPE, (4,), minibatch_discrimination=True)
    critic = critic.build(D, generator=seeded(1))
    growth = Growth(0.5, generator.n_levels)
    module = GANModule(generator, critic, "relativistic", K, 0.1, growth=growth)
    assert module.is_rowwise
    assert not GANModule(generator, critic, "hinge", K, 0.1, 1, Replay(0.5)).is_rowwise
    module.progress = progress
    module.begin_update("critic")
    before = state_of(module)
    for name in module.update_order:
        module.row_loss(name, torch.rand(N, D, generator=seeded(2)))
    assert state_of(module) == before
