"""
=============================
The linear autoencoder is PCA
=============================

With ``activation="identity"`` and random weights at the start, training by gradient
arrives at the subspace of PCA (Baldi and Hornik, 1989).
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
# Training error over PCA's, minus one, and the largest principal angle in radians.
lost, least = (
    ((X - model.inverse_transform(model.transform(X))) ** 2).sum()
    for model in (linear, pca)
)
angle = subspace_angles(linear.components_.T, pca.components_.T).max()
print(f"excess error {lost / least - 1:.1e}, largest angle {angle:.1e}")
