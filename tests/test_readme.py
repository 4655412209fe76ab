"""The README and the pages under docs/ keep their word: code runs, links lead on."""

import re
from pathlib import Path

import pytest

from skae import inspection
from skae.estimators import estimator_classes

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = """\
python -m pip install -c constraints.txt ".[plot]" && python -m skae
python -m pip install -c constraints.txt -e ".[test]" && \
python -m pytest -n 2 --dist loadfile
"""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language, padded so that line numbers are the page's."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text.count("\n", 0, m.start(1)) + m[1] for m in found]


@each_page
def test_code_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@each_page
def test_relative_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!\w+:|#)([^)#]+)", text)
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_readme_has_the_two_commands():
    assert [block.lstrip() for block in blocks(ROOT / "README.md", "bash")] == [
        COMMANDS
    ]


def test_the_api_page_names_every_class():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = page[page.index("## Fitted attributes") : page.index("## Displays")]
    classes = [each.__name__ for each in estimator_classes()]
    assert len(classes) == 12
    assert not [name for name in classes if f"| `{name}` |" not in table]
    assert not [name for name in inspection.__all__ if name not in page]
