"""How any model is trained: knows parts and tensors, no estimator."""

__all__: list[str] = []
