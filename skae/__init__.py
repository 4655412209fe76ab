"""skae: autoencoders that behave like scikit-learn estimators.

Swap ``PCA`` for `AutoencoderTransformer`, or ``IsolationForest`` for
`AEOutlierDetector`, and nothing else in the script changes.
"""

from skae.estimators.adversarial import AdversarialAE
from skae.estimators.autoencoder import AutoencoderTransformer
from skae.estimators.conditional import ConditionalVAE
from skae.estimators.convolutional import ConvAE
from skae.estimators.denoising import DenoisingAE
from skae.estimators.gan import GAN
from skae.estimators.outlier import AEOutlierDetector
from skae.estimators.recurrent import RecurrentAE
from skae.estimators.regularized import ContractiveAE, SparseAE
from skae.estimators.stacked import StackedAEClassifier
from skae.estimators.variational import VariationalAE
from skae.state.version import __version__

__all__ = [
    "GAN",
    "AEOutlierDetector",
    "AdversarialAE",
    "AutoencoderTransformer",
    "ConditionalVAE",
    "ContractiveAE",
    "ConvAE",
    "DenoisingAE",
    "RecurrentAE",
    "SparseAE",
    "StackedAEClassifier",
    "VariationalAE",
    "__version__",
]
