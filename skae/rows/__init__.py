"""Access to rows in chunks; devices, threads and isolation from the process."""

__all__: list[str] = []
