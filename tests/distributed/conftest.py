"""Groups of processes whose members are threads of this one, and a Dask cluster."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from skae.distributed.process_group import ProcessGroup, served_store

_LONGEST = 60.0


@pytest.fixture(name="in_group", scope="session")
def _in_group():
    return in_group


def in_group(size: int, work: Callable[[ProcessGroup], Any]) -> list[Any]:
    """What work returns or raises in each member of a group, by rank.

    Real sockets, and no start of a process. No test waits for the deadline: it is that
    of users, so that a busy machine has the time to send heartbeats.
    """
    store = served_store("127.0.0.1")
    results: list[Any] = [TimeoutError("the test has not ended")] * size

    def run(rank):
        options = {"name": f"member {rank}", "deadline": 30.0, "start": 30.0}
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


@pytest.fixture
def client(_client_of_three):
    """Of a Dask cluster of three worker processes; current for the test alone."""
    with _client_of_three.as_current():
        yield _client_of_three


@pytest.fixture(scope="session")
def _client_of_three(tmp_path_factory):
    """Of a cluster whose workers have one thread each."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    # Workers are forked from a process that has imported torch.
    forking = {"distributed.worker.multiprocessing-method": "forkserver"}
    with dask.config.set(forking):
        distributed.utils.get_mp_context().set_forkserver_preload(["skae.distributed"])
    with (
        dask.config.set(forking),
        distributed.LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            local_directory=tmp_path_factory.mktemp("workers"),
        ) as cluster,
        distributed.Client(cluster, timeout=30, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def in_time():
    """No test may wait for ever."""

    def over(*_):
        raise TimeoutError("the test did not end")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(90)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
