"""Dask clients: which one a fit uses, and whether it can be used at all.

Fits on Dask collections ask here before they send anything. Nothing is imported where
`distributed` is not there yet.
"""

import sys

__all__ = ["check_client", "current_client"]


def current_client():
    """The client that Dask would use now, or None without one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.Client.current()
    except ValueError:
        return None


def check_client(client, timeout=10.0) -> None:
    """Raise for a client with which a fit would wait for ever.

    Parameters
    ----------
    client : distributed.Client
    timeout : float, default=10.0
        Seconds to wait for the first worker.

    Raises
    ------
    TypeError
        For what is no client, or an asynchronous one.
    ValueError
        For a client that is closed or has lost its scheduler.
    TimeoutError
        When there are no workers after ``timeout``.
    """
    from distributed import Client

    if not isinstance(client, Client):
        raise TypeError(
            f"client must be a distributed.Client; got {type(client).__name__}."
            + (" A cluster has get_client()." if hasattr(client, "workers") else "")
        )
    if client.asynchronous:
        raise TypeError(
            "client must be synchronous; this one has asynchronous=True. Fit in a "
            "thread with a client of its own: await asyncio.to_thread(...)."
        )
    if client.status != "running":
        raise ValueError(
            f"The Dask client is {client.status}; connect a new one with "
            "Client(address)."
        )
    if client.nthreads():
        return
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        raise TimeoutError(
            f"The Dask cluster at {client.scheduler.address} has had no workers for "
            f"{timeout:g} seconds. Start some, with cluster.scale(2) or `dask worker`."
        ) from error
