"""Checks of integer arguments, for public methods and callbacks.

Parameters of estimators have their ranges in ``_parameter_constraints``.
"""

from numbers import Integral

__all__ = ["check_integer", "is_integer"]


def is_integer(value) -> bool:
    """Whether a value is an integer; True and False are none here."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(name: str, value, least: int = 1, most: int | None = None) -> None:
    """Raise ValueError unless a value is an integer from ``least`` to ``most``."""
    if is_integer(value) and least <= value and (most is None or value <= most):
        return
    if most is not None:
        required = f"an integer from {least} to {most}"
    elif least == 1:
        required = "a positive integer"
    else:
        required = f"an integer of at least {least}"
    raise ValueError(f"{name} must be {required}; got {value!r}.")
