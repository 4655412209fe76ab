"""Groups of processes whose members are threads of this one: real sockets, no start."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from skae.distributed.process_group import ProcessGroup, served_store

_LONGEST = 60.0


@pytest.fixture(name="in_group", scope="session")
def _in_group():
    return in_group


def in_group(size: int, work: Callable[[ProcessGroup], Any], deadline=5.0) -> list[Any]:
    """What work returns or raises in each member of a group, by rank."""
    store = served_store("127.0.0.1")
    results: list[Any] = [TimeoutError("the test has not ended")] * size

    def run(rank):
        options = {"name": f"member {rank}", "deadline": deadline, "start": 30.0}
        try:
            with ProcessGroup("127.0.0.1", store.port, rank, size, **options) as group:
                results[rank] = work(group)
        except Exception as error:
            results[rank] = error

    members = [
        threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join(_LONGEST)
    return results
