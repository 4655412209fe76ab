"""Imports of optional packages, which skae's extras install.

For every module that imports such a package when a function needs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["importing"]


@contextmanager
def importing(extra: str, purpose: str) -> Iterator[None]:
    """A with block whose imports need the packages of an extra.

    Parameters
    ----------
    extra : str
        Its name in ``pip install "skae[name]"``.
    purpose : str
        What needs them, a singular noun that begins the message.

    Raises
    ------
    ImportError
        When an import fails; the message says what to install.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs an optional package: pip install "skae[{extra}]" '
            f"({error})."
        ) from error
