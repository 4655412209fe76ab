"""The parts of captured steps that the CPU can show."""

import pytest
import torch

from skae.training.captured import StepTable, has_graphs


def test_the_cpu_has_no_graphs():
    assert not has_graphs(torch.device("cpu"))


class TestStepTable:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_rows_come_in_their_order_however_many_there_are(self, dtype):
        done = 0
        table = StepTable(
            lambda ahead: [done + ahead, 0.1 * (done + ahead)],
            3,
            torch.zeros(1, dtype=dtype),
        )
        for step in range(8):
            done = step
            table.prepare()
            table.read()
            assert [float(number) for number in table.row] == pytest.approx(
                [step, 0.1 * step]
            )
            assert {number.dtype for number in table.row} == {dtype}
            assert {number.dtype for number in table.single} == {torch.float32}

    def test_rows_stay_where_they_are(self):
        table = StepTable(lambda ahead: [ahead], 4, torch.zeros(1))
        (number,) = table.row
        table.prepare()
        table.read()
        table.prepare()
        table.read()
        assert number == 1

    def test_a_table_that_is_forgotten_is_filled_again(self):
        factor = 1
        table = StepTable(lambda ahead: [factor * (ahead + 1)], 4, torch.zeros(1))
        table.prepare()
        table.read()
        factor = 10
        table.forget()
        table.prepare()
        table.read()
        assert table.row[0] == 10
