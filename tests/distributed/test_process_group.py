"""Sums, gatherings and errors of groups."""

from datetime import timedelta

import pytest
import torch
from torch.distributed import TCPStore

from skae.distributed import process_group
from skae.distributed.process_group import LostProcessError, ProcessGroup, served_store
from skae.rows.group import ALONE


def test_sums_are_over_all_members_and_in_place(in_group):
    def summed(group):
        tensor = torch.full((3,), group.rank + 1.0)
        return group.sum(tensor) is tensor, tensor.tolist()

    assert in_group(3, summed) == [(True, [6.0, 6.0, 6.0])] * 3


def test_values_come_by_rank_and_merge_in_order(in_group):
    def talk(group):
        merged = group.reduce(str(group.rank), lambda a, b: f"({a}{b})")
        return group.gather(group.rank), group.broadcast(group.rank + 7), merged

    assert in_group(5, talk) == [([0, 1, 2, 3, 4], 7, "(((01)(23))4)")] * 5


def test_a_wish_of_one_is_that_of_all(in_group):
    def ask(group):
        return group.any(group.rank == 1), group.any(False)

    assert in_group(3, ask) == [(True, False)] * 3


def test_alone_everything_is_what_it_was():
    tensor = torch.ones(2)
    assert ALONE.sum(tensor) is tensor
    assert ALONE.gather(3) == [3]
    assert ALONE.broadcast(3) == ALONE.reduce(3, max) == ALONE.together(lambda: 3) == 3
    assert ALONE.any(True)
    assert not ALONE.any(False)


def test_an_error_in_joint_work_is_raised_in_all(in_group):
    def fail(group):
        group.together(lambda: 1 // (group.rank - 1))

    errors = in_group(3, fail)
    assert [type(error) for error in errors] == [ZeroDivisionError] * 3


def test_an_error_elsewhere_ends_the_others_with_its_words(in_group, monkeypatch):
    # The words are in the store at once: nobody waits for as many heartbeats.
    monkeypatch.setattr(process_group, "_GRACE", 1000)

    def fail(group):
        if group.rank == 1:
            raise OSError("the disk is full")
        for _ in range(1000):
            group.sum(torch.ones(1))

    errors = in_group(3, fail)
    assert isinstance(errors[1], OSError)
    for error in (errors[0], errors[2]):
        assert isinstance(error, LostProcessError)
        assert "member 1 failed: OSError: the disk is full" in str(error)


def test_an_interruption_ends_all(in_group):
    def interrupt(group):
        if group.rank == 0:
            group.interrupt("stopped by its client")
        while True:
            group.sum(torch.ones(1))

    for error in in_group(2, interrupt):
        assert isinstance(error, LostProcessError)
        assert "stopped by its client" in str(error)


def test_a_member_that_does_not_come_is_named_after_the_deadline(monkeypatch):
    def connected(self, host, port):
        # The machine may be too busy to reach the store within the deadline.
        return TCPStore(host, port, is_master=False, timeout=timedelta(seconds=60))

    monkeypatch.setattr(ProcessGroup, "_connected", connected)
    store = served_store("127.0.0.1")
    group = ProcessGroup("127.0.0.1", store.port, 0, 2, name="first", deadline=0.5)
    with pytest.raises(LostProcessError, match="process 1 of the fit did not start"):
        group.__enter__()


def test_a_first_process_that_is_gone_is_named():
    store = served_store("127.0.0.1")
    port = store.port
    del store
    group = ProcessGroup("127.0.0.1", port, 1, 2, name="second", deadline=0.5)
    with pytest.raises(LostProcessError, match="could not reach the first process"):
        group.__enter__()
