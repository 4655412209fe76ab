"""Groups of processes whose members are threads of this one, and a Dask cluster."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest

from skae.distributed.process_group import ProcessGroup, served_store

# Seconds that only a test that fails waits for.
_LONGEST = 300.0


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
    # One may have died in an earlier test; the cluster starts another in its place.
    _client_of_three.wait_for_workers(3, timeout=_LONGEST)
    with _client_of_three.as_current():
        yield _client_of_three


@pytest.fixture(scope="session")
def _client_of_three(tmp_path_factory):
    """Of a cluster whose workers have one thread each."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    # Workers are forked from a process that has imported torch.
    options = {
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.comm.timeouts.connect": _LONGEST,
        "distributed.comm.timeouts.tcp": _LONGEST,
    }
    with dask.config.set(options):
        distributed.utils.get_mp_context().set_forkserver_preload(["skae.distributed"])
    with (
        dask.config.set(options),
        distributed.LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            local_directory=tmp_path_factory.mktemp("workers"),
        ) as cluster,
        distributed.Client(cluster, timeout=_LONGEST, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def in_time():
    """No test may wait for ever."""

    def over(*_):
        # Not a TimeoutError, which loops that wait in steps suppress.
        pytest.fail("the test did not end")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(int(_LONGEST))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Clock:
    """In place of `time` in a module: each reading adds ``step`` seconds."""

    step = 0.0
    _ahead = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        self._ahead += self.step
        return time.monotonic() + self._ahead


@pytest.fixture
def clock(monkeypatch):
    """The clock of the client in fits on a cluster, whose deadlines can pass at once.

    Deadlines in tests can then be long, as real work takes long on a busy machine.
    """
    pytest.importorskip("distributed")
    from skae.distributed import cluster, placing

    clock = Clock()
    for module in (cluster, placing):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(placing, "_LOOK", 0.05)

    @contextmanager
    def steps_from(module, name, step):
        """Steps from the first call of this function to the end of the block."""
        function = getattr(module, name)

        def hurried(*args, **kwargs):
            clock.step = step
            return function(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(module, name, hurried)
            try:
                yield
            finally:
                clock.step = 0.0

    clock.steps_from = steps_from
    return clock
