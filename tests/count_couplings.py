"""How often the package asks what a part or a model is, rather than the part itself.

    python tests/count_couplings.py

prints the places outside ``skae/parts`` where ``isinstance``, ``hasattr`` or
``getattr`` is called on something that is named like a part, a model or a codec.
`test_architecture.py` holds the number.
"""

import ast
from pathlib import Path

import skae

__all__ = ["couplings"]

NAMES = {
    "architecture",
    "codec",
    "corruption",
    "critic",
    "decoder",
    "encoder",
    "generator",
    "likelihood",
    "model",
    "module",
    "module_",
    "net",
    "net_",
    "part",
    "penalty",
    "prior",
}
CALLS = {"isinstance", "hasattr", "getattr"}
PLAIN = {"str", "list", "tuple", "type"}


def couplings() -> list[str]:
    """Places, as ``file:line: code``."""
    package = Path(skae.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.startswith("parts/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _asks(node):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    return found


def _asks(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Name) or call.func.id not in CALLS:
        return False
    if not call.args:
        return False
    asked = call.args[0]
    if call.func.id == "isinstance" and not _names(call.args[1]) - PLAIN:
        # Whether a parameter came as a name or a list says nothing of parts.
        return False
    last = asked.attr if isinstance(asked, ast.Attribute) else getattr(asked, "id", "")
    return last in NAMES


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


if __name__ == "__main__":
    places = couplings()
    print("\n".join(places))
    print(len(places))
