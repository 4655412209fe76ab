"""How large the package is: lines, code lines, long files and long functions.

    python tests/count_lines.py [-v]

Code lines are those that hold a token of code: no docstrings, comments and blanks.
`test_architecture.py` holds the numbers.
"""

import ast
import functools
import io
import sys
import tokenize
from pathlib import Path

import skae

__all__ = ["counts", "long_functions"]

LONG = 40
BLANK = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def counts(path: Path) -> tuple[int, int]:
    """Lines of a file in all, and lines of code."""
    text = path.read_text(encoding="utf-8")
    return len(text.splitlines()), len(_code(text))


def long_functions(path: Path) -> dict[str, int]:
    """Code lines of the functions of a file that have more than forty."""
    text = path.read_text(encoding="utf-8")
    code = _code(text)
    sizes = {
        node.name: len(code & set(range(node.lineno, node.end_lineno + 1)))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name: size for name, size in sizes.items() if size > LONG}


@functools.cache
def _code(text: str) -> set[int]:
    """Numbers of the lines that hold code."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in BLANK:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            code -= set(range(docstring.lineno, docstring.end_lineno + 1))
    return code


if __name__ == "__main__":
    package = Path(skae.__file__).parent
    files = {path: counts(path) for path in sorted(package.rglob("*.py"))}
    for path, (lines, code) in files.items():
        long = ", ".join(f"{k} {v}" for k, v in long_functions(path).items())
        if "-v" in sys.argv or long or lines > 400:
            print(f"{path.relative_to(package)!s:40} {lines:5} {code:5}  {long}")
    lines, code = (sum(column) for column in zip(*files.values(), strict=True))
    print(f"{len(files)} files, {lines} lines, {code} lines of code")
