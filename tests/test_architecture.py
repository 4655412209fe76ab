"""The rules of the house, read off the source: who imports whom, and file manners."""

import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import skae

PACKAGE = Path(skae.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]
TREES = {
    name: ast.parse(path.read_text(encoding="utf-8"))
    for name, path in zip(NAMES, FILES, strict=True)
}

# The folders from the top down: each may import those below it.
FLOORS = [
    "inspection",
    "estimators",
    "distributed",
    "exporting",
    "fitting",
    "outliers",
    "models",
    "training",
    "parts",
    "statistics",
    "checks",
    "rows",
    "state",
]
GLOBAL_SEEDS = {
    "random.seed",
    "np.random.seed",
    "numpy.random.seed",
    "torch.manual_seed",
    "torch.random.manual_seed",
    "torch.seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
}

each_file = pytest.mark.parametrize("name", NAMES)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Dotted names of the modules that these nodes import."""
    modules = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            modules.add(node.module)
            if node.module == "skae":
                modules.update(f"skae.{alias.name}" for alias in node.names)
    return modules


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def top(module: str) -> str:
    return module.partition(".")[0]


def test_the_floors_are_the_folders_of_the_package():
    assert {name.partition("/")[0] for name in NAMES if "/" in name} == set(FLOORS)


@each_file
def test_imports_run_down(name):
    floor = name.partition("/")[0]
    if floor not in FLOORS:
        return
    below = FLOORS[FLOORS.index(floor) :]
    for module in imported(ast.walk(TREES[name])):
        if top(module) == "skae":
            folder = module.removeprefix("skae.").partition(".")[0]
            assert folder in below, f"{name} imports {module}"


@each_file
def test_parts_import_only_torch_numpy_and_sklearn_base(name):
    if not name.startswith("parts/"):
        return
    for module in imported(ast.walk(TREES[name])):
        allowed = {"torch", "numpy", "skae"} | sys.stdlib_module_names
        assert top(module) in allowed or module == "sklearn.base", (
            f"{name} imports {module}"
        )


def test_only_the_trainer_and_its_callbacks_import_skorch():
    importers = {
        name
        for name, tree in TREES.items()
        if "skorch" in map(top, imported(ast.walk(tree)))
    }
    assert importers == {"training/trainer.py", "training/callbacks.py"}


@each_file
def test_matplotlib_is_imported_lazily_and_only_to_draw(name):
    tree = TREES[name]
    assert "matplotlib" not in map(top, imported(outside_functions(tree)))
    if "matplotlib" in map(top, imported(ast.walk(tree))):
        assert name.startswith("inspection/") or name == "__main__.py"


@each_file
def test_files_are_named_after_what_they_hold(name):
    assert Path(name).stem.strip("_") not in {"utils", "helpers", "misc", "common"}


@each_file
def test_modules_open_with_a_docstring_and_list_their_names(name):
    tree = TREES[name]
    assert ast.get_docstring(tree)
    assigned = {
        ast.unparse(target)
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    assert name == "__main__.py" or "__all__" in assigned


@each_file
def test_no_global_generator_is_seeded(name):
    called = {
        ast.unparse(node.func)
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call)
    }
    assert not called & GLOBAL_SEEDS


# What torch's functions that make tensors take from the process unless it is passed.
DEFAULTS = {
    "device": "as_tensor asarray scalar_tensor tensor zeros ones empty full eye arange "
    "linspace logspace rand randn randint randperm normal".split(),
    "dtype": "zeros ones empty full eye linspace logspace rand randn".split(),
}


@each_file
def test_tensors_are_made_with_a_device_and_a_dtype(name):
    lacking = []
    for node in ast.walk(TREES[name]):
        function = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if not function.startswith("torch.") or isinstance(node.func.value, ast.Call):
            continue
        passed = {keyword.arg for keyword in node.keywords}
        # Several of them by name, as in **SINGLE.
        if None not in passed:
            lacking += [
                f"{name}:{node.lineno}: {ast.unparse(node)} lacks {default}"
                for default, functions in DEFAULTS.items()
                if function.removeprefix("torch.") in functions
                and default not in passed
            ]
    assert not lacking, "\n".join(lacking)


SCRIPTS = Path(__file__).parent


def test_parts_and_models_are_asked_and_not_classified():
    places = runpy.run_path(str(SCRIPTS / "count_couplings.py"))["couplings"]()
    assert len(places) <= 10, "\n".join(places)


def test_no_module_reads_private_attributes_of_another():
    places = runpy.run_path(str(SCRIPTS / "count_reaches.py"))["reaches"]()
    assert not places, "\n".join(places)


def test_files_and_functions_are_short():
    script = runpy.run_path(str(SCRIPTS / "count_lines.py"))
    lines = {path: script["counts"](path)[0] for path in FILES}
    assert not [path for path, number in lines.items() if number > 400]
    long = [name for path in FILES for name in script["long_functions"](path)]
    assert len(long) <= 5, long
