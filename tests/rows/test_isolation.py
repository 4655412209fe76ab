"""Threads and isolation."""

import dis
import functools
import itertools
import re
import sys
import threading

import pytest

# It has an OpenMP library of its own.
import sklearn.neighbors  # noqa: F401
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from skae.rows.isolation import (
    isolated,
    on_all_threads,
    own_threads,
)


@isolated
def run(function=torch.get_num_threads):
    return function()


def numbers():
    """torch's number of threads, that of each library, and the modes of torch."""
    libraries = {each["filepath"]: each["num_threads"] for each in threadpool_info()}
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return torch.get_num_threads(), libraries, torch.get_default_dtype(), *modes


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
class TestThreads:
    def test_own_threads_are_those_outside(self):
        assert own_threads() == 3
        assert run(own_threads) == 3
        assert run(lambda: run(own_threads)) == 3

    def test_own_threads_are_torchs_not_those_of_other_libraries(self):
        with threadpool_limits(5, user_api="openmp"):
            torch.set_num_threads(2)
            assert run(own_threads) == 2

    def test_one_thread_inside_and_the_old_numbers_afterwards(self):
        before = numbers()

        def openmp():
            return [
                each["num_threads"]
                for each in threadpool_info()
                if each["user_api"] == "openmp"
            ]

        assert run() == 1
        assert set(run(openmp)) == {1}
        assert numbers() == before

    def test_products_are_on_one_thread(self):
        a = torch.ones(700, 700, dtype=torch.float64, device="cpu")
        if "MKL" not in torch.__config__.parallel_info():
            pytest.skip("this build of torch has no MKL, which counts by itself")

        def max_threads():
            report = torch.__config__.parallel_info()
            return re.search(r"mkl_get_max_threads\(\) : (\d+)", report).group(1)

        a @ a
        assert (max_threads(), run(max_threads), max_threads()) == ("3", "1", "3")

    def test_numbers_return_after_an_error(self):
        before = numbers()

        def fail():
            raise KeyError

        with pytest.raises(KeyError):
            run(fail)
        assert numbers() == before

    def test_nested_use_keeps_one_thread(self):
        assert run(lambda: (run(), torch.get_num_threads())) == (1, 1)
        assert torch.get_num_threads() == 3

    def test_neighbours_get_the_threads_of_the_caller(self):
        def openmp():
            with on_all_threads():
                return torch.get_num_threads()

        assert run(openmp) == run(lambda: run(openmp)) == 3
        assert torch.get_num_threads() == 3

    def test_an_interrupted_search_leaves_blas_its_threads(self):
        before = numbers()

        def search():
            with on_all_threads():
                # What scikit-learn does, and does not undo after a signal.
                threadpool_limits(1, user_api="blas")
                raise KeyboardInterrupt

        with threadpool_limits(2, user_api="blas"):
            inside = numbers()
            with pytest.raises(KeyboardInterrupt):
                run(search)
            assert numbers() == inside
        assert numbers() == before

    def test_other_threads_keep_their_numbers(self):
        inside, left = threading.Event(), threading.Event()
        found = {}

        def first():
            torch.set_num_threads(2)
            run(lambda: (inside.set(), left.wait()))
            found["first"] = torch.get_num_threads()

        def second():
            inside.wait()
            found["of the process"] = torch.get_num_threads()
            torch.set_num_threads(4)
            found["inside"] = run()
            found["second"] = torch.get_num_threads()
            left.set()

        threads = [threading.Thread(target=each) for each in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {"first": 2, "of the process": 2, "inside": 1, "second": 4}
        assert torch.get_num_threads() == 3


class TestModes:
    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_gradients_inside_and_the_old_mode_afterwards(self, mode):
        with mode():
            before = numbers()
            assert run(torch.is_grad_enabled)
            assert not run(torch.is_inference_mode_enabled)
            assert numbers() == before

    def test_a_mode_that_was_left_behind_is_undone(self):
        run(lambda: torch.set_grad_enabled(False))
        assert torch.is_grad_enabled()

    def test_no_autocast_inside(self):
        a = torch.ones(4, 4)
        with torch.autocast("cpu", torch.bfloat16):
            assert run(lambda: a @ a).dtype == torch.float32
            assert (a @ a).dtype == torch.bfloat16


@functools.cache
def places_of_signals(code):
    """Offsets of instructions before which CPython looks for signals."""
    pairs = itertools.pairwise(dis.get_instructions(code))
    kinds = "CALL", "RESUME", "JUMP_BACKWARD", "SEND", "WITH_EXCEPT_START"
    return {after.offset for each, after in pairs if each.opname.startswith(kinds)}


def test_a_signal_at_any_moment_changes_nothing(three_threads):
    before = numbers()
    for last in range(1000):
        count = itertools.count()

        def trace(frame, event, arg, count=count, last=last):
            frame.f_trace_opcodes = True
            is_place = frame.f_lasti in places_of_signals(frame.f_code)
            if event == "opcode" and is_place and next(count) == last:
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            run()
            break
        except KeyboardInterrupt:
            continue
        finally:
            sys.settrace(None)
            assert numbers() == before
    assert last > 10
