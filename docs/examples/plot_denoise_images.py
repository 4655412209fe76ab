"""
===============
Denoise images
===============

:class:`~skae.ConvAE` learns to remove noise from clean images that it corrupts itself;
a :class:`~skae.inspection.ReconstructionDisplay` shows what is left.
With the default ``max_iter``, less is left.
"""

import numpy as np
from sklearn.datasets import load_digits

from skae import ConvAE
from skae.inspection import ReconstructionDisplay
from skae.parts.corruption import GaussianNoise

images = load_digits().images / 16
train, test = images[:500], images[1400:]
noisy = np.clip(test + np.random.default_rng(0).normal(0, 0.2, test.shape), 0, 1)

noise = GaussianNoise(0.2, relative=False, clip=(0, 1))
ae = ConvAE(kernel_size=2, stride=2, noise=noise, max_iter=20, random_state=0)
ae.fit(train)
clean = ae.denoise(noisy)
print(
    f"squared error: {np.mean((noisy - test) ** 2):.4f} noisy, "
    f"{np.mean((clean - test) ** 2):.4f} cleaned"
)

# %%
display = ReconstructionDisplay.from_estimator(ae, test, X_noisy=noisy)
display.figure_.savefig("denoised.png")
