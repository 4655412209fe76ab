"""Ranks of values in sorted tables."""

import pytest
import torch

from skae.statistics.ranks import n_below

TABLES = [[2.0], [1.0, 2.0, 2.0], [0.0, 1.0, 1.0, 3.0], list(range(9))]


@pytest.mark.parametrize("or_equal", [False, True])
@pytest.mark.parametrize("table", TABLES, ids=len)
def test_traced_ranks_are_those_of_searchsorted(table, or_equal, monkeypatch):
    table = torch.tensor(table, dtype=torch.float64)
    values = torch.tensor([-1e300, 0, 0.5, 1, 2, 2.5, 3, 8, 1e300], dtype=table.dtype)
    expected = torch.searchsorted(table, values, right=or_equal)
    assert n_below(table, values, or_equal=or_equal).equal(expected)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert n_below(table, values, or_equal=or_equal).equal(expected)
