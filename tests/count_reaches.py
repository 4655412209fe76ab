"""How often the package reaches into private attributes of other classes.

    python tests/count_reaches.py

prints the places where an attribute with a leading underscore is read or set on
something other than ``self``, ``cls`` or ``super()`` and is not private to the module
itself. `test_architecture.py` holds the number.
"""

import ast
from pathlib import Path

import skae

__all__ = ["reaches"]

OWN = {"self", "cls"}
# Public all the same: named tuples and scikit-learn's protocol of callbacks.
PUBLIC = {"_asdict", "_fields", "_replace", "_init_callback_context"}


def reaches() -> list[str]:
    """Places, as ``file:line: code``."""
    package = Path(skae.__file__).parent
    places = []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        own |= _assigned_to_self(tree)
        for node in ast.walk(tree):
            if _is_private(node) and not _is_own(node.value) and node.attr not in own:
                name = path.relative_to(package).as_posix()
                places.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    return places


def _is_private(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute):
        return False
    is_dunder = node.attr.startswith("__")
    return node.attr.startswith("_") and not is_dunder and node.attr not in PUBLIC


def _is_own(value: ast.AST) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in OWN


def _assigned_to_self(tree: ast.AST) -> set[str]:
    """Private attributes that the classes of a module set on themselves."""
    return {
        node.attr
        for node in ast.walk(tree)
        if _is_private(node) and isinstance(node.ctx, ast.Store) and _is_own(node.value)
    }


if __name__ == "__main__":
    places = reaches()
    print("\n".join(places))
    print(len(places))
