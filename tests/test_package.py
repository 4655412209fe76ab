"""The package as users import it."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import skae

CLASSES = [name for name in skae.__all__ if not name.startswith("__")]


def test_every_name_is_there():
    for name in CLASSES:
        assert getattr(skae, name).__name__ == name
    namespace = {}
    exec("from skae import *", namespace)
    assert set(skae.__all__) <= set(namespace)
    assert set(skae.__all__) <= set(dir(skae))


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(skae.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == sorted(CLASSES)
    for name, module in seen.items():
        assert getattr(skae, name).__module__ == module


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'skae' has no attribute 'Other'"):
        getattr(skae, "Other")  # noqa: B009
    assert not hasattr(skae, "__wrapped__")


def printed(statements, **options):
    command = [sys.executable, "-c", statements]
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


def test_only_what_is_used_is_imported():
    # What one statement imports is there for the next ones too.
    statements = """
import sys, skae
skae.__version__, dir(skae)
print(sys.modules.keys() & {"torch", "sklearn"})
from skae import AutoencoderTransformer
print(sys.modules.keys() & {"skae.estimators.outlier", "dask"})
from skae import AEOutlierDetector
print(sys.modules.keys() & {"skae.estimators.stacked"})
"""
    assert printed(statements).split() == [b"set()"] * 3


def test_a_pickle_needs_no_import_before():
    read = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    assert printed(read, input=pickle.dumps(skae.GAN())).strip() == b"GAN()"
