"""skae: autoencoders that behave like scikit-learn estimators.

Swap ``PCA`` for `AutoencoderTransformer`, or ``IsolationForest`` for
`AEOutlierDetector`, and nothing else in the script changes.

Classes are imported when they are first used (PEP 562): a program that serves a
detector does not wait for the classifiers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skae.estimators import HOMES
from skae.state.version import __version__

if TYPE_CHECKING:
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
    from skae.persistence import describe, load, save
    from skae.rows.lazy import LazyRows
    from skae.state.errors import ModelFileError

__all__ = [
    "GAN",
    "AEOutlierDetector",
    "AdversarialAE",
    "AutoencoderTransformer",
    "ConditionalVAE",
    "ContractiveAE",
    "ConvAE",
    "DenoisingAE",
    "LazyRows",
    "ModelFileError",
    "RecurrentAE",
    "SparseAE",
    "StackedAEClassifier",
    "VariationalAE",
    "__version__",
    "describe",
    "load",
    "save",
]

_HOMES = {
    **HOMES,
    "LazyRows": "skae.rows.lazy",
    "ModelFileError": "skae.state.errors",
    "describe": "skae.persistence",
    "load": "skae.persistence",
    "save": "skae.persistence",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
