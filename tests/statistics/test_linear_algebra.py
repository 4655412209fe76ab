"""Products and decompositions against NumPy's, and bits that threads do not change."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skae.statistics.linear_algebra import (
    eigh,
    inverse,
    norms,
    orthonormal,
    product,
    square_of,
    svd,
)


@pytest.fixture
def A():
    return np.random.default_rng(0).normal(size=(90, 70))


def test_products_are_numpys(A):
    np.testing.assert_allclose(product(A.T, A, A.T), A.T @ A @ A.T)
    np.testing.assert_allclose(product(A[0], A.T), A[0] @ A.T)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 70])
def test_squares_are_products(A, width):
    block = A[:, :width]
    np.testing.assert_allclose(square_of(block), block.T @ block, atol=1e-12)
    np.testing.assert_allclose(square_of(A.T), A @ A.T, atol=1e-12)


def test_decompositions_give_the_matrix_back(A):
    left, values, right = svd(A)
    np.testing.assert_allclose(left * values @ right, A, atol=1e-12)
    q, r = orthonormal(A)
    np.testing.assert_allclose(q @ r, A, atol=1e-12)
    np.testing.assert_allclose(q.T @ q, np.eye(70), atol=1e-12)
    variance, vectors = eigh(A.T @ A)
    assert (np.diff(variance) >= 0).all()
    np.testing.assert_allclose(vectors * variance @ vectors.T, A.T @ A, atol=1e-10)
    np.testing.assert_allclose(inverse(A[:70]) @ A[:70], np.eye(70), atol=1e-8)
    np.testing.assert_allclose(norms(A), np.linalg.norm(A, axis=0))


def test_arrays_of_any_layout_are_taken_and_not_changed(A):
    A.flags.writeable = False
    np.testing.assert_allclose(product(A[::-1], A.T), A[::-1].copy() @ A.T)
    np.testing.assert_allclose(
        product(A.astype(np.float32), np.ones(70, dtype=bool)), A.sum(axis=1), atol=1e-4
    )


def test_bits_do_not_depend_on_the_threads_of_blas():
    A = np.random.default_rng(0).normal(size=(1500, 300))
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, user_api="blas"):
            square = square_of(A)
            found.append([square, product(A, square), *eigh(square), *svd(A)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
