"""Parameters of estimators, declared once: constructor, constraints and documentation.

A class decorated with `estimator` declares its parameters as class variables,

    n_components: int = parameter(2, at_least(1), positional=True)

and the decorator writes the ``__init__`` that only assigns, ``_parameter_constraints``
for scikit-learn's validation and, from the docstrings of its base classes, the entries
of the parameters and attributes that it inherits. A class may declare an inherited
parameter anew for another default, and need not repeat its text.
"""

import dataclasses
import inspect
import re
from numbers import Integral, Real
from typing import Any, dataclass_transform

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, Options, StrOptions

from skae.parts.activations import ACTIVATIONS

__all__ = [
    "AUTO",
    "WIDTHS",
    "DecayParameters",
    "DenseParameters",
    "RunParameters",
    "TrainingParameters",
    "at_least",
    "choice",
    "estimator",
    "parameter",
    "share",
]

AUTO = StrOptions({"auto"})
WIDTHS = (tuple, list, np.ndarray, Integral)
_ENTRY = re.compile(r"^(?=\S)", re.MULTILINE)


def at_least(low: int, kind=Integral, *, closed="left") -> Interval:
    """Numbers from ``low`` on, whole ones unless ``kind`` is ``Real``."""
    return Interval(kind, low, None, closed=closed)


def share(closed="neither") -> Interval:
    """Numbers between 0 and 1."""
    return Interval(Real, 0, 1, closed=closed)


def choice(*words: str) -> StrOptions:
    """One of these words."""
    return StrOptions(set(words))


def parameter(default, *constraints, positional=False) -> Any:
    """Declare a parameter.

    Parameters
    ----------
    default : object
    *constraints : constraint
        What scikit-learn's parameter validation accepts; any of them suffices. Those of
        the inherited parameter where there are none.
    positional : bool, default=False
        Whether it may be passed without its name.
    """
    metadata = {"constraints": list(constraints)}
    return dataclasses.field(default=default, kw_only=not positional, metadata=metadata)


@dataclass_transform(kw_only_default=True, eq_default=False)
def estimator(cls):
    """Class decorator: complete a class from the parameters that it declares."""
    cls = dataclasses.dataclass(eq=False, repr=False, match_args=False)(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    signature = inspect.signature(cls.__init__)
    this, *_ = signature.parameters.values()
    order = [
        signature.parameters[name].replace(annotation=inspect.Parameter.empty)
        for name in _order(cls)
    ]
    order.sort(key=lambda one: one.kind is inspect.Parameter.KEYWORD_ONLY)
    cls.__init__.__signature__ = inspect.Signature([this, *order])
    cls._parameter_constraints = {
        name: field.metadata["constraints"] or _inherited_constraints(cls, name)
        for name, field in fields.items()
    }
    if cls.__doc__:
        defaults = {name: field.default for name, field in fields.items()}
        cls.__doc__ = _completed(cls, [one.name for one in order], defaults)
    return cls


def _inherited_constraints(cls, name) -> list:
    """Constraints of a parameter of which the class declares the default only."""
    for base in cls.__mro__[1:]:
        if name in base.__dict__.get("__dataclass_fields__", {}):
            return base._parameter_constraints[name]
    raise TypeError(f"{name} of {cls.__name__} has no constraints.")


def _order(cls) -> list[str]:
    """The parameters of a class; its own come before those that it inherits."""
    order: list[str] = []
    for base in reversed(cls.__mro__):
        declared = inspect.get_annotations(base)
        known = getattr(base, "__dataclass_fields__", {})
        order = [
            *(name for name in declared if name in known and name not in order),
            *order,
        ]
    return order


def _completed(cls, order, defaults) -> str:
    """The docstring of a class with the entries that it inherits."""
    texts = [
        inspect.cleandoc(base.__dict__.get("__doc__") or "") for base in cls.__mro__
    ]
    text = texts[0]
    for title in ("Parameters", "Attributes"):
        own = _entries(texts[0], title)
        entries = dict(own)
        for inherited in texts[1:]:
            for name, entry in _entries(inherited, title).items():
                entries.setdefault(name, entry)
        names = order if title == "Parameters" else entries
        filled = [
            _with_default(entries[name], defaults.get(name, inspect.Parameter.empty))
            for name in names
            if name in entries
        ]
        text = _with_section(text, title, "".join(filled))
    return text


def _section(text: str, title: str) -> re.Match | None:
    pattern = rf"^{title}\n-+\n(.*?)(?=\n\n^\S[^\n]*\n---|\Z)"
    return re.search(pattern, text, re.MULTILINE | re.DOTALL)


def _entries(text: str, title: str) -> dict[str, str]:
    """Entries of a numpydoc section by the name that they document."""
    found = _section(text, title)
    if found is None:
        return {}
    entries = [entry for entry in _ENTRY.split(found[1]) if entry.strip()]
    return {entry.split(" :")[0].strip(): entry.rstrip() + "\n" for entry in entries}


def _with_section(text: str, title: str, entries: str) -> str:
    """The text with these entries in the section; a new one goes before Examples."""
    found = _section(text, title)
    if found is not None:
        return text[: found.start(1)] + entries.rstrip() + text[found.end(1) :]
    if not entries:
        return text
    section = f"{title}\n{'-' * len(title)}\n{entries}\n"
    before, examples, after = text.partition("Examples\n--------\n")
    return f"{before}{section}{examples}{after}"


def _with_default(entry: str, default) -> str:
    """An entry whose head names the default of this class."""
    if default is inspect.Parameter.empty or default is dataclasses.MISSING:
        return entry
    head, _, rest = entry.partition("\n")
    shown = f'"{default}"' if isinstance(default, str) else repr(default)
    return re.sub(r"default=.*$", lambda _: f"default={shown}", head) + "\n" + rest


@estimator
class RunParameters:
    """Where an estimator works and what it says.

    Parameters
    ----------
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    verbose : int, default=0
        One shows a progress bar and leaves a line on how the training went.
    random_state : int, RandomState or None, default=None
        Decides everything random.
    """

    device: Any = parameter("auto", str, torch.device)
    verbose: int = parameter(0, "verbose")
    random_state: Any = parameter(None, "random_state")


@estimator
class TrainingParameters(RunParameters):
    """How long and where an estimator trains.

    Parameters
    ----------
    batch_size : "auto" or int, default="auto"
        Samples a training step.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW; it rises over the first 5% of the steps and falls
        as a cosine.
    max_iter : int, default=None
        Epochs, passes over the training samples. None takes as many as suit the shape
        of X.
    early_stopping : bool, default=True
        Hold out samples to choose the weights of the best epoch and to stop. False
        trains on all samples and keeps the epoch of the lowest training loss.
    validation_fraction : float, default=0.15
        Share of the samples held out, 1,000 at most.
    n_iter_no_change : int, default=10
        Evaluations without improvement by ``tol`` after which training stops.
    tol : float, default=1e-4
        Relative improvement of the held-out loss that counts.
    warm_start : bool, default=False
        Continue from the previous fit's weights.
    callbacks : list of skorch callbacks, default=None
        Notified by the training loop. The learning rate follows the estimator's own
        schedule, and there is no dataset: LRScheduler and EpochScoring are refused.
    """

    batch_size: Any = parameter("auto", AUTO, at_least(1))
    learning_rate_init: Any = parameter(
        "auto", AUTO, at_least(0, Real, closed="neither")
    )
    max_iter: int | None = parameter(None, None, at_least(1))
    early_stopping: bool = parameter(True, "boolean")
    validation_fraction: float = parameter(0.15, share())
    n_iter_no_change: int = parameter(10, at_least(1), Options(Real, {np.inf}))
    tol: float = parameter(1e-4, at_least(0, Real))
    warm_start: bool = parameter(False, "boolean")
    callbacks: list | None = parameter(None, None, list, tuple)


@estimator
class DecayParameters(TrainingParameters):
    """Training with weight decay.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the weights, per unit of learning rate. Raise it
        against overfitting.
    """

    alpha: Any = parameter("auto", AUTO, at_least(0, Real))


@estimator
class DenseParameters:
    """Layers of a dense encoder and decoder.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int, default=()
        Widths between the input and the code; the decoder mirrors them.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers.
    tied_weights : bool, default=False
        Whether the decoder uses the transposes of the encoder's weights.
    """

    hidden_layer_sizes: Any = parameter((), *WIDTHS)
    activation: str = parameter("relu", choice(*ACTIVATIONS))
    tied_weights: bool = parameter(False, "boolean")
