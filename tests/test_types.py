"""What `make check` asks of types, and that nobody asks less. mypy itself takes a minute: it runs there and in continuous integration."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
FILES = sorted((ROOT / "skelmm_core").rglob("*.py"))
RELAXED = 18  # modules at most whose types are checked less strictly; make it smaller as they get there
STRICT = (
    "modalities", "losses", "queues", "encoder", "augmentation", "batches", "stages.*", "checkpoints", "settings", "experiment",
    "evaluation.*", "norm", "partition", "distillation", "frozen", "clips", "protocols", "pipeline", "sweep.*", "comparison.*",
    "ablation.*",
)  # fmt: skip


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = [module_of(path) for path in FILES]


def matching(pattern: str) -> list[str]:
    return [m for m in MODULES if fnmatch(m, pattern) or m == pattern.removesuffix(".*")]


def test_the_package_is_checked_strictly():
    assert MYPY["strict"] is True and MYPY["files"] == ["skelmm_core"]
    assert {key for key in MYPY if key not in ("overrides",)} == {"files", "python_version", "strict", "untyped_calls_exclude"}


def test_what_is_relaxed_is_named_is_there_and_is_not_the_core():
    relaxed = set()
    for override in MYPY["overrides"]:
        names = [name for name in override["module"] if name.startswith("skelmm_core")]
        assert not names or "ignore_errors" not in override and override.get("follow_imports") is None
        for name in names:
            assert matching(name), f"{name} is no module any more"
            relaxed.update(matching(name))
    core = {m for pattern in STRICT for m in matching(f"skelmm_core.{pattern}")}
    assert len(core) > 40 and not core & relaxed
    assert len(relaxed) <= RELAXED


def test_ignored_errors_are_named():
    found = [line for path in FILES for line in path.read_text().splitlines() if re.search(r"#\s*(type:\s*ignore|mypy:)", line)]
    assert found
    for line in found:
        assert re.search(r"# type: ignore\[[a-z-]+\]", line), f"{line.strip()}: name the error"


def test_continuous_integration_checks_types():
    makefile = (ROOT / "Makefile").read_text()
    check = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.M)[1]
    assert "$(BIN)/mypy\n" in check and "ruff check ." in check and "ruff format --check skelmm_core tests benchmarks" in check
    assert "make check" in (ROOT / ".ci" / "run").read_text().splitlines()
