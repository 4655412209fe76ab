"""
The linear autoencoder is PCA
=============================

With ``activation="identity"`` and random initial weights, training arrives at PCA's
subspace (Baldi and Hornik 1989), and the components are rotated to its axes.
"""

from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from skae import AutoencoderTransformer

X = load_digits().data / 16
pca = PCA(15, random_state=0).fit(X)
linear = AutoencoderTransformer(
    15, activation="identity", init="random", random_state=0
).fit(X)

# %%
# The share of the variance that is lost, over PCA's, and the largest principal angle
# between the two subspaces.
lost, least = (
    ((X - model.inverse_transform(model.transform(X))) ** 2).sum()
    for model in (linear, pca)
)
angle = subspace_angles(linear.components_.T, pca.components_.T).max()
print(f"error over PCA's, minus one: {lost / least - 1:.1e}")
print(f"largest angle, radians: {angle:.1e}")
