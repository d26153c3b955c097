"""The architecture page against the code: who imports whom, and who may import what is heavy."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from skelmm_core import manifest

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


def reached(start: set[Path]) -> set[Path]:
    """The package's files that these import, wholly or through others, and they themselves."""
    found, left = set(), set(start)
    while left:
        path = left.pop()
        found.add(path)
        for word in imports(path):
            parts = word.split(".")
            if parts[0] == "skelmm_core":  # a module, a package, or a name in one of them
                places = [CORE.joinpath(*parts[1:length]) for length in range(len(parts), 1, -1)]
                files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
                left |= set(files[:1]) - found
    return found


def test_all_code_that_computes_is_in_the_digest_of_the_training_code():
    """What training imports beside it reads, writes, checks and tells; a file that is new there belongs into one of the two."""
    computing = {path for pattern in manifest.TRAINING for path in CORE.glob(pattern)}
    others = {path.relative_to(CORE).as_posix() for path in reached(computing) - computing}
    assert others == {
        "checkpoints.py", "clipfile.py", "clips.py", "errors.py", "files.py", "launch.py", "manifest.py", "memory.py", "progress.py",
        "reading.py", "recordings.py", "settings.py", "stopping.py", "toml_file.py", "writing.py",
    }  # fmt: skip


def test_figures_and_notebooks_alone_import_what_draws():
    found = {top for top, path in files() for word in imports(path) if word.split(".")[0] in HEAVY}
    assert "drawing" in found and found <= {"drawing", "notebook"}
