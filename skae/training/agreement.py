"""What an interrupted fit and the fit that continues it must have in common.

Facts are short texts, for messages, with a digest: of parameters, of the weights that
a fit starts from, of the rows. `skae.training.checkpoint_file` keeps them in the file.
"""

import hashlib
import json
import re
import types
from typing import Any

import numpy as np
import torch
from scipy import sparse

from skae.rows.sources import RowSource, sampled_rows
from skae.state.plain import to_plain

__all__ = ["Facts", "differences", "digest", "facts_of_data", "facts_of_parameters"]

# By name: a text for the user and a digest.
Facts = dict[str, list[str]]

# Parameters on which no result depends; the seed has a rule of its own.
_WITHOUT_EFFECT = {"n_jobs", "verbose", "callbacks", "device", "random_state"}
_MOST_ENTRIES = 2**20
_FEWEST_ROWS = 256
_LONGEST = 60


def facts_of_parameters(estimator: Any) -> Facts:
    """The class and the parameters of an estimator, but for its callbacks."""
    parameters = estimator.get_params(deep=False)
    seed = parameters.get("random_state")
    facts = {"class": _fact(type(estimator).__name__, type(estimator))}
    for name, value in parameters.items():
        if name not in _WITHOUT_EFFECT:
            facts[name] = _fact(_text(value), value)
    # A state that is drawn from is in the file.
    is_number = isinstance(seed, int | np.integer)
    seed = int(seed) if is_number else "drawn"
    facts["random_state"] = _fact(str(seed), seed)
    return facts


def facts_of_data(**arrays: Any) -> Facts:
    """Shape and dtype of arrays or CSR matrices, and a digest of rows drawn from each.

    None for what the user did not pass. The same for rows in memory and in a source.
    """
    facts = {}
    for name, values in arrays.items():
        if values is None:
            facts[name] = ["None", ""]
            continue
        width = max(1, int(np.prod(values.shape[1:])))
        n_used = min(values.shape[0], max(_FEWEST_ROWS, _MOST_ENTRIES // width))
        numbers = sampled_rows(values)
        step = -(-len(numbers) // n_used)
        if isinstance(values, RowSource):
            some: Any = values.sample[1][::step]
        else:
            some = values[numbers[::step]]
        some = some.toarray() if sparse.issparse(some) else np.asarray(some)
        text = f"{values.dtype} of shape {tuple(values.shape)}"
        facts[name] = [text, digest(some)]
    return facts


def differences(stored: Facts, facts: Facts) -> list[str]:
    """What differs, as texts for an error message."""
    words = []
    for name in sorted({**stored, **facts}):
        before, now = (
            stored.get(name, ["missing", ""]),
            facts.get(name, ["missing", ""]),
        )
        if before[0] != now[0]:
            words.append(f"{name} was {before[0]} and is {now[0]}")
        elif before[1] != now[1]:
            words.append(f"{name} ({now[0]}) has other values")
    return words


def digest(value: Any) -> str:
    """A digest of what a value holds, the same in every process."""
    text = json.dumps(_Description().of(to_plain(value)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _fact(text: str, value: Any) -> list[str]:
    return [text, digest(value)]


def _text(value: Any) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _digest_of_array(array: np.ndarray) -> list:
    if array.dtype.hasobject:
        return [array.shape, [str(entry) for entry in array.ravel()]]
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return [array.dtype.str, array.shape, hashlib.sha256(data).hexdigest()]


class _Description:
    """Trees in which nothing depends on the process, nor is any array."""

    def __init__(self) -> None:
        self._open: list[Any] = []

    def of(self, tree: Any) -> Any:
        """The description of a tree in which there may be functions and objects."""
        if isinstance(tree, dict):
            return {key: self.of(each) for key, each in tree.items()}
        if isinstance(tree, list):
            return [self.of(each) for each in tree]
        if isinstance(tree, np.ndarray):
            return _digest_of_array(tree)
        if tree is None or isinstance(tree, bool | int | float | str):
            return tree
        if isinstance(tree, type):
            return f"{tree.__module__}.{tree.__qualname__}"
        return self._of_object(tree)

    def _of_object(self, thing: Any) -> Any:
        if any(thing is each for each in self._open):
            return "itself"
        self._open.append(thing)
        try:
            return [self.of(type(thing)), self.of(to_plain(self._content(thing)))]
        finally:
            self._open.pop()

    def _content(self, thing: Any) -> Any:
        if isinstance(thing, types.FunctionType):
            cells = [cell.cell_contents for cell in thing.__closure__ or ()]
            defaults = thing.__defaults__, thing.__kwdefaults__
            return [thing.__qualname__, _code(thing.__code__), cells, *defaults]
        if isinstance(thing, types.BuiltinFunctionType | np.ufunc):
            return thing.__name__
        if isinstance(thing, types.MethodType):
            return [thing.__func__, thing.__self__]
        if isinstance(thing, torch.Generator):
            return thing.get_state().numpy()
        if isinstance(thing, np.random.Generator):
            return thing.bit_generator.state
        if hasattr(thing, "func") and hasattr(thing, "keywords"):
            return [thing.func, thing.args, thing.keywords]
        return dict(getattr(thing, "__dict__", {}))


def _code(code: types.CodeType) -> list:
    names = [*code.co_names, *code.co_varnames]
    return [code.co_code.hex(), names, [_constant(each) for each in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    # The order of a set differs from process to process.
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
