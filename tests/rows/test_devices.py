"""Which device, what it can do, and what it holds."""

import threading

import pytest
import torch

from skae.rows import devices
from skae.rows.devices import (
    as_double_on,
    full_precision,
    is_out_of_memory,
    memory_for,
    place_of_doubles,
    product_rows,
    resident_bytes,
    resolve_device,
)

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda:0", "mps:0"))
TOO_LITTLE = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


class TestWhich:
    def test_auto_is_a_device_that_works(self):
        torch.empty(1, device=resolve_device("auto"))

    def test_auto_takes_the_cpu_for_little_work(self, monkeypatch):
        monkeypatch.setattr(devices, "_best", lambda: "warp")
        assert resolve_device("auto", work=1e6) == CPU
        with pytest.raises(ValueError, match="'warp'"):
            resolve_device("auto", work=1e9)
        with pytest.raises(ValueError, match="'warp'"):
            resolve_device("auto")

    @pytest.mark.parametrize("there", ["cuda", "xpu", "mps"])
    def test_auto_finds_every_kind_of_accelerator(self, there, monkeypatch):
        for name in ("cuda", "xpu", "mps"):
            module = torch.backends.mps if name == "mps" else getattr(torch, name)
            monkeypatch.setattr(module, "is_available", lambda own=name: own == there)
        assert devices._best() == there

    def test_a_device_is_taken_as_it_is(self):
        assert resolve_device(CPU) == CPU
        assert resolve_device("cpu") == CPU

    @pytest.mark.parametrize("device", ["gpu", "cuda:99", "warp", "meta"])
    def test_a_device_that_cannot_be_used_is_named(self, device):
        with pytest.raises(ValueError, match=f"device='{device}' cannot be used"):
            resolve_device(device)


class TestWhatItCan:
    def test_float64_goes_where_it_can(self):
        assert place_of_doubles(MPS) == CPU
        assert place_of_doubles(CUDA) == CUDA
        x = torch.ones(2)
        assert as_double_on(x).dtype == torch.float64
        assert as_double_on(x.double()).data_ptr() != x.data_ptr()

    @pytest.fixture
    def fast(self):
        """Whether products have few digits, which the user has asked for."""
        matmul = torch.backends.cuda.matmul
        new = hasattr(matmul, "fp32_precision")
        name, value = ("fp32_precision", "tf32") if new else ("allow_tf32", True)
        before = getattr(matmul, name)
        setattr(matmul, name, value)
        yield lambda: getattr(matmul, name) == value
        setattr(matmul, name, before)

    def test_products_on_cuda_are_exact_and_the_setting_is_the_users_again(self, fast):
        with full_precision(CPU):
            assert fast()
        with full_precision(CUDA), full_precision(CUDA):
            assert not fast()
        assert fast()

    def test_products_are_exact_until_the_last_of_several_threads_ends(self, fast):
        entered, leave = threading.Event(), threading.Event()

        def other():
            with full_precision(CUDA):
                entered.set()
                leave.wait(120)

        thread = threading.Thread(target=other)
        with full_precision(CUDA):
            thread.start()
            assert entered.wait(120)
        assert not fast()
        leave.set()
        thread.join()
        assert fast()


class TestWhatItHolds:
    def test_rows_of_products_follow_the_widest_layer(self):
        assert product_rows(CPU, 10**9) == product_rows(CPU)
        assert product_rows(CUDA) == 8192
        rows = [product_rows(CUDA, widest) for widest in (10**4, 10**5, 10**6, 10**9)]
        assert rows == [1024, 128, 16, 16]
        assert product_rows(MPS, 10**5) == 128

    def test_the_cpu_keeps_128_mib_and_others_half_of_what_is_free(self, monkeypatch):
        assert resident_bytes(CPU) == 128 * 2**20
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**10, 2**34))
        assert resident_bytes(CUDA) == 5 * 10**9

    @pytest.mark.parametrize(
        "error", [TOO_LITTLE, RuntimeError("MPS backend out of memory (9 GB)")]
    )
    def test_too_little_memory_is_explained(self, error):
        assert is_out_of_memory(error)
        with (
            pytest.raises(MemoryError, match=r"'cuda:0'.*batch_size=9.*device='cpu'"),
            memory_for(CUDA, "batch_size=9: make it smaller"),
        ):
            raise error

    def test_other_errors_come_through(self):
        with pytest.raises(RuntimeError, match="shape"), memory_for(CUDA, "a row"):
            raise RuntimeError("shape")
