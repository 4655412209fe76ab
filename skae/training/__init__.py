"""Loops that know no model: trainer, optimiser, batches and held-out judges."""

__all__: list[str] = []
