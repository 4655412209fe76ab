"""Trainings of several processes: what a step of all of them passes on."""

from types import SimpleNamespace

from torch import nn

from skae.training.spread import Spread
from skae.training.steps import Update


class Gradient:
    """One that was made of the module's parts."""

    is_forgotten = False

    def forget(self):
        self.is_forgotten = True


def test_what_was_made_of_a_module_is_dropped_when_it_may_have_changed():
    gradient = Gradient()
    batches = SimpleNamespace(group=SimpleNamespace(is_alone=False), share=0.5)
    optimizer = SimpleNamespace(flat=None)
    step = Spread(batches).step(
        nn.Linear(1, 1), [Update("loss", gradient, optimizer, [])]
    )
    step.forget()
    assert gradient.is_forgotten
