"""Rows in chunks and functions mapped over them."""

import numpy as np
import pytest
import torch
from scipy import sparse

from skae.rows import chunks as module
from skae.rows import devices
from skae.rows.chunks import Rows, chunks, map_rows

CPU = torch.device("cpu")


def table(n_samples=20, n_features=3):
    return np.random.default_rng(0).standard_normal((n_samples, n_features))


def test_chunks_cover_the_rows_once(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * 3 * 4)
    found = np.concatenate([np.arange(10)[rows] for rows in chunks(10, 3)])
    assert found.tolist() == list(range(10))
    assert len(list(chunks(10, 3))) == 3


class TestMapRows:
    WEIGHT = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))

    @staticmethod
    def to_model(block):
        return torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))

    @classmethod
    def function(cls, x):
        return torch.tanh(x @ cls.WEIGHT).double()

    @classmethod
    def mapped(cls, X, n_jobs=None):
        out = np.full((X.shape[0], 7), np.nan)
        assert map_rows(X, cls.to_model, cls.function, out, CPU, n_jobs) is out
        return out

    @pytest.fixture(autouse=True)
    def several_chunks(self, monkeypatch):
        """Two products of four rows a chunk."""
        monkeypatch.setitem(devices._PRODUCT_ROWS, "cpu", 4)
        monkeypatch.setattr(module, "_CACHE_BYTES", 8 * 3 * 8)

    @pytest.mark.parametrize("most", [3, 1])
    def test_a_device_with_little_memory_gets_fewer_rows(self, most):
        X = table(103)

        def greedy(x):
            if len(x) > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return self.function(x)

        out = np.empty((103, 7))
        map_rows(X, self.to_model, greedy, out, CPU)
        np.testing.assert_allclose(out, self.mapped(X), atol=1e-6)

    def test_a_device_without_memory_for_one_row_is_named(self):
        def greedy(x):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

        with pytest.raises(MemoryError, match="'cpu' is too small for a single row"):
            map_rows(table(), self.to_model, greedy, np.empty((20, 7)), CPU)

    @pytest.mark.parametrize("n_samples", [0, 1, 4, 8, 9, 103])
    def test_the_result_is_the_function_of_the_rows(self, n_samples):
        X = table(n_samples)
        expected = np.tanh(X @ self.WEIGHT.numpy())
        np.testing.assert_allclose(self.mapped(X), expected, atol=1e-6)

    @pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
    def test_sparse_rows_give_what_dense_ones_give(self, container):
        X = table(103)
        X[np.abs(X) < 0.5] = 0
        assert np.array_equal(self.mapped(container(X)), self.mapped(X))

    @pytest.mark.parametrize("n_jobs", [2, -1])
    def test_the_number_of_jobs_changes_nothing(self, n_jobs):
        X = table(403)
        assert np.array_equal(self.mapped(X, n_jobs), self.mapped(X))

    @pytest.mark.parametrize("own_sizes", [False, True])
    def test_a_row_does_not_depend_on_the_rows_it_came_with(
        self, monkeypatch, own_sizes
    ):
        if own_sizes:
            monkeypatch.undo()
        X = table(603)
        expected = self.mapped(X)
        random = np.random.default_rng(1)
        for size in (1, 2, 5, 17, 300):
            some = random.choice(len(X), size, replace=False)
            assert np.array_equal(self.mapped(X[some]), expected[some])

    def test_the_function_always_gets_as_many_rows(self):
        sizes = set()

        def function(x):
            sizes.add(tuple(x.shape))
            return x

        X = table(11)
        out = map_rows(X, self.to_model, function, np.empty((11, 3)), CPU)
        assert sizes == {(4, 3)}
        assert np.array_equal(out, X.astype(np.float32))

    def test_no_gradients_are_kept(self):
        weight = self.WEIGHT.clone().requires_grad_()
        out = np.empty((5, 7))
        map_rows(table(5), self.to_model, lambda x: x @ weight, out, CPU)
        assert np.isfinite(out).all()


class TestRows:
    @pytest.mark.parametrize("resident", [True, False])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
    @pytest.mark.parametrize("container", ["array", "csr", "memmap"])
    def test_rows_are_scaled(self, monkeypatch, tmp_path, resident, dtype, container):
        X = (10 * table()).astype(dtype)
        if not resident:
            monkeypatch.setattr(devices, "_RESIDENT_BYTES", 0)
        held = X
        if container == "csr":
            held = sparse.csr_array(X)
        elif container == "memmap":
            held = np.memmap(tmp_path / "x", dtype, "w+", shape=X.shape)
            held[:] = X
        center, scale = np.array([1.0, -2.0, 3.0]), 4.0
        rows = Rows(held, center, scale, CPU)
        expected = torch.as_tensor((X - center) / scale, dtype=torch.float32)
        assert len(rows) == 20
        assert rows.n_features == 3
        assert torch.equal(rows[:], expected)
        assert torch.equal(rows[3:7], expected[3:7])
        some = np.array([5, 1, 1])
        assert torch.equal(rows[some], expected[some])

    def test_scaling_happens_in_double_precision(self):
        X = 1e8 + table()
        rows = Rows(X, X.mean(0), 1.0, CPU)
        np.testing.assert_allclose(rows[:], X - X.mean(0), atol=1e-6)

    def test_large_data_are_not_held(self, monkeypatch):
        monkeypatch.setattr(devices, "_RESIDENT_BYTES", 0)
        X = table()
        rows = Rows(X, np.zeros(3), 1.0, CPU)
        X[0] = 7
        assert (rows[:1] == 7).all()
