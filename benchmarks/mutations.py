"""Damaged and forged copies of a file that `skae.save` wrote.

`benchmarks/fuzz_files.py` and tests/test_fuzz_files.py read them. Half of the sorts
change bytes; the others are an attacker's, who writes the checksums anew: any edit of
the tree, of the arrays and of the bytes of skops.
"""

import copy
import hashlib
import io
import json
import pickle
import random
import zipfile
from contextlib import suppress
from typing import NamedTuple

import numpy as np

__all__ = ["SORTS", "Document", "mutated"]

DTYPES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}
IN_NUMPY = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
CLASSES = (
    "AutoencoderTransformer VariationalAE GAN AEOutlierDetector StackedAEClassifier "
    "RecurrentAE Autoencoder GANModule Stack DenseCodec ConvCodec RecurrentCodec "
    "PairCodec Dense Conv Gaussian StudentT Bernoulli Masked Categorical Units Member "
    "Calibration Neighbours RobustUnits Reference Classes Numbers CodeDensity "
    "FittedMixture Checkpoint FrozenEstimator masked noisy Custom Mixture Affine Guard "
    "torch.nn.Linear torch.nn.Module torch.nn.Sequential torch.nn.ModuleList "
    "torch.nn.ParameterList torch.nn.Conv2d torch.nn.LSTM torch.nn.Transformer "
    "torch.nn.Upsample torch.nn.Fold torch.nn.TripletMarginWithDistanceLoss "
    "os.system builtins.eval __main__.Owned torch.nn.functional subprocess.Popen"
).split()
KINDS = (
    "object array tensor tuple set dict slice same name scalar dtype torch_dtype "
    "device random_state floats entries class value keep"
).split()
NAMES = (
    "../../../etc/passwd",
    "/dev/zero",
    "C:\\windows\\win.ini",
    "a" * 100_000,
    "\0",
    "\ud800",
    "",
    "__class__",
    "__dict__",
    "forward",
    "_forward_hooks",
    "$",
    "meta",
    "cuda:99",
    "<V1000000000",
    "(1000000000,)f8",
    "O",
)
NUMBERS = (
    10**9,
    -1,
    0,
    1,
    2,
    10**30,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    -0.5,
    True,
)


class Owned:
    """What an attacker would have run."""

    def __reduce__(self):
        return exec, ("import antigravity",)


class Document(NamedTuple):
    """The parts of a file."""

    content: dict
    tree: object
    entries: dict
    arrays: dict

    @classmethod
    def of(cls, data: bytes) -> "Document":
        n_header = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + n_header])
        content = json.loads(header.pop("__metadata__")["skae"])
        arrays = {
            name: data[8 + n_header :][slice(*each["data_offsets"])]
            for name, each in header.items()
        }
        return cls(content, json.loads(content["tree"]), header, arrays)

    def copied(self) -> "Document":
        return copy.deepcopy(self)

    def joined(self, text: str | None = None) -> bytes:
        """The bytes of a file, with checksums that are right."""
        data, entries = b"", {}
        for name, entry in self.entries.items():
            start = len(data)
            data += self.arrays[name]
            entries[name] = {**entry, "data_offsets": [start, len(data)]}
        content = dict(self.content)
        content["tree"] = json.dumps(self.tree) if text is None else text
        content["arrays"] = self._checksum()
        stated = {key: content.get(key) for key in ("format", "header")}
        stated |= {key: content[key] for key in ("tree", "arrays")}
        text = json.dumps(stated, sort_keys=True)
        content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        entries["__metadata__"] = {"skae": json.dumps(content)}
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header + data

    def _checksum(self) -> str:
        checksum = hashlib.sha256()
        for name in sorted(self.arrays):
            entry = self.entries[name]
            dtype, shape = IN_NUMPY.get(entry["dtype"]), tuple(entry["shape"])
            checksum.update(f"{name} {dtype} {shape}".encode(errors="replace"))
            checksum.update(self.arrays[name])
        return checksum.hexdigest()


def mutated(document: Document, data: bytes, sort: str, rng: random.Random) -> bytes:
    """The bytes of a file with one change or a few of a sort.

    Parameters
    ----------
    document : Document
        Of ``data``; it is left as it is.
    data : bytes
    sort : str
        One of ``SORTS``.
    rng : random.Random
    """
    if sort in _OF_BYTES:
        return _OF_BYTES[sort](data, rng)
    own = document.copied()
    text = None
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # An earlier change may have left nothing that suits.
        with suppress(LookupError, ValueError, TypeError, AttributeError):
            text = _FORGED[sort](own, rng)
    return own.joined(text)


# Bytes


def _flipped(data, rng):
    own = bytearray(data)
    n_header = int.from_bytes(data[:8], "little")
    last = rng.choice((8, 8 + n_header, len(data)))
    for _ in range(rng.choice((1, 1, 8))):
        own[rng.randrange(last)] ^= 1 << rng.randrange(8)
    return bytes(own)


def _truncated(data, rng):
    return data[: rng.choice((0, 4, 8, rng.randrange(len(data)), len(data) - 1))]


def _inserted(data, rng):
    at = rng.randrange(len(data) + 1)
    more = rng.choice((rng.randbytes(rng.randrange(1, 99)), b"\0" * 8, data[:at]))
    return data[:at] + more + data[at:]


def _removed(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 200) :]


def _length(data, rng):
    most = 2**64 - 1
    number = rng.choice((0, 1, len(data), len(data) - 8, 10**8, 2**63, most))
    return number.to_bytes(8, "little") + data[8:]


def _header_edited(data, rng):
    """The header of safetensors, and not the metadata."""
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n_header])
    name = rng.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    change = rng.randrange(6)
    if change == 0:
        entry["shape"] = rng.choice(([10**9, 10**9], [-1], [2**64], [], "1", [1.5]))
    elif change == 1:
        entry["dtype"] = rng.choice([*DTYPES, "F4096", "object", None])
    elif change == 2:
        entry["data_offsets"] = [rng.choice((0, -1, 2**63)), rng.choice((0, 8, 2**63))]
    elif change == 3:
        header[rng.choice(NAMES)] = header.pop(name)
    elif change == 4:
        del header[name]
    else:
        header["__metadata__"] = rng.choice(({}, {"skae": "{"}, {"skae": 1}, None, []))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + n_header :]


# Forged, with checksums


def _nodes(tree, found=None) -> list:
    """The containers of a tree."""
    found = [] if found is None else found
    if isinstance(tree, dict | list):
        found.append(tree)
        for each in tree.values() if isinstance(tree, dict) else tree:
            _nodes(each, found)
    return found


def _place(document, rng, suits=lambda value: True):
    """A container and a key of it."""
    places = [
        (node, key)
        for node in _nodes(document.tree)
        for key in (node if isinstance(node, dict) else range(len(node)))
        if suits(node[key])
    ]
    return rng.choice(places) if places else ({"": 0}, "")


def _value(document, rng):
    """Anything that may stand in a tree."""
    sort = rng.randrange(9)
    if sort == 0:
        return rng.choice(NUMBERS)
    if sort == 1:
        return rng.choice((None, "", "x", *NAMES))
    if sort == 2:
        return rng.choice(([], {}, [[[]]], {"a": {}}, [1, 2], ["a"] * 300, [0.5] * 9))
    if sort == 3:
        return {"$": "same", "number": rng.randrange(30)}
    if sort == 4:
        return {"$": "name", "name": rng.choice(CLASSES)}
    if sort == 5:
        return _special(rng)
    node, key = _place(document, rng)
    return copy.deepcopy(node[key])


def _special(rng):
    name = rng.choice((*NAMES, "<f8", "float64", "cpu", "mkldnn", "|b1", "<i8"))
    return rng.choice(
        (
            {"$": "device", "name": name},
            {"$": "dtype", "name": name},
            {"$": "torch_dtype", "name": name},
            {"$": "tuple", "items": [rng.choice(NUMBERS)]},
            {"$": "set", "items": [rng.choice(NUMBERS), [1]]},
            {"$": "slice", "items": [0, 10**9, None]},
            {"$": "dict", "items": [[rng.choice(NUMBERS), 1], [[1], 2]]},
            {"$": rng.choice(KINDS)},
            {"$": "object", "class": rng.choice(CLASSES), "number": -1, "state": {}},
        )
    )


def _removed_key(document, rng):
    node, key = _place(document, rng)
    del node[key]


def _replaced(document, rng):
    node, key = _place(document, rng)
    node[key] = _value(document, rng)


def _added(document, rng):
    node = rng.choice(_nodes(document.tree))
    if isinstance(node, list):
        node.insert(rng.randrange(len(node) + 1), _value(document, rng))
    else:
        known = [key for each in _nodes(document.tree) if isinstance(each, dict)
                 for key in each]  # fmt: skip
        node[rng.choice((*NAMES, *known))] = _value(document, rng)


def _renumbered(document, rng):
    node, key = _place(document, rng, lambda v: type(v) in (int, float, bool))
    node[key] = rng.choice((*NUMBERS, None, "1", [1], [[]], rng.randrange(-3, 40)))


def _swapped(document, rng):
    first, key = _place(document, rng)
    second, other = _place(document, rng, lambda v: type(v) is type(first[key]))
    first[key], second[other] = (
        copy.deepcopy(second[other]),
        copy.deepcopy(first[key]),
    )


def _swapped_arrays(document, rng):
    arrays = [node for node in _nodes(document.tree) if "name" in node]
    first, second = rng.choice(arrays), rng.choice(arrays)
    first["name"], second["name"] = second["name"], first["name"]
    if rng.random() < 0.3:
        second["name"] = rng.choice((*NAMES, *document.arrays))


def _other_class(document, rng):
    objects = [node for node in _nodes(document.tree) if "class" in node]
    if objects:
        known = [*CLASSES, *(each["class"] for each in objects)]
        rng.choice(objects)["class"] = rng.choice(known)


def _other_kind(document, rng):
    special = [node for node in _nodes(document.tree) if "$" in node]
    node = rng.choice(special)
    node["$"] = rng.choice(KINDS)
    if rng.random() < 0.5:
        node |= copy.deepcopy(rng.choice(special))


def _long_text(document, rng):
    node, key = _place(document, rng)
    node[key] = rng.choice(("a" * 10**6, "9" * 5000 + "x", "\\" * 10**5, "0.0." * 9999))


def _deep(document, rng):
    node, key = _place(document, rng)
    node[key] = "DEEP"
    n_levels = rng.choice((90, 500, 100_000))
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
    inside = opened * n_levels + "1" + closed * n_levels
    return json.dumps(document.tree).replace('"DEEP"', inside)


def _doubled(document, rng):
    """The same key twice in one object of the text."""
    text = json.dumps(document.tree)
    at = [i for i, sign in enumerate(text) if sign == "{"]
    i = rng.choice(at) + 1
    more = json.dumps({rng.choice(("$", "name", "class")): _value(document, rng)})
    return text[:i] + more[1:-1] + ", " + text[i:]


def _reshaped(document, rng):
    """Another shape of as many bytes, or of others."""
    name = rng.choice(list(document.arrays))
    entry, size = document.entries[name], len(document.arrays[name])
    dtype = rng.choice(list(DTYPES)) if rng.random() < 0.5 else entry["dtype"]
    n_items = max(1, size // DTYPES[dtype])
    n_items = rng.choice((n_items, 0, 1, n_items + 1, 2 * n_items, 1000))
    shape = rng.choice(
        ([n_items], [1, n_items], [n_items, 1], [n_items] + [1] * 70, [0, 10**9])
    )
    if n_items == 1:
        shape = rng.choice((shape, []))
    entry["dtype"], entry["shape"] = dtype, shape
    size = int(np.prod(shape)) * DTYPES[dtype]
    data = document.arrays[name] * (1 + size // max(1, len(document.arrays[name])))
    document.arrays[name] = data[:size].ljust(size, b"\1")
    if rng.random() < 0.7:
        for node in _nodes(document.tree):
            if "dtype" in node and node.get("name") == name:
                node["dtype"] = IN_NUMPY.get(dtype, "<f8")


def _other_numbers(document, rng):
    """Numbers of an array."""
    name = rng.choice(list(document.arrays))
    dtype = IN_NUMPY.get(document.entries[name]["dtype"], "|u1")
    array = np.frombuffer(document.arrays[name], dtype).copy()
    if array.size == 0:
        return
    if array.dtype.kind == "f":
        value = rng.choice((np.nan, np.inf, -np.inf, 0.0, -1.0, 1e300, 1e-300))
    else:
        value = rng.choice((0, 1, np.iinfo(dtype).max if array.dtype != bool else 1))
    with np.errstate(over="ignore"):
        array[slice(None) if rng.random() < 0.5 else rng.randrange(array.size)] = value
    document.arrays[name] = array.tobytes()


def _less_arrays(document, rng):
    name = rng.choice(list(document.arrays))
    if rng.random() < 0.5 and len(document.arrays) > 1:
        del document.arrays[name], document.entries[name]
    else:
        other = rng.choice(NAMES).replace("\ud800", "?")
        document.arrays[other] = document.arrays[name]
        document.entries[other] = dict(document.entries[name])


def _pickled(document, rng):
    """An attacker's pickle in the place of an array or a string."""
    data = pickle.dumps(Owned())
    if rng.random() < 0.5:
        name = rng.choice(list(document.arrays))
        document.arrays[name] = data
        document.entries[name] = {"dtype": "U8", "shape": [len(data)]}
        for node in _nodes(document.tree):
            if "dtype" in node and node.get("name") == name:
                node["dtype"] = "|u1"
    else:
        node, key = _place(document, rng)
        node[key] = data.decode("latin1")


def _other_header(document, rng):
    content = document.content
    key = rng.choice(("format", "header", "versions", "skae"))
    value = _value(document, rng)
    if key in ("versions", "skae"):
        header = content["header"]
        header["versions"] = value if key == "versions" else {"skae": value}
    else:
        content[key] = value


# skops


def _of_skops(document, rng):
    """The zip of skops, where there is one: its schema, its members, its bytes."""
    name = "skops" if "skops" in document.arrays else rng.choice(list(document.arrays))
    data = document.arrays[name]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except zipfile.BadZipFile:
        return _other_numbers(document, rng)
    change = rng.randrange(5)
    if change == 0:
        own = bytearray(data)
        for _ in range(4):
            own[rng.randrange(len(own))] ^= 1 << rng.randrange(8)
        new = bytes(own)
    elif change == 1:
        new = data[: rng.randrange(len(data))]
    elif change == 2:
        members[rng.choice(sorted(members))] = rng.choice(
            (pickle.dumps(Owned()), b"", b"PK\3\4", rng.randbytes(50))
        )
        new = _zipped(members)
    elif change == 3:
        members[rng.choice(("../../x", "big.npy", "big.npz"))] = bytes(10**6)
        new = _zipped(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    else:
        own = Document({}, json.loads(members["schema.json"]), {}, {"": b""})
        for _ in range(rng.choice((1, 2))):
            _schema_edited(own, rng)
        members["schema.json"] = json.dumps(own.tree).encode()
        new = _zipped(members)
    document.arrays[name] = new
    document.entries[name] = {"dtype": "U8", "shape": [len(new)]}
    return None


def _schema_edited(schema, rng):
    change = rng.choice((_removed_key, _replaced, _added, _renumbered, _swapped))
    if rng.random() < 0.5:
        return change(schema, rng)
    names = [node for node in _nodes(schema.tree) if "__class__" in node]
    node = rng.choice(names)
    node["__class__"], node["__module__"] = rng.choice(
        (("system", "os"), ("eval", "builtins"), ("Owned", "mutations"),
         ("AEOutlierDetector", "skae.estimators.outlier"), ("DType", "numpy"),
         ("Bunch", "sklearn.utils"), ("StandardScaler", "sklearn.preprocessing"))
    )  # fmt: skip
    node["__loader__"] = rng.choice(
        (node.get("__loader__"), "ObjectNode", "FunctionNode", "TypeNode", "JsonNode",
         "NdArrayNode", "ReduceNode", "PartialNode", "MethodNode", "CachedNode")
    )  # fmt: skip
    return None


def _zipped(members, compression=zipfile.ZIP_STORED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


_OF_BYTES = {
    "bits flipped": _flipped,
    "truncated": _truncated,
    "bytes inserted": _inserted,
    "bytes removed": _removed,
    "length of the header": _length,
    "header of safetensors": _header_edited,
}
_FORGED = {
    "keys removed": _removed_key,
    "values replaced": _replaced,
    "keys added": _added,
    "keys doubled": _doubled,
    "other numbers": _renumbered,
    "branches swapped": _swapped,
    "arrays swapped": _swapped_arrays,
    "other classes": _other_class,
    "other kinds": _other_kind,
    "long strings": _long_text,
    "deep nesting": _deep,
    "shapes and dtypes": _reshaped,
    "numbers in arrays": _other_numbers,
    "arrays missing or added": _less_arrays,
    "pickles": _pickled,
    "other versions": _other_header,
    "bytes of skops": _of_skops,
}
SORTS = (*_OF_BYTES, *_FORGED)
