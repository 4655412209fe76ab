"""One file for a tree of plain values and arrays: the arrays as safetensors.

The rest of the tree stands as JSON in the file's metadata, beside a header of plain
values that can be read alone, the format's number and checksums. Reading imports
nothing, runs nothing and takes about as much memory as the file has bytes: whatever
would take more is refused by the look of its text, before it is parsed. What the tree
means is the caller's business.

Files are replaced in one step, see `skae.state.replacing`.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from skae.state.errors import ModelFileError
from skae.state.replacing import checked_path, replaced

__all__ = [
    "FORMAT",
    "ModelFileError",
    "allowance",
    "check_format",
    "read",
    "read_header",
    "write",
]

# Raised by one when files of this version cannot be read by an earlier one.
FORMAT = 1
# The entry of the metadata, which holds strings only.
_ENTRY = "skae"
# What safetensors allows the header of a file, in bytes.
_MOST_HEADER = 100_000_000
# Bytes that reading may take beyond twice the file's.
_ALLOWANCE = 16 * 2**20
# Bytes of memory that a character of JSON stands for: of a dictionary, list or entry.
_COSTS = {"{": 240, "[": 72, ",": 40}
# Lists of so many floats are arrays in the file.
_LONG = 256
_FLOAT = 32
# Levels of a tree that say nothing in the name of an array.
_SILENT = {"state", "_modules", "_parameters", "_buffers", "data", "items", "fields"}
# What safetensors holds, and as what other arrays are written: complex numbers,
# strings, dates and spans of time.
_STORED = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_WRITTEN_AS = {"c8": "f4", "c16": "f8", "U": "u4", "S": "u1", "M": "i8", "m": "i8"}
_DTYPE = r"[<|]([biufcUSmM])[1-9]\d{0,8}(\[\w+\])?"
_LAST_CHARACTER = 0x10FFFF
# What reading bytes of any sort may raise.
_WRONG = ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError


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
    ValueError
        When the tree without its arrays is too large to be read again.
    """
    writer = _TreeWriter()
    text = json.dumps(writer.replaced(tree, ()), separators=(",", ":"))
    content = {"format": FORMAT, "header": header or {}, "tree": text}
    content["arrays"] = _checksum_of_arrays(writer.arrays)
    content["sha256"] = _checksum(content)
    metadata = json.dumps(content)
    n_bytes = sum(array.nbytes for array in writer.arrays.values()) + len(metadata)
    cost = writer.cost + _cost(metadata)
    if cost > allowance(n_bytes) or 2 * len(metadata) > _MOST_HEADER:
        raise ValueError(
            f"What the state holds beside its arrays, {len(metadata)} characters, is "
            "too much to be read again."
        )
    try:
        with replaced(path) as draft:
            save_file(writer.arrays, draft, metadata={_ENTRY: metadata})
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def read(path: str | os.PathLike) -> tuple[Any, dict]:
    """The tree and the header of a file.

    Raises
    ------
    ModelFileError
        When the file is not one that `write` made, or has been changed.
    """
    with _opened(path) as (file, n_bytes):
        content = _content(file, path)
        reader = _TreeReader(file, allowance(n_bytes))
        tree = json.loads(content["tree"], object_hook=reader.replaced)
        unused = set(file.keys()) - set(reader.arrays)
        if unused:
            raise ModelFileError(
                f"{path} holds arrays that belong to nothing, such as {min(unused)!r}."
            )
        if content["arrays"] != _checksum_of_arrays(reader.arrays):
            raise ModelFileError(
                f"{path} is damaged: its arrays do not have their checksum."
            )
    return tree, content["header"]


def read_header(path: str | os.PathLike) -> tuple[dict, dict[str, tuple]]:
    """The header of a file, and the shape of each of its arrays, without reading them.

    Raises
    ------
    ModelFileError
        When the file is not one that `write` made.
    """
    with _opened(path) as (file, _):
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


def allowance(n_bytes: int) -> int:
    """Bytes of memory that reading a file of so many bytes may take."""
    return 2 * n_bytes + _ALLOWANCE


# Details


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Any, int]]:
    """The open file and its size; what is wrong with its bytes is a ModelFileError."""
    path = checked_path(path)
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise ModelFileError(f"{path} is not a file.")
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        n_bytes = _checked_size(path)
        with safe_open(path, framework="numpy") as file:
            yield file, n_bytes
    except ModelFileError:
        raise
    except (SafetensorError, *_WRONG) as error:
        raise ModelFileError(
            f"{path} cannot be read as a file of skae: {error}"
        ) from error


def _checked_size(path: str | os.PathLike) -> int:
    """The size of a file whose header takes no more memory than it may."""
    n_bytes = os.path.getsize(path)
    with open(path, "rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if not 0 < n_header <= min(_MOST_HEADER, n_bytes - 8):
            raise ModelFileError(f"{path} is no safetensors file, or is truncated.")
        header = file.read(n_header)
    _check_cost(_cost(header.decode()), n_bytes)
    return n_bytes


def _cost(text: str) -> int:
    return sum(text.count(sign) * cost for sign, cost in _COSTS.items()) + 3 * len(text)


def _check_cost(cost: int, n_bytes: int) -> None:
    if cost > allowance(n_bytes):
        raise ModelFileError(
            f"The file has {n_bytes} bytes and would take more than twice as many in "
            "memory."
        )


def _content(file, path) -> dict:
    metadata = file.metadata() or {}
    if _ENTRY not in metadata:
        raise ModelFileError(f"{path} was not written by skae.")
    content = json.loads(metadata[_ENTRY])
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} has no header of skae.")
    check_format(content.get("format"), path)
    kinds = {"header": dict, "tree": str, "arrays": str, "sha256": str}
    if not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
        raise ModelFileError(f"The header of {path} is incomplete.")
    if content["sha256"] != _checksum(content):
        raise ModelFileError(
            f"{path} is damaged: its header does not have its checksum."
        )
    return content


def _checksum(content: dict) -> str:
    """Of all but the arrays, for which their own checksum stands."""
    stated = {key: content[key] for key in ("format", "header", "tree", "arrays")}
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _checksum_of_arrays(arrays: dict[str, np.ndarray]) -> str:
    checksum = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        checksum.update(f"{name} {array.dtype.str} {array.shape}".encode())
        checksum.update(array.reshape(-1).view(np.uint8).data)
    return checksum.hexdigest()


class _TreeWriter:
    """Collects the arrays of a tree and puts references in their places."""

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}
        self.cost = 0

    def replaced(self, tree: Any, path: tuple[str, ...]) -> Any:
        if isinstance(tree, dict):
            if not all(type(key) is str for key in tree):
                raise TypeError(f"A dictionary has keys that are no strings: {tree!r}.")
            return {
                key: self.replaced(each, (*path, key)) for key, each in tree.items()
            }
        if isinstance(tree, list):
            if len(tree) >= _LONG and all(type(each) is float for each in tree):
                self.cost += _FLOAT * len(tree)
                return {"$": "floats", "name": self._kept(np.array(tree), path)}
            return [self.replaced(each, (*path, str(i))) for i, each in enumerate(tree)]
        if type(tree) is np.ndarray:
            return self._array(tree, path)
        return _checked_entry(tree)

    def _array(self, array: np.ndarray, path: tuple[str, ...]) -> dict:
        if array.dtype.kind == "O":
            entries = [_checked_entry(each) for each in array.reshape(-1).tolist()]
            text = json.dumps(entries, separators=(",", ":"))
            self.cost += _cost(text)
            name = self._kept(np.frombuffer(text.encode(), np.uint8), path)
            return {"$": "entries", "name": name, "shape": list(array.shape)}
        dtype = array.dtype.newbyteorder("=")
        if dtype.itemsize == 0:
            dtype = np.dtype(f"{dtype.kind}1")
        own = np.ascontiguousarray(array, dtype).reshape(array.shape)
        written = _written_as(dtype)
        if written is None:
            raise TypeError(
                f"An array of the dtype {dtype} cannot be written to a file."
            )
        if written != dtype:
            own = own[..., None].view(written)
        return {"$": "array", "name": self._kept(own, path), "dtype": dtype.str}

    def _kept(self, array: np.ndarray, path: tuple[str, ...]) -> str:
        """The name that says where in the tree the array was."""
        name = ".".join(part for part in path if part not in _SILENT)
        name = re.sub(r"[^\w.]", "_", name, flags=re.ASCII)[:200] or "array"
        name = name if name not in self.arrays else f"{name}.{len(self.arrays)}"
        self.arrays[name] = array
        return name


def _checked_entry(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is not None and type(value) not in (bool, int, float, str):
        raise TypeError(f"{type(value).__name__} cannot be written to a file.")
    return value


def _written_as(dtype: np.dtype) -> np.dtype | None:
    """What safetensors holds in the place of a dtype, or None."""
    name = f"{dtype.kind}{dtype.itemsize}"
    if name in _STORED:
        return dtype
    written = _WRITTEN_AS.get(name, _WRITTEN_AS.get(dtype.kind))
    return None if written is None else np.dtype(written)


class _TreeReader:
    """Puts the arrays back, each in one place only."""

    def __init__(self, file, n_bytes: int):
        self._file = file
        self._n_bytes = n_bytes
        self._names = set(file.keys())
        self._cost = 0
        self.arrays: dict[str, np.ndarray] = {}

    def replaced(self, entry: dict) -> Any:
        """What a dictionary of the tree stands for; json calls it inside out."""
        kind = entry.get("$")
        if kind == "array":
            return self._array(entry)
        if kind == "floats":
            array = self._taken(entry["name"], np.dtype(np.float64), 1)
            self._spend(_FLOAT * array.size)
            return array.tolist()
        return self._entries(entry) if kind == "entries" else entry

    def _array(self, entry: dict) -> np.ndarray:
        text = entry["dtype"]
        if not (isinstance(text, str) and re.fullmatch(_DTYPE, text)):
            raise ModelFileError(f"{text!r} is no dtype of an array.")
        dtype = np.dtype(text)
        written = _written_as(dtype)
        if written is None or dtype.str != text:
            raise ModelFileError(f"{text!r} is no dtype of an array.")
        array = self._taken(entry["name"], written)
        if written == dtype:
            return array
        if array.ndim == 0 or array.shape[-1] * written.itemsize != dtype.itemsize:
            raise ModelFileError(
                f"The array {entry['name']!r} of shape {array.shape} is no {text!r}."
            )
        if dtype.kind == "U" and array.size and array.max() > _LAST_CHARACTER:
            raise ModelFileError(f"The array {entry['name']!r} holds no text.")
        return array.reshape(-1).view(dtype).reshape(array.shape[:-1])

    def _entries(self, entry: dict) -> np.ndarray:
        """An array of objects: of strings of different lengths, say."""
        text = self._taken(entry["name"], np.dtype(np.uint8), 1).tobytes().decode()
        self._spend(_cost(text))
        items = json.loads(text)
        if not isinstance(items, list) or any(
            isinstance(each, list | dict) for each in items
        ):
            raise ModelFileError(f"The array {entry['name']!r} holds no entries.")
        entries = np.empty(len(items), dtype=object)
        entries[:] = items
        return self._in_bounds(entries.reshape(entry["shape"]))

    def _taken(self, name: Any, dtype: np.dtype, ndim: int | None = None) -> np.ndarray:
        if name not in self._names:
            raise ModelFileError(f"The array {name!r} is missing.")
        if name in self.arrays:
            raise ModelFileError(f"The array {name!r} stands in two places.")
        array = self._file.get_tensor(name)
        if array.dtype != dtype or ndim not in (None, array.ndim):
            raise ModelFileError(
                f"The array {name!r} has the dtype {array.dtype} and the shape "
                f"{array.shape}, where {dtype} was expected."
            )
        self.arrays[name] = self._in_bounds(array)
        return array

    def _in_bounds(self, array: np.ndarray) -> np.ndarray:
        """An array, of which no axis of no length hides what would fill memory."""
        if not array.size and math.prod(filter(None, array.shape)) > self._n_bytes:
            raise ModelFileError(f"An array of the file has the shape {array.shape}.")
        return array

    def _spend(self, cost: int) -> None:
        self._cost += cost
        if self._cost > self._n_bytes:
            raise ModelFileError("The file would take too much memory.")
