"""Warnings that point at the line of the user's code that caused them.

Every subpackage that warns calls `warn_user`; how many calls of skae, scikit-learn and
joblib lie between does not matter.
"""

import inspect
import os
import warnings
from pathlib import Path

import joblib
import sklearn

__all__ = ["warn_user"]

_SKAE = Path(os.path.abspath(__file__)).parents[1]
_PACKAGES = _SKAE, Path(sklearn.__file__).parent, Path(joblib.__file__).parent
_INSIDE = tuple(f"{folder}{os.sep}" for folder in _PACKAGES)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the line of the innermost call outside these packages."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
