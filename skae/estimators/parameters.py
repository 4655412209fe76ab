"""Parameters of estimators, declared once: constructor, constraints and documentation.

A class decorated with `estimator` declares its parameters as class variables,

    n_components: int = parameter(2, at_least(1), positional=True)

and the decorator writes the ``__init__`` that only assigns, ``_parameter_constraints``
for scikit-learn's validation and, from the docstrings of its base classes, the entries
of the parameters and attributes that it inherits. A class may declare an inherited
parameter anew for another default, and need not repeat its text. Docstrings of public
methods inherit sections, and single parameters in them, likewise; what X, y,
sample_weight and random_state usually mean is said here.
"""

import dataclasses
import inspect
import re
from numbers import Integral, Real
from typing import Any, dataclass_transform

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, Options, StrOptions

from skae.estimators.lazy import on_collections
from skae.fitting.resolve import hidden_widths
from skae.parts.activations import ACTIVATIONS
from skae.parts.dense import Dense
from skae.state.registry import register

__all__ = [
    "AUTO",
    "INTEGER",
    "WIDTHS",
    "DecayParameters",
    "DenseParameters",
    "PCAStart",
    "RunParameters",
    "TrainingParameters",
    "at_least",
    "choice",
    "completed",
    "estimator",
    "parameter",
    "share",
]

AUTO = StrOptions({"auto"})
WIDTHS = (tuple, list, np.ndarray, Integral)
_TITLES = "Parameters|Attributes|Returns|Raises|See Also|Notes|Examples"
# Entries of methods' parameters where a method says nothing else of them.
_COMMON = """
Parameters
----------
X : {array-like, sparse matrix} of shape (n_samples, n_features)
y : Ignored
sample_weight : array-like of shape (n_samples,), optional
    Non-negative.
random_state : int, RandomState or None, default=None
    None takes the estimator's own, so that an int there gives the same samples in every
    call.
"""
_TITLE = re.compile(rf"\n({_TITLES})\n-+\n")
_ENTRY = re.compile(r"^(?=\S)", re.MULTILINE)


class _Numbers(Interval):
    """An interval without True and False, which Python counts among the integers."""

    def is_satisfied_by(self, val) -> bool:
        return not isinstance(val, bool | np.bool_) and super().is_satisfied_by(val)


def at_least(low: int, kind=Integral, *, closed="left") -> Interval:
    """Numbers from ``low`` on, whole ones unless ``kind`` is ``Real``."""
    return _Numbers(kind, low, None, closed=closed)


INTEGER = _Numbers(Integral, None, None, closed="neither")


def share(closed="neither") -> Interval:
    """Numbers between 0 and 1."""
    return _Numbers(Real, 0, 1, closed=closed)


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
    """Class decorator: complete a class from what it declares and inherits."""
    cls = dataclasses.dataclass(eq=False, repr=False, match_args=False)(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    # Positional ones first, and own ones before those that are inherited.
    declared = (name for base in cls.__mro__ for name in inspect.get_annotations(base))
    names = [name for name in dict.fromkeys(declared) if name in fields]
    names.sort(key=lambda name: fields[name].kw_only)
    signature = inspect.signature(cls.__init__)
    empty = inspect.Parameter.empty
    parameters = [
        signature.parameters["self"],
        *(signature.parameters[name].replace(annotation=empty) for name in names),
    ]
    cls.__init__.__signature__ = inspect.Signature(parameters)
    cls._parameter_constraints = _constraints(cls)
    texts = [vars(base).get("__doc__") for base in cls.__mro__]
    defaults = {name: fields[name].default for name in names}
    cls.__doc__ = completed(texts, names, defaults)
    for name, method in vars(cls).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            bases = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
            texts = [*(base.__doc__ for base in bases), _COMMON]
            order = list(inspect.signature(method).parameters)
            method.__doc__ = completed(texts, order)
    register(cls)
    return on_collections(cls)


def _constraints(cls) -> dict[str, list]:
    """Constraints by parameter, inherited where a class states a default only."""
    constraints: dict[str, list] = {}
    for base in reversed(cls.__mro__):
        for name, field in vars(base).get("__dataclass_fields__", {}).items():
            constraints[name] = field.metadata["constraints"] or constraints[name]
    return constraints


def completed(texts, order, defaults=None) -> str:
    """A docstring with what it inherits.

    Parameters
    ----------
    texts : list of str or None
        The docstring itself, then those to inherit from, the nearest first.
    order : list of str
        Names of the parameters.
    defaults : dict, optional
        Of a class: defaults of parameters, which go into the heads of their entries. A
        class inherits entries only, a method whole sections too.
    """
    sections, *inherited = map(_sections, texts)
    if defaults is None:
        for text in inherited:
            sections = text | sections
    parameters, attributes = (
        _entries([text.get(title, "") for text in (sections, *inherited)])
        for title in ("Parameters", "Attributes")
    )
    for name, default in (defaults or {}).items():
        if name in parameters:
            parameters[name] = _with_default(parameters[name], default)
    names = [name for name in order if name in parameters]
    sections["Parameters"] = "\n".join(parameters[name] for name in names)
    sections["Attributes"] = "\n".join(attributes.values())
    titled = [
        f"{title}\n{'-' * len(title)}\n{sections[title]}"
        for title in _TITLES.split("|")
        if sections.get(title)
    ]
    return "\n\n".join([sections.get("", ""), *titled])


def _sections(text: str | None) -> dict[str, str]:
    """Sections of a docstring by title; what comes before them has none."""
    summary, *others = _TITLE.split("\n" + inspect.cleandoc(text or ""))
    titles, bodies = others[::2], others[1::2]
    sections = {"": summary, **dict(zip(titles, bodies, strict=True))}
    return {title: body.strip("\n") for title, body in sections.items() if body.strip()}


def _entries(sections: list[str]) -> dict[str, str]:
    """Entries by the first name that they document; the first section counts."""
    entries: dict[str, str] = {}
    for section in sections:
        for entry in filter(str.strip, _ENTRY.split(section)):
            entries.setdefault(re.match(r"\**(\w+)", entry)[1], entry.rstrip())
    return entries


def _with_default(entry: str, default) -> str:
    """An entry whose head states the default of this class."""
    head, *rest = entry.split("\n", 1)
    shown = f'"{default}"' if isinstance(default, str) else repr(default)
    return "\n".join([re.sub("default=.*$", lambda _: f"default={shown}", head), *rest])


@estimator
class RunParameters:
    """Where an estimator works and what it says.

    Parameters
    ----------
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1", "xpu" or "mps"; "auto" is the best there is,
        and the CPU for small networks.
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
        With `skae.callbacks.Checkpoint` a fit that was killed goes on.
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

    def _dense(self, code_activation) -> Dense:
        widths = hidden_widths(self.hidden_layer_sizes, self.activation)
        return Dense(widths, self.activation, self.tied_weights, code_activation)


@estimator
class PCAStart:
    """The choice to start as PCA.

    Parameters
    ----------
    init : {"pca", "random"}, default="pca"
        Start as PCA plus a correction by the network, of which held-out samples decide
        how much is kept, or from random weights.

    Attributes
    ----------
    pca_ratio_ : float
        Held-out loss of the model kept over that of the start as PCA; 1 where PCA is
        kept. Only when the model started as PCA and rows were held out.
    pca_t_ : float
        t of the held-out rows' gain over PCA, which decided. Likewise.
    """

    init: str = parameter("pca", choice("pca", "random"))
