"""What public methods validate."""

__all__: list[str] = []
