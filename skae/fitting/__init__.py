"""One fit: from parameters and X to fitted attributes."""

__all__: list[str] = []
