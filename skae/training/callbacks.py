"""skorch's callbacks, as far as the training loop can notify them."""

import inspect
import traceback
from collections import Counter
from typing import Any

import skorch.callbacks
from skorch import NeuralNet
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochTimer,
    LoadInitState,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    TrainEndCheckpoint,
)
from skorch.callbacks.scoring import ScoringBase
from skorch.callbacks.training import Freezer, ParamMapper, Unfreezer
from skorch.utils import freeze_parameter, unfreeze_parameter
from tqdm import tqdm as tqdm_base
from tqdm.auto import tqdm

from skae.training.attributes import attributes_of, load_attributes
from skae.training.checkpoint import split_callbacks

__all__ = [
    "ProgressBar",
    "Showing",
    "influential_callbacks",
    "callback_states",
    "check_callbacks",
    "is_early_stopping",
    "is_print_log",
    "load_callbacks",
    "named_callbacks",
    "watch_batches",
    "without_showing",
]

_SCORING = (
    "there is no dataset to predict on; score in on_epoch_end of a callback of your "
    "own, or with scikit-learn's set_callbacks"
)
_FREEZING = (
    "the optimiser moves all parameters as one buffer; call requires_grad_(False) on "
    "the layers of your own modules before the fit"
)
_BEST_IS_KEPT = (
    "the best weights are kept without it; leave load_best out, and use "
    "skae.callbacks.Checkpoint to go on after a kill"
)
_UNSUPPORTED = {
    ScoringBase: _SCORING,
    LRScheduler: "the learning rate follows the estimator's own schedule; set "
    "learning_rate_init and max_iter",
    Freezer: _FREEZING,
    Unfreezer: _FREEZING,
    LoadInitState: "a fit goes on from a fitted estimator; use warm_start=True, or "
    "skae.callbacks.Checkpoint after a kill",
}


def check_callbacks(callbacks) -> None:
    """Refuse what the training loop cannot notify.

    Raises
    ------
    ValueError
        When an entry is no skorch callback, or one that has nothing to act on.
    """
    _, callbacks = split_callbacks(callbacks)
    for entry in callbacks:
        callback = entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                f"callbacks must be a list of skorch callbacks; got {entry!r} in it."
            )
        if isinstance(callback, type):
            _check_makes_itself(callback)
        reason = _reason_against(callback, kind)
        if reason is not None:
            raise ValueError(f"{reason[0]} cannot be used: {reason[1]}.")


def _check_makes_itself(kind: type) -> None:
    """Raise for a class that needs arguments, in place of which it stands alone."""
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise ValueError(
            f"callbacks has the class {kind.__name__}, which cannot be made without "
            f"arguments ({error}); pass {kind.__name__}(...) in its place."
        ) from None


def _reason_against(callback, kind: type) -> tuple[str, str] | None:
    """What of a callback does not work, and why; None where all of it does."""
    name = kind.__name__
    for unsupported, reason in _UNSUPPORTED.items():
        if issubclass(kind, unsupported):
            return name, reason
    if getattr(callback, "load_best", False) is True:
        return f"{name}(load_best=True)", _BEST_IS_KEPT
    if getattr(callback, "f_pickle", None) is not None:
        reason = "the training loop is not for pickling; pickle the fitted estimator"
        way_out = "use f_params, or skae.callbacks.Checkpoint to go on after a kill"
        return f"{name}(f_pickle=...)", f"{reason}, {way_out}"
    freezes = getattr(callback, "fn", None) in (freeze_parameter, unfreeze_parameter)
    if issubclass(kind, ParamMapper) and freezes:
        return name, _FREEZING
    return None


def named_callbacks(callbacks) -> list[tuple[str, Any]]:
    """Callbacks with the names that skorch gives to those that have none.

    That of their class, with a number where several have the same.
    """
    named = []
    for entry in callbacks or ():
        if isinstance(entry, tuple | list):
            named.append(tuple(entry))
        else:
            kind = entry if isinstance(entry, type) else type(entry)
            named.append((kind.__name__, entry))
    counts = Counter(name for name, _ in named)
    numbers: Counter = Counter()
    unique = []
    for name, callback in named:
        numbers[name] += 1
        suffix = f"_{numbers[name]}" if counts[name] > 1 else ""
        unique.append((name + suffix, callback))
    return unique


def influential_callbacks(callbacks) -> list[tuple]:
    """Name, class and parameters of the callbacks that may change a training."""
    influential = []
    for name, callback in named_callbacks(split_callbacks(callbacks)[1]):
        is_class = isinstance(callback, type)
        kind = callback if is_class else type(callback)
        if not issubclass(kind, _SHOWING):
            own = {} if is_class else vars(callback)
            names = inspect.signature(kind.__init__).parameters
            influential.append((name, kind, {n: own[n] for n in names if n in own}))
    return influential


def without_showing(callbacks) -> list | None:
    """Callbacks without those that do not change a training."""
    if callbacks is None:
        return None
    bare = [e[1] if isinstance(e, tuple) and len(e) == 2 else e for e in callbacks]
    return [
        entry
        for entry, callback in zip(callbacks, bare, strict=True)
        if not issubclass(
            callback if isinstance(callback, type) else type(callback), _SHOWING
        )
    ]


def callback_states(callbacks) -> tuple[dict, list[str]]:
    """Attributes of callbacks as plain values, and the names of all others."""
    states, others = {}, []
    for name, callback in callbacks:
        states[name], left_out = attributes_of(callback)
        others += [
            f"{name}.{attribute}"
            for attribute, value in left_out.items()
            if not _is_harmless(value)
        ]
    return states, others


def load_callbacks(callbacks, states: dict) -> None:
    """Restore what `callback_states` returned."""
    for name, callback in callbacks:
        load_attributes(callback, states.get(name, {}))


def _is_harmless(value) -> bool:
    """Whether a value has no state, or one that only shows something."""
    if type(value) in (list, tuple, set):
        return all(map(_is_harmless, value))
    if type(value) is dict:
        return all(map(_is_harmless, [*value, *value.values()]))
    plain = (type(None), bool, int, float, str, bytes)
    return callable(value) or isinstance(value, (*plain, tqdm_base, NeuralNet))


def watch_batches(callbacks) -> bool:
    """Whether one of these named callbacks has a hook of batches."""
    return any(
        getattr(type(callback), hook, None) is not getattr(Callback, hook)
        for _, callback in callbacks
        if not isinstance(callback, PassthroughScoring)
        for hook in ("on_batch_begin", "on_grad_computed", "on_batch_end")
    )


def is_print_log(entry) -> bool:
    callback = entry[1] if isinstance(entry, tuple) else entry
    return isinstance(callback, PrintLog) or callback is PrintLog


def is_early_stopping(error: KeyboardInterrupt) -> bool:
    """Whether skorch's EarlyStopping raised it, as it does to stop; else Ctrl-C did."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_code is EarlyStopping.on_epoch_end.__code__


class ProgressBar(Callback):
    """A tqdm bar over rounds that shows the monitored loss."""

    def __init__(self, monitored):
        self.monitored = monitored

    def on_train_begin(self, net, **kwargs):
        # A training that is resumed has a history.
        options = {"total": net.max_epochs, "initial": max(0, len(net.history) - 1)}
        self.bar = tqdm(desc="training", leave=False, **options)

    def on_epoch_end(self, net, **kwargs):
        self.bar.set_postfix(loss=f"{net.history[-1, self.monitored]:.4g}")
        self.bar.update()

    def on_train_end(self, net, **kwargs):
        self.bar.close()


class Showing(Callback):
    """Base of callbacks that change no training."""


# Callbacks that do not change a training.
_SHOWING = (
    Showing,
    ProgressBar,
    skorch.callbacks.ProgressBar,
    skorch.callbacks.Checkpoint,
    TrainEndCheckpoint,
    EpochTimer,
    PassthroughScoring,
    PrintLog,
)
