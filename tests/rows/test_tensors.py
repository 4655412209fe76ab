"""Tensors whatever torch's defaults are."""

import numpy as np
import pytest
import torch

from skae.rows.tensors import SINGLE, as_double, permutation


@pytest.fixture
def other_defaults():
    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.usefixtures("other_defaults")
def test_defaults_do_not_matter():
    made = torch.zeros(2, **SINGLE)
    assert (made.dtype, made.device.type) == (torch.float32, "cpu")
    array = np.arange(3.0)
    double = as_double(array)
    assert (double.dtype, double.device.type) == (torch.float64, "cpu")
    assert np.shares_memory(double.numpy(), array)
    order = permutation(5, torch.Generator("cpu").manual_seed(0))
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
