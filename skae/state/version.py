"""The version of skae, which stands in pickles and files of estimators."""

__all__ = ["__version__"]

__version__ = "0.2.0.dev0"
