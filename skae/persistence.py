"""Estimators in files: `save`, `load` and `describe`, which users import from `skae`.

A file is one safetensors file with the arrays and plain values of an estimator. Loading
imports nothing by a name in the file and runs nothing from it: it makes objects of
skae's classes and of those that the caller passes, and tries the estimator on one row.
Objects of scikit-learn around skae's, such as pipelines, go through skops, whose bytes
then stand in the same kind of file. How trees become files is in `skae.state`.
"""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skae.estimators.probing import is_fitted, probe
from skae.estimators.skops_bytes import from_skops, to_skops
from skae.estimators.stored import StoredState, made_on, refused, warn_of_newer
from skae.rows.devices import resolve_device
from skae.state import container
from skae.state.container import ModelFileError
from skae.state.plain import from_plain, to_plain
from skae.state.registry import check_trusted, registered_name, strange_names
from skae.state.version import __version__

__all__ = ["ModelFileError", "describe", "load", "save"]

Trusted = Iterable[Any] | Mapping[str, Any]

_MOST_SHOWN = 1000
# What trying out an estimator of any size may take.
_WORKING_BYTES = 16 * 2**20
_SHOWN_ATTRIBUTES = ("n_features_in_", "n_components_", "n_iter_", "departure_")


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write an estimator to a file, fitted or not.

    The file holds arrays and plain values, no pickle. An earlier file of this name is
    replaced in one step: a crash leaves it as it was.

    Parameters
    ----------
    estimator : estimator of skae or scikit-learn
        Objects around skae's estimators, such as a ``Pipeline``, need ``skops``
        (``pip install "skae[skops]"``).
    path : str or path-like
        Any name; ``.safetensors`` is usual.

    Raises
    ------
    TypeError
        When the estimator is none, or holds what a file cannot; the message says
        where. An earlier file stays.

    See Also
    --------
    load : Reads the file.
    describe : What is in the file, without loading it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skae
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> reduce = skae.AutoencoderTransformer(2, random_state=0).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "reduce.safetensors")
    >>> skae.save(reduce, path)
    >>> bool((skae.load(path).transform(X) == reduce.transform(X)).all())
    True
    >>> skae.describe(path)["class"]
    'skae.AutoencoderTransformer'
    """
    if isinstance(estimator, type) or not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"skae.save takes estimators of skae and scikit-learn; got {estimator!r}."
        )
    name = type(estimator).__name__
    strange: dict[str, Any] = {}

    def foreign(thing):
        strange[_full_name(thing)] = thing
        return _full_name(thing)

    try:
        if isinstance(estimator, StoredState):
            tree = to_plain(estimator, foreign)
        else:
            data, names = to_skops(estimator)
            strange.update(dict.fromkeys(names))
            tree = {"skops": np.frombuffer(data, np.uint8)}
        container.write(path, tree, _header(estimator, sorted(strange)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be saved: {error}") from error


def load(
    path: str | os.PathLike,
    device: str | torch.device | None = None,
    trusted: Trusted = (),
) -> Any:
    """Read an estimator from a file that `save` wrote.

    Results have the same bits as before on the same machine, and ``partial_fit`` and
    ``warm_start`` go on as if nothing had happened.

    Parameters
    ----------
    path : str or path-like
    device : str or torch.device, default=None
        Where the networks go, whatever device the file was written on: "cpu", which
        None means, "cuda", "cuda:1", "xpu", "mps", or "auto" for the best there is.
    trusted : iterable of classes and functions, or dict of them by name
        Those in the file that are not skae's: modules, parts, callbacks, subclasses of
        yours, steps of pipelines. `describe` lists their names. They are matched by
        module and name; a dict says which class has which name in the file.

    Returns
    -------
    estimator : object
        Of the class that was saved.

    Raises
    ------
    ModelFileError
        When the file is damaged, forged, or of a newer format, or needs classes that
        are not in ``trusted``; nothing is made of it.
    FileNotFoundError
        When there is no such file.
    """
    target = resolve_device("cpu" if device is None else device)
    classes = _by_name(trusted)
    tree, header = container.read(path)
    n_bytes = container.allowance(os.path.getsize(path)) + _WORKING_BYTES
    versions = header.get("versions")
    if isinstance(versions, dict):
        warn_of_newer(versions.get("skae"), f"{path}")
    with refused(path), made_on(target) as made:
        if isinstance(tree, dict) and set(tree) == {"skops"}:
            estimator = from_skops(tree.pop("skops"), classes, path)
        else:
            check_trusted(strange_names(tree), classes, path)
            estimator = from_plain(tree, target, classes)
            if not isinstance(estimator, StoredState):
                raise ModelFileError(f"{path} holds no estimator.")
            made.append(estimator)
        for each in made:
            probe(each, n_bytes)
    return estimator


def describe(path: str | os.PathLike) -> dict:
    """What is in a file of `save`, without making anything of it.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    description : dict
        ``class``, ``fitted``, ``parameters`` (those that are no plain values as text),
        ``versions`` of skae, torch, scikit-learn, NumPy and Python that wrote the file,
        ``trusted`` (names that `load` needs to be passed), attributes of fitted
        estimators (``n_features_in_``, ``feature_names_in_``, ``classes_`` and others;
        the first 1,000 entries), ``arrays`` (their shapes by name) and ``n_bytes``.

    Raises
    ------
    ModelFileError
        When the file is not one of `save`. The arrays are not checked.
    FileNotFoundError
        When there is no such file.
    """
    header, shapes = container.read_header(path)
    return {**header, "arrays": shapes, "n_bytes": os.path.getsize(path)}


# Details


def _header(estimator, trusted: list[str]) -> dict:
    parameters = estimator.get_params(deep=False)
    header = {
        "class": _public_name(type(estimator)),
        "fitted": _is_fitted(estimator),
        "parameters": {key: _readable(each) for key, each in parameters.items()},
        "versions": {
            "skae": __version__,
            "torch": str(torch.__version__),
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "trusted": trusted,
    }
    for name in (*_SHOWN_ATTRIBUTES, "feature_names_in_", "classes_"):
        # Some are computed, and raise what they like where there are none.
        try:
            header[name] = _readable(getattr(estimator, name))
        except Exception:
            continue
    return header


def _is_fitted(estimator) -> bool:
    if isinstance(estimator, StoredState):
        return is_fitted(estimator)
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def _readable(value: Any) -> Any:
    """A value, or text that says what it is."""
    if isinstance(value, np.ndarray | list | tuple):
        values = value.tolist() if isinstance(value, np.ndarray) else value
        return [_readable(each) for each in values[:_MOST_SHOWN]]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    try:
        # Without addresses, which differ from run to run.
        return re.sub(" at 0x[0-9A-Fa-f]+", "", repr(value))[:_MOST_SHOWN]
    except Exception:
        return f"an object of the class {type(value).__qualname__}"


def _public_name(kind: type) -> str:
    name = registered_name(kind)
    return _full_name(kind) if name is None else f"skae.{name}"


def _full_name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _by_name(trusted: Trusted) -> dict[str, Any]:
    """Trusted classes and functions, by the names that they may have in a file."""
    if isinstance(trusted, str) or not isinstance(trusted, Iterable):
        raise TypeError(
            f"trusted must be a list of classes and functions; got {trusted!r}."
        )
    named = dict(trusted) if isinstance(trusted, Mapping) else None
    things = list(trusted if named is None else named.values())
    for thing in things:
        if not hasattr(thing, "__qualname__"):
            raise TypeError(
                "trusted must hold classes and functions themselves, not names or "
                f"objects; got {thing!r}."
            )
    if named is not None:
        return named
    classes: dict[str, Any] = {}
    for thing in things:
        classes[_full_name(thing)] = thing
        # A script's own classes have no other module while it runs.
        classes.setdefault(f"__main__.{thing.__qualname__}", thing)
    return classes
