"""
Few labels, many rows
=====================

Five labels of each digit. MLPClassifier learns from these rows alone,
SelfTrainingClassifier adds labels that it is sure of, `StackedAEClassifier` learns from
all rows; -1 marks those without a label.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.semi_supervised import SelfTrainingClassifier

from skae import StackedAEClassifier

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
random = np.random.default_rng(0)
few = np.full_like(y, -1)
for label in range(10):
    few[random.choice(np.flatnonzero(y == label), 5, replace=False)] = label

# %%
# Accuracy and log-loss on other digits.
mlp = MLPClassifier(100, max_iter=1000, random_state=0)
self_training = SelfTrainingClassifier(mlp, threshold=0.9, max_iter=3)
# Left to itself it trains longer, and better by a point.
stack = StackedAEClassifier(100, max_iter=30, random_state=0)
for model, rows in ((mlp, few != -1), (self_training, few < 10), (stack, few < 10)):
    model.fit(X[rows], few[rows])
    loss = log_loss(y_test, model.predict_proba(X_test))
    name = type(model).__name__
    print(f"{name:22}  {model.score(X_test, y_test):.3f}  {loss:.3f}")
