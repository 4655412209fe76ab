"""Warnings that point at the line of the user's that led to them.

All floors call `warn_user`, whatever decorators and estimators of scikit-learn lie
between.
"""

import inspect
import os
import warnings

import sklearn

__all__ = ["warn_user"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SKLEARN = os.path.dirname(os.path.abspath(sklearn.__file__))
_INSIDE = _PACKAGE + os.sep, _SKLEARN + os.sep


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, as from the innermost call that is neither skae's nor scikit-learn's."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
