"""Objects of scikit-learn with skae's estimators inside, as bytes of skops and back.

Used by `skae.persistence`. The bytes are a zip without compression, so that they cannot
ask for more memory than they have, and skops is passed the names of what may be made.
"""

import io
import zipfile
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np
from sklearn import feature_selection, metrics, model_selection

from skae.rows.extras import importing
from skae.state.container import ModelFileError
from skae.state.registry import check_trusted, registered_class_names

__all__ = ["from_skops", "to_skops"]

# Their functions and splitters are parameters of others.
_MODULES = feature_selection, metrics, model_selection
_INNER = {
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._MultimetricScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
}


def to_skops(estimator: Any) -> tuple[bytes, list[str]]:
    """The bytes of an object, and the names in them that are not skae's.

    Raises
    ------
    TypeError
        When skops cannot hold the object.
    """
    skops = _skops()
    try:
        data = skops.dumps(estimator, compression=zipfile.ZIP_STORED)
        names = skops.get_untrusted_types(data=data)
    except Exception as error:
        raise TypeError(f"skops cannot hold it: {error}") from error
    return _stored(data), sorted(set(names) - _known_names())


def from_skops(array: Any, classes: Mapping[str, Any], path) -> Any:
    """The object of bytes.

    Parameters
    ----------
    array : uint8 ndarray
    classes : mapping of str to class or function
        What may be made beside scikit-learn's and skae's.
    path : str or path-like
        Where the bytes come from, for errors.

    Raises
    ------
    ModelFileError
        When the bytes need other classes, or more memory than they have.
    """
    skops = _skops()
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise ModelFileError(f"{path} holds no bytes of skops.")
    data = array.tobytes()
    del array
    _check_sizes(data, path)
    names = set(skops.get_untrusted_types(data=data))
    check_trusted(names - _known_names(), classes, path)
    return skops.loads(data, trusted=sorted(names))


def _known_names() -> set[str]:
    """Classes and functions of skae and scikit-learn that run nothing when made.

    skops itself trusts the estimators of scikit-learn, and not what searches and the
    like hold beside them. Trees, whose arrays are read in C, stay for the caller.
    """
    every = [vars(module).get(name) for module in _MODULES for name in module.__all__]
    names = {
        f"{each.__module__}.{each.__qualname__}"
        for each in every
        if hasattr(each, "split") or isinstance(each, FunctionType)
    }
    return names | _INNER | registered_class_names()


def _skops():
    with importing("skops", "A file of a pipeline or another scikit-learn object"):
        from skops import io as skops_io
    return skops_io


def _stored(data: bytes) -> bytes:
    """A zip with all of its members, and those inside them, uncompressed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            member = old.read(info)
            if info.filename.endswith(".npz"):
                member = _stored(member)
            new.writestr(info.filename, member)
    return target.getvalue()


def _check_sizes(data: bytes, path) -> None:
    """Raise where the members of a zip are larger than it is, or say that they are."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(info.file_size for info in members) > len(data) or any(
            info.compress_type != zipfile.ZIP_STORED for info in members
        ):
            raise ModelFileError(f"{path} would take more memory than it has bytes.")
        for info in members:
            member = archive.read(info)
            if info.filename.endswith(".npz"):
                _check_sizes(member, path)
            elif info.filename.endswith(".npy"):
                _check_array(member, path)


def _check_array(member: bytes, path) -> None:
    """Raise where an array says that it is larger than it is."""
    file = io.BytesIO(member)
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    n_bytes = int(np.prod([*shape, dtype.itemsize], dtype=object))
    if dtype.hasobject or n_bytes > len(member):
        raise ModelFileError(f"{path} holds an array that is larger than its bytes.")
