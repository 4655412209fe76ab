"""Devices and threads."""

import threading

import pytest
import torch
from threadpoolctl import threadpool_info

from skae.rows.isolation import isolated, resolve_device

CPU = torch.device("cpu")


class TestDevices:
    def test_auto_is_a_device_that_works(self):
        torch.empty(1, device=resolve_device("auto"))

    def test_a_device_is_taken_as_it_is(self):
        assert resolve_device(CPU) == CPU
        assert resolve_device("cpu") == CPU

    @pytest.mark.parametrize("device", ["gpu", "cuda:99", "warp"])
    def test_a_missing_device_is_named(self, device):
        with pytest.raises(ValueError, match=f"device='{device}' cannot be used"):
            resolve_device(device)


class TestThreads:
    @staticmethod
    def blas_threads():
        return {
            library["filepath"]: library["num_threads"] for library in threadpool_info()
        }

    def test_one_thread_inside_and_the_old_settings_afterwards(self):
        before = torch.get_num_threads(), self.blas_threads()
        with isolated():
            assert torch.get_num_threads() == 1
            assert set(self.blas_threads().values()) <= {1}
        assert (torch.get_num_threads(), self.blas_threads()) == before

    def test_settings_return_after_an_error(self):
        before = torch.get_num_threads()
        with pytest.raises(KeyError), isolated():
            raise KeyError
        assert torch.get_num_threads() == before

    def test_two_threads_at_once(self):
        before = torch.get_num_threads(), self.blas_threads()
        inside, seen = threading.Barrier(2), []

        def work(leaves_first):
            with isolated():
                inside.wait()
                seen.append(torch.get_num_threads())
                if leaves_first:
                    return
                first.join()
                seen.append(torch.get_num_threads())

        first = threading.Thread(target=work, args=(True,))
        second = threading.Thread(target=work, args=(False,))
        first.start()
        second.start()
        second.join()
        assert seen == [1, 1, 1]
        assert (torch.get_num_threads(), self.blas_threads()) == before

    def test_nested_use_keeps_one_thread(self):
        with isolated():
            with isolated():
                pass
            assert torch.get_num_threads() == 1
