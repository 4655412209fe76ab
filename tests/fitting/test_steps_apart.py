"""Schedules of groups of processes."""

from functools import partial
from types import SimpleNamespace

import pytest

from skae.fitting.defaults import DEFAULTS, length_of
from skae.fitting.steps_apart import schedule_of_group
from skae.training.schedule import Schedule


def schedule_of(n_train, defaults):
    length = length_of(
        n_train, defaults.batch_size, defaults.n_steps, defaults.n_rounds, None
    )
    return Schedule(
        n_rounds=length.n_rounds,
        n_steps=length.n_steps,
        batch_size=defaults.batch_size,
        lr=defaults.lr,
    )


def of_group(n_rows, n_processes, kind="tables", work=7e6):
    shape = n_rows, 100
    parts = SimpleNamespace(defaults=DEFAULTS[kind], work=lambda *_: work)
    own = partial(schedule_of, n_rows)
    defaults = DEFAULTS[kind](*shape, 10)
    alone = own(defaults)
    return alone, schedule_of_group(own, defaults, n_processes, parts, shape)


@pytest.mark.parametrize(("n_processes", "growth"), [(2, 2), (3, 3), (100, 4)])
def test_long_trainings_take_larger_batches_in_fewer_steps(n_processes, growth):
    alone, schedule = of_group(200_000, n_processes)
    assert schedule.batch_size == growth * alone.batch_size
    assert schedule.n_steps * growth == pytest.approx(alone.n_steps, rel=0.1)
    # As many averages as keep the model as good as that of one process.
    assert schedule.n_apart == schedule.n_steps // 120
    assert of_group(200_000, n_processes, work=3e7)[1].n_apart == 8


@pytest.mark.parametrize(
    ("n_rows", "n_processes", "kind"),
    [(200_000, 1, "tables"), (2000, 3, "tables"), (200_000, 2, "images")],
)
def test_others_are_those_of_one_process(n_rows, n_processes, kind):
    alone, schedule = of_group(n_rows, n_processes, kind)
    assert schedule == alone


def test_steps_of_large_networks_are_not_taken_apart():
    assert of_group(200_000, 2, work=3e8)[1].n_apart == 1
