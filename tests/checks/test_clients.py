"""Clients that a fit cannot use are refused at once."""

import pytest

from skae.checks.clients import check_client

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


def test_closed_clients_are_refused(cluster):
    client = distributed.Client(cluster)
    check_client(client)
    client.close()
    with pytest.raises(ValueError, match="client is closed"):
        check_client(client)


def test_what_is_no_client_is_refused(cluster):
    with pytest.raises(TypeError, match=r"got LocalCluster. A cluster has get_client"):
        check_client(cluster)
    with pytest.raises(TypeError, match="got str"):
        check_client("tcp://127.0.0.1:8786")
