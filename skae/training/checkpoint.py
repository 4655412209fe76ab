"""`Checkpoint`, which users put among the callbacks, and the header of its file.

What is written, and when, is in `skae.training.recording`; the file is that of
`skae.training.checkpoint_file`.
"""

import os
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skae.state import container
from skae.state.container import ModelFileError

__all__ = [
    "KIND",
    "PLACEHOLDER",
    "WAYS_OUT",
    "Checkpoint",
    "Joined",
    "check_checkpoint",
    "header_of",
    "joined",
    "split_callbacks",
]

KIND = "checkpoint"
PLACEHOLDER = "{fit}"
WAYS_OUT = (
    "Delete the file to start from the beginning, or choose another path; with '{fit}' "
    "in the path every fit has a file of its own."
)


class Checkpoint(BaseEstimator):
    """A file from which a fit that was killed goes on.

    Among the ``callbacks`` of any estimator that trains. The same script run again
    continues from the file, and the model is the one of a fit without interruption, bit
    for bit, with the same versions on the same processor.

    Parameters
    ----------
    path : str or path-like
        The folder has to exist. ``"{fit}"`` in it is replaced by a hash of the class,
        its parameters and the data, for several fits with one path, such as those of
        a search.
    every : float, default=60.0
        Seconds between two writes, which take place after a training step; 0 writes
        after every step.
    keep : bool, default=False
        Whether the file stays when the fit has ended. The same fit then reads its
        result from the file instead of training.

    Notes
    -----
    The class, parameters, callbacks, shape and dtype of X and a hash of rows spread
    over X, of y and of sample_weight have to agree with those in the file; else fit
    raises a ValueError that says what differs. ``n_jobs``, ``verbose`` and callbacks
    that only show something do not count. A seed that was drawn (``random_state=None``
    or a RandomState) is taken from the file. Other versions of torch, NumPy, SciPy and
    scikit-learn lead to a warning.

    After Ctrl-C the file stays, as does one of a fit that fails. Two fits that run at
    the same time cannot have one file. ``partial_fit`` ignores it.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderTransformer
    >>> from skae.callbacks import Checkpoint
    >>> X, _ = load_iris(return_X_y=True)
    >>> path = os.path.join(tempfile.mkdtemp(), "iris.checkpoint")
    >>> callbacks = [Checkpoint(path, every=30)]
    >>> ae = AutoencoderTransformer(2, callbacks=callbacks, random_state=0).fit(X)
    >>> os.path.exists(path)
    False
    """

    # The seed that an estimator around the fitted one has drawn.
    outer_seed: int | None = None

    def __init__(self, path, every=60.0, keep=False):
        self.path = path
        self.every = every
        self.keep = keep

    def seed(self, random_state) -> int:
        """A seed that an estimator around the fit draws: the file's, if there is one.

        Parameters
        ----------
        random_state : int, RandomState or None
        """
        drawn = int(check_random_state(random_state).randint(2**31 - 1))
        if isinstance(random_state, Integral):
            return drawn
        check_checkpoint(self)
        if PLACEHOLDER in str(self.path):
            raise ValueError(
                f"Checkpoint(path={self.path!r}) needs random_state to be an int: the "
                f"rows, and with them {PLACEHOLDER!r}, depend on the seed."
            )
        self.outer_seed = drawn
        if Path(self.path).exists():
            header = header_of(Path(self.path), container.read_header)
            self.outer_seed = header.get("outer_seed") or drawn
        return self.outer_seed


class Joined(BaseEstimator):
    """Among the callbacks of a fit inside another one, whose recording it shares."""

    def __init__(self, recording):
        self.recording = recording


def split_callbacks(callbacks) -> tuple[Any, list]:
    """The `Checkpoint` among callbacks, or None, and the others.

    Raises
    ------
    ValueError
        When there are several.
    """
    entries = list(callbacks or ())
    bare = [e[1] if isinstance(e, tuple) and len(e) == 2 else e for e in entries]
    if Checkpoint in bare:
        raise ValueError(
            "callbacks must have an object, Checkpoint(path); got the class Checkpoint."
        )
    checkpoints = [each for each in bare if isinstance(each, Checkpoint | Joined)]
    if len(checkpoints) > 1:
        raise ValueError(f"callbacks can have one Checkpoint; got {len(checkpoints)}.")
    others = [
        entry
        for entry, callback in zip(entries, bare, strict=True)
        if not isinstance(callback, Checkpoint | Joined)
    ]
    return (checkpoints[0] if checkpoints else None), others


def header_of(path: Path, read: Callable, *, with_tree: bool = False) -> Any:
    """The header of a checkpoint; whatever else is there is refused."""
    is_checkpoint = True
    try:
        first, second = read(path)
        header = second if with_tree else first
        parts = [header.get(name) for name in ("facts", "versions")]
        if header.get("kind") != KIND or not all(isinstance(p, dict) for p in parts):
            is_checkpoint = False
    except ModelFileError as error:
        raise ModelFileError(f"{error} {WAYS_OUT}") from error
    if not is_checkpoint:
        raise ModelFileError(
            f"{path} is no checkpoint, but another file of skae. Choose another path."
        )
    return (first, header) if with_tree else header


def joined(callbacks, recording) -> list:
    """Callbacks for a fit inside another one, which shares its recording if any."""
    _, others = split_callbacks(callbacks)
    return others if recording is None else [*others, Joined(recording)]


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Raise where a parameter of the checkpoint is not valid."""
    path, every = checkpoint.path, checkpoint.every
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"Checkpoint's path must be a file's path; got {path!r}.")
    if not isinstance(every, Real) or isinstance(every, bool) or not float(every) >= 0:
        raise ValueError(
            f"Checkpoint's every must be seconds, at least 0; got {every!r}."
        )
    if not isinstance(checkpoint.keep, bool | np.bool_):
        raise ValueError(f"Checkpoint's keep must be a bool; got {checkpoint.keep!r}.")
