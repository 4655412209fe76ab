"""What a model is made of: one small file per axis of choice.

Parts hold hyperparameters or weights and know nothing of data sets, training loops or
estimators. They import torch, NumPy and ``sklearn.base`` only.
"""

__all__: list[str] = []
