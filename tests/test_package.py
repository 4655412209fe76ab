"""The package as users import it."""

import ast
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


@pytest.mark.parametrize(
    ("statement", "left_out"),
    [
        ("import skae; skae.__version__; dir(skae)", ["torch", "sklearn"]),
        (
            "from skae import AutoencoderTransformer",
            ["skae.estimators.outlier", "dask"],
        ),
        ("from skae import AEOutlierDetector", ["skae.estimators.stacked"]),
    ],
)
def test_only_what_is_used_is_imported(statement, left_out):
    check = f"import sys; {statement}; sys.exit(bool(sys.modules.keys() & {left_out}))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_pickle_needs_no_import_before():
    write = (
        "import pickle, sys, skae; sys.stdout.buffer.write(pickle.dumps(skae.GAN()))"
    )
    pickled = subprocess.run(
        [sys.executable, "-c", write], check=True, capture_output=True
    ).stdout
    read = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    shown = subprocess.run(
        [sys.executable, "-c", read], check=True, capture_output=True, input=pickled
    )
    assert shown.stdout.strip() == b"GAN()"
