"""``docs/figures.md`` is what the script writes, and README quotes it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "figures.md"


def numbers(text: str) -> set[str]:
    """Numbers of a text, without those in code."""
    text = re.sub(r"`[^`]*`", "", text)
    return set(re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.]*\d)", text))


def test_the_page_is_what_the_script_writes(tmp_path):
    script = ROOT / "benchmarks" / "write_figures.py"
    subprocess.run([sys.executable, script, tmp_path / "figures.md"], check=True)
    written = (tmp_path / "figures.md").read_text(encoding="utf-8")
    assert written == PAGE.read_text(encoding="utf-8"), (
        "run python benchmarks/write_figures.py"
    )


def test_figures_of_the_readme_are_on_the_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (head,) = re.findall(r"^\| estimator .*\n\|[-|]+\n((?:\|.*\n)+)", readme, re.M)
    measured = [row.split("|")[4] for row in head.splitlines()]
    assert len(measured) > 10
    quoted = numbers(" ".join(measured))
    assert len(quoted) > 10
    assert quoted <= numbers(PAGE.read_text(encoding="utf-8"))
