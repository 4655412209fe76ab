"""A module of which nothing is said keeps its loss."""

from skae.training.stepped import SteppedModule


def test_nothing_of_a_loss_changes_unless_its_module_says_so():
    module = SteppedModule()
    assert list(module.numbers_at(0.5)) == []
    assert (module.progress, module.phase, list(module.scheduled)) == (1.0, 0, [])
