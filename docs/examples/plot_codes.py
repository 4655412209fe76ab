"""
Digits as two numbers
=====================

Codes of held-out digits by PCA and by the autoencoder, coloured by class, and what
each rebuilds from them.
"""

from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skae import AutoencoderTransformer
from skae.inspection import ReconstructionDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, _, y_test = train_test_split(X, y, random_state=0, stratify=y)

models = [
    reducer(2, random_state=0).fit(X_train) for reducer in (PCA, AutoencoderTransformer)
]
figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for ax, model in zip(axes, models, strict=True):
    dots = ax.scatter(*model.transform(X_test).T, c=y_test, cmap="tab10", s=9)
    ax.set(title=type(model).__name__, xticks=[], yticks=[])
figure.legend(*dots.legend_elements(), loc="outside right center", frameon=False)

# %%
# Originals and reconstructions.
ReconstructionDisplay.from_estimator(models[1], X_test)
