"""The architecture page against the code: who imports whom, and who may import what is heavy."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "skelmm_core"
PAGE = (CORE / "README.md").read_text()
TABLE = [line.split("|")[2] for line in PAGE.partition("## Decisions")[0].splitlines() if line.startswith("| ")][1:]
ROWS = [re.findall(r"`(\w+)(?:\.py|/)`", where) for where in TABLE]
RANK = {name: number for number, names in enumerate(ROWS) for name in names}
HEAVY = {"matplotlib", "plotly", "ipywidgets"}


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files() -> list[tuple[str, Path]]:
    return [(path.relative_to(CORE).parts[0].removesuffix(".py"), path) for path in sorted(CORE.rglob("*.py"))]


def test_every_word_of_the_table_is_there():
    assert len(RANK) > 30 and len(ROWS) == len([names for names in ROWS if names])
    for name in RANK:
        assert (CORE / name).is_dir() or (CORE / f"{name}.py").is_file(), name


@pytest.mark.parametrize("name", RANK)
def test_rows_import_from_rows_above(name):
    own = [path for top, path in files() if top == name]
    used = {word.split(".")[1] for path in own for word in imports(path) if word.startswith("skelmm_core.")}
    assert own and {other for other in used if RANK.get(other, -1) > RANK[name]} == set()


def test_figures_and_notebooks_alone_import_what_draws():
    found = {top for top, path in files() for word in imports(path) if word.split(".")[0] in HEAVY}
    assert "drawing" in found and found <= {"drawing", "notebook"}
