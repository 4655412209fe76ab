"""The one error of files; whatever reads them raises it. It knows nothing else."""

__all__ = ["ModelFileError"]

_MOST_SHOWN = 2000


class ModelFileError(ValueError):
    """A file that is no model of skae, or a damaged, newer or forged one."""

    def __init__(self, message: object = ""):
        # Words of the file may be of any length, and move a terminal's cursor.
        shown = str(message)[:_MOST_SHOWN]
        super().__init__("".join(c if c.isprintable() else " " for c in shown))
