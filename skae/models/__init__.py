"""Torch modules with a loss over a batch."""

__all__: list[str] = []
