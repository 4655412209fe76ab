"""skae: autoencoders that behave like scikit-learn estimators.

Swap ``PCA`` for `AutoencoderTransformer` and nothing else in the script changes.
"""

from skae.estimators.autoencoder import AutoencoderTransformer

__all__ = ["AutoencoderTransformer", "__version__"]

__version__ = "0.1.0"
