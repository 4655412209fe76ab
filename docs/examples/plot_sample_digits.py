"""
=========================
Sample digits of a class
=========================

:class:`~skae.ConditionalVAE` draws rows of the class that is requested, and adds them
to a labelled set.
"""

from sklearn.datasets import load_digits

from skae import ConditionalVAE
from skae.inspection import SampleDisplay

X, y = load_digits(return_X_y=True)
vae = ConditionalVAE(likelihood="bernoulli", random_state=0).fit(X / 16, y)
more_X, more_y = vae.augment(X / 16, y, n_per_class=50)
print(f"{len(X)} rows, {len(more_X)} with the synthetic ones")

# %%
labels = [digit for digit in range(10) for _ in range(2)]
display = SampleDisplay.from_estimator(vae, 20, y=labels, sample_shape=(8, 8))
display.figure_.savefig("samples.png")
