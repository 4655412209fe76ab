"""Numerics without a model."""

__all__: list[str] = []
