"""One file for a tree of plain values and arrays: the arrays as safetensors.

The rest of the tree stands as JSON in the file's metadata, beside a header of plain
values that can be read alone, the format's number and a checksum. Reading imports
nothing, runs nothing and takes no more memory than the file has bytes, a few times over
for its JSON. What the tree means is the caller's business.

A file is written beside its place and moved there in one step: whoever reads it sees
the earlier file or the new one, also after a crash.
"""

import hashlib
import json
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

__all__ = ["FORMAT", "ModelFileError", "check_format", "read", "read_header", "write"]

# Raised by one when files of this version cannot be read by an earlier one.
FORMAT = 1
# The entry of the metadata, which holds strings only.
_ENTRY = "skae"
_MOST_JSON = 32 * 2**20
# Bytes of an array of strings, which are as long as the longest.
_MOST_ENTRIES = 32 * 2**20
# Levels of a tree that say nothing in the name of an array.
_SILENT = {"state", "_modules", "_parameters", "_buffers", "data", "items", "fields"}
_NUMBERS = "biuf"


class ModelFileError(ValueError):
    """A file that is no model of skae, or a damaged, newer or forged one."""


def write(path: str | os.PathLike, tree: Any, header: dict | None = None) -> None:
    """Write a tree and a header, replacing an earlier file in one step.

    Parameters
    ----------
    path : str or path-like
    tree : object
        Dictionaries with string keys, lists, numbers, strings, None and arrays.
    header : dict, optional
        Plain values.

    Raises
    ------
    TypeError
        When the tree holds anything else.
    """
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_without_arrays(tree, [], arrays), separators=(",", ":"))
    content = {"format": FORMAT, "header": header or {}, "tree": text}
    content["sha256"] = _checksum(content, arrays)
    path = Path(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        save_file(arrays, draft, metadata={_ENTRY: json.dumps(content)})
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: str | os.PathLike) -> tuple[Any, dict]:
    """The tree and the header of a file.

    Raises
    ------
    ModelFileError
        When the file is not one that `write` made, or has been changed.
    """
    with _opened(path) as file:
        content = _content(file, path)
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        if content["sha256"] != _checksum(content, arrays):
            raise ModelFileError(
                f"{path} is damaged: what it holds does not have its checksum."
            )
        tree = _loaded(content["tree"], path)
        used: set[str] = set()
        tree = _with_arrays(tree, arrays, used)
        if used != set(arrays):
            raise ModelFileError(f"{path} holds arrays that belong to nothing.")
    return tree, content["header"]


def read_header(path: str | os.PathLike) -> tuple[dict, dict[str, tuple]]:
    """The header of a file, and the shape of each of its arrays, without reading them.

    Raises
    ------
    ModelFileError
        When the file is not one that `write` made.
    """
    with _opened(path) as file:
        header = _content(file, path)["header"]
        names = list(file.keys())
        return header, {name: tuple(file.get_slice(name).get_shape()) for name in names}


def check_format(number: Any, what: object) -> None:
    """Raise where a format is none that this version reads."""
    if type(number) is not int or number < 1:
        raise ModelFileError(f"{what} has {number!r} instead of a format number.")
    if number > FORMAT:
        raise ModelFileError(
            f"{what} has the format {number}, but this version of skae reads formats "
            f"up to {FORMAT}. Update skae."
        )


# Details


@contextmanager
def _opened(path):
    """The open file; whatever is wrong with its bytes is a `ModelFileError`."""
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise ModelFileError(f"{path} is not a file.")
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except ModelFileError:
        raise
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFileError(
            f"{path} cannot be read as a file of skae: {error}"
        ) from error


def _content(file, path) -> dict:
    metadata = file.metadata() or {}
    if _ENTRY not in metadata:
        raise ModelFileError(f"{path} was not written by skae.")
    content = _loaded(metadata[_ENTRY], path)
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} has no header of skae.")
    check_format(content.get("format"), path)
    if not (
        isinstance(content.get("header"), dict)
        and isinstance(content.get("tree"), str)
        and isinstance(content.get("sha256"), str)
    ):
        raise ModelFileError(f"The header of {path} is incomplete.")
    return content


def _loaded(text: str, path) -> Any:
    if len(text) > _MOST_JSON:
        raise ModelFileError(
            f"The header of {path} has {len(text)} characters; at most {_MOST_JSON} "
            "are read."
        )
    return json.loads(text)


def _checksum(content: dict, arrays: dict[str, np.ndarray]) -> str:
    checksum = hashlib.sha256()
    stated = {key: content[key] for key in ("format", "header", "tree")}
    checksum.update(json.dumps(stated, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        checksum.update(f"{name} {array.dtype.str} {array.shape}".encode())
        checksum.update(array.reshape(-1).view(np.uint8).data)
    return checksum.hexdigest()


def _without_arrays(tree: Any, path: list[str], arrays: dict) -> Any:
    """The tree with a reference in the place of each array."""
    if isinstance(tree, dict):
        return {k: _without_arrays(v, [*path, k], arrays) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_without_arrays(v, [*path, str(i)], arrays) for i, v in enumerate(tree)]
    if not isinstance(tree, np.ndarray):
        if tree is not None and type(tree) not in (bool, int, float, str):
            raise TypeError(f"{type(tree).__name__} cannot be written to a file.")
        return tree
    if tree.dtype.kind not in _NUMBERS:
        entries = _without_arrays(tree.reshape(-1).tolist(), path, arrays)
        shape, dtype = list(tree.shape), tree.dtype.str
        return {"$": "entries", "items": entries, "shape": shape, "dtype": dtype}
    name = ".".join(part for part in path if part not in _SILENT) or "array"
    name = name if name not in arrays else f"{name}.{len(arrays)}"
    own = np.ascontiguousarray(tree, tree.dtype.newbyteorder("=")).reshape(tree.shape)
    arrays[name] = own
    return {"$": "array", "name": name, "dtype": own.dtype.str}


def _with_arrays(tree: Any, arrays: dict[str, np.ndarray], used: set[str]) -> Any:
    """The tree with its arrays in place."""
    if isinstance(tree, list):
        return [_with_arrays(each, arrays, used) for each in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree.get("$")
    if kind == "array":
        name, dtype = tree["name"], tree["dtype"]
        if name not in arrays:
            raise ModelFileError(f"The array {name!r} is missing.")
        if arrays[name].dtype.str != dtype:
            raise ModelFileError(
                f"The array {name!r} has the dtype {arrays[name].dtype.str} instead of "
                f"{dtype!r}."
            )
        used.add(name)
        return arrays[name]
    if kind == "entries":
        return _entries(tree)
    return {key: _with_arrays(each, arrays, used) for key, each in tree.items()}


def _entries(tree: dict) -> np.ndarray:
    """An array of strings or of objects."""
    dtype, items = np.dtype(tree["dtype"]), tree["items"]
    if dtype.kind not in "OU" or dtype.itemsize * len(items) > _MOST_ENTRIES:
        raise ModelFileError(f"An array of the dtype {tree['dtype']!r} is not allowed.")
    entries = np.empty(len(items), dtype=dtype)
    entries[:] = items
    return entries.reshape(tree["shape"])
