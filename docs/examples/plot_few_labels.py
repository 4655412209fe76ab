"""
======================
Learn from few labels
======================

50 of 1,347 digits have a label. :class:`~sklearn.neural_network.MLPClassifier` learns
from these alone, :class:`~sklearn.semi_supervised.SelfTrainingClassifier` also from
labels that it is sure of, :class:`~skae.StackedAEClassifier` from all rows. A longer
``max_iter`` brings more; the default takes about a minute.
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
rng = np.random.default_rng(0)
labelled = np.concatenate(
    [rng.choice(np.flatnonzero(y == digit), 5, replace=False) for digit in range(10)]
)
y_few = np.full_like(y, -1)
y_few[labelled] = y[labelled]

mlp = MLPClassifier(100, max_iter=1000, random_state=0).fit(X[labelled], y[labelled])
self_training = SelfTrainingClassifier(
    MLPClassifier(100, max_iter=1000, random_state=0), threshold=0.9, max_iter=3
).fit(X, y_few)
stacked = StackedAEClassifier(100, max_iter=20, random_state=0).fit(X, y_few)

# %%
# Accuracy and log-loss on other digits.
for model in (mlp, self_training, stacked):
    loss = log_loss(y_test, model.predict_proba(X_test))
    print(f"{type(model).__name__:24}{model.score(X_test, y_test):8.3f}{loss:8.3f}")
