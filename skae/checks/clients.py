"""Dask clients: whether one can be used at all.

Fits on Dask collections ask here before they send anything.
"""

__all__ = ["check_client"]


def check_client(client) -> None:
    """Raise for a client with which a fit would wait for ever.

    Parameters
    ----------
    client : distributed.Client

    Raises
    ------
    TypeError
        For what is no client, or an asynchronous one.
    ValueError
        For a client that is closed or has lost its scheduler.
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
