"""What users import: estimators with scikit-learn's contract, one family a file."""

from importlib import import_module

__all__ = ["HOMES", "estimator_classes"]

# The module of each class, which is imported when the class is first used.
HOMES = {
    name: f"skae.estimators.{module}"
    for module, names in {
        "adversarial": ["AdversarialAE"],
        "autoencoder": ["AutoencoderTransformer"],
        "conditional": ["ConditionalVAE"],
        "convolutional": ["ConvAE"],
        "denoising": ["DenoisingAE"],
        "gan": ["GAN"],
        "outlier": ["AEOutlierDetector"],
        "recurrent": ["RecurrentAE"],
        "regularized": ["ContractiveAE", "SparseAE"],
        "stacked": ["StackedAEClassifier"],
        "variational": ["VariationalAE"],
    }.items()
    for name in names
}


def estimator_classes() -> list[type]:
    """All that users import."""
    return [getattr(import_module(module), name) for name, module in HOMES.items()]
