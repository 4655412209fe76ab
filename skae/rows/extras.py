"""Imports of optional packages, which skae's extras install.

For every module that imports such a package when a function needs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["importing"]


@contextmanager
def importing(extra: str, purpose: str) -> Iterator[None]:
    """Say which extra to install where an import in the with block fails.

    ``purpose`` is the noun that begins the message.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs an optional package: pip install "skae[{extra}]" '
            f"({error})."
        ) from error
