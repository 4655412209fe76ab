"""Functions on several threads: order, errors, interruption, forks and nesting."""

import os
import signal
import threading

import pytest
import torch
from joblib import Parallel, delayed

from skae.rows import threads
from skae.rows.isolation import isolated
from skae.rows.threads import n_threads, together


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setattr(threads, "_n_processors", lambda: 3)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def met(n_parties=3):
    """Functions that wait for one another, so that each needs a thread."""
    barrier = threading.Barrier(n_parties, timeout=120)

    def function():
        barrier.wait()
        return threading.get_ident()

    return [function] * n_parties


def test_results_come_in_the_order_of_the_functions():
    assert together([lambda n=n: n for n in range(20)]) == list(range(20))
    assert together([]) == []


def test_the_caller_takes_part():
    idents = together(met())
    assert len(set(idents)) == 3
    assert threading.get_ident() in idents


def test_threads_stay_for_the_next_call():
    together(met())
    n_alive = n_helpers()
    for _ in range(20):
        together(met())
    # One that is on its way back may be missed.
    assert n_helpers() <= n_alive + 2


def n_helpers():
    return sum(thread.name == "skae" for thread in threading.enumerate())


def test_no_more_threads_than_the_caller_may_use_or_processors(monkeypatch):
    assert n_threads() == 3
    assert isolated(n_threads)() == 3
    torch.set_num_threads(2)
    assert n_threads() == 2
    monkeypatch.setattr(threads, "_n_processors", lambda: 1)
    assert n_threads() == 1
    assert len(set(together([threading.get_ident] * 3))) == 1


def test_each_thread_is_isolated_and_takes_the_grad_mode_of_the_caller():
    barrier = threading.Barrier(3, timeout=120)

    def state():
        barrier.wait()
        return (
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
        )

    def run():
        return together([state] * 3)

    with torch.autocast("cpu"):
        assert isolated(run)() == [(1, True, False)] * 3
        assert isolated(torch.no_grad()(run))() == [(1, False, False)] * 3
    assert torch.get_num_threads() == 3


def test_the_first_error_is_raised_when_none_runs_any_longer():
    barrier = threading.Barrier(3, timeout=120)
    running, called = [], []

    def function(number):
        running.append(number)
        barrier.wait()
        running.remove(number)
        raise ValueError(number)

    functions = [lambda n=n: function(n) for n in range(3)]
    with pytest.raises(ValueError, match="0"):
        together([*functions, *[lambda: called.append(1)] * 5])
    assert not running
    assert not called
    assert together([lambda: 1] * 3) == [1] * 3


def test_an_interruption_waits_for_the_other_threads():
    if not hasattr(signal, "raise_signal"):
        pytest.skip("no signals")
    begun, ended = threading.Event(), []
    caller = threading.get_ident()

    def function():
        if threading.get_ident() == caller:
            assert begun.wait(120)
            signal.raise_signal(signal.SIGINT)
            return
        begun.set()
        signal_is_there.wait(0.2)
        ended.append(1)

    signal_is_there = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        together([function] * 2)
    assert ended
    assert n_threads() == 3
    assert together(met())


def test_calls_inside_stay_on_their_thread():
    def function():
        idents = together([threading.get_ident] * 4)
        assert set(idents) == {threading.get_ident()}
        return n_threads()

    assert together([function] * 6) == [1] * 6
    assert n_threads() == 3


def test_several_callers_at_once():
    def sums(number):
        return sum(together([lambda n=n: n * number for n in range(10)]))

    results = Parallel(4, require="sharedmem")(delayed(sums)(n) for n in range(20))
    assert results == [45 * n for n in range(20)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    together(met())
    child = os.fork()
    if not child:
        is_well = False
        try:
            is_well = len(set(together(met()))) == 3
        finally:
            os._exit(0 if is_well else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
