"""Clients that a fit cannot use are refused at once."""

import pytest

from skae.checks.clients import check_client, current_client

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with distributed.LocalCluster(
        n_workers=0,
        processes=False,
        dashboard_address="127.0.0.1:0",
        local_directory=tmp_path_factory.mktemp("workers"),
    ) as cluster:
        yield cluster


def test_the_current_client_is_that_of_dask(cluster):
    assert current_client() is None
    with distributed.Client(cluster) as client:
        assert current_client() is client
    assert current_client() is None


def test_clients_without_workers_end_in_an_error(cluster):
    with distributed.Client(cluster) as client:
        with pytest.raises(TimeoutError, match="no workers for 0.1 seconds"):
            check_client(client, timeout=0.1)
        cluster.scale(1)
        check_client(client, timeout=30)


def test_closed_clients_are_refused(cluster):
    client = distributed.Client(cluster)
    client.close()
    with pytest.raises(ValueError, match="client is closed"):
        check_client(client)


def test_what_is_no_client_is_refused(cluster):
    with pytest.raises(TypeError, match=r"got LocalCluster. A cluster has get_client"):
        check_client(cluster)
    with pytest.raises(TypeError, match="got str"):
        check_client("tcp://127.0.0.1:8786")
