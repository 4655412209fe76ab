"""Fitted state as data: arrays and plain values, in memory and in a file."""

__all__: list[str] = []
