"""What the project says about itself, in one file, is what stands in the others."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
import yaml

import benchmarks
import skelmm_core
from skelmm_core import cli, experiment, parameters, settings
from skelmm_core.stage_commands import STAGES, UNTRAINED

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
COMMON = {"data", "out", "preset", "device", "smoke"}
STAGE_OF = {
    "00": settings.Evaluate,
    "01": settings.Evaluate,
    "02": settings.Pretrain,
    "03": settings.Exchange,
    "04": settings.Distill,
    "05": settings.Distill,
    "06": settings.Distill,
}
DRAWING = {"matplotlib", "plotly", "ipywidgets", "mpl_toolkits"}


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


@cache
def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "every line is name==version, with no local version"
    return {name_of(line): line.partition("==")[2] for line in lines}


def targets() -> set[str]:
    return set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split())


def commands(text: str, program: str) -> list[list[str]]:
    """The words of every line of shell that calls `program`."""
    found = re.findall(rf"^\s*(?:[\w$./()\"{{}}&]+ )*?(?:\$\(BIN\)/)?({program} .*)$", text, re.M)
    return [shlex.split(line, comments=True) for line in found]


# Commands


def test_make_commands_of_the_readme_are_those_of_the_makefile():
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.S))
    shown = {word for line in re.findall(r"^(?:\w+=\S+ )?make ([^#\n]*)", blocks, re.M) for word in line.split() if "=" not in word}
    assert shown == targets()
    for target in targets():
        assert re.search(rf"^{target}:.* ## .+$", MAKEFILE, re.M), f"{target} has a line that says what it does"


def test_skelmm_commands_of_readme_and_makefile_are_understood(capsys):
    written = commands("\n".join(re.findall(r"```bash\n(.*?)```", README, re.S)), "skelmm") + commands(
        MAKEFILE.replace("$$", "$"), "skelmm"
    )
    assert len(written) >= 10 and {line[1] for line in written} == {*cli.COMMANDS, *cli.STAGED}
    for line in written:
        command, *rest = line[1:]
        stage = rest[:1] if command in cli.STAGED and not rest[0].endswith(".safetensors") else []
        assert not stage or stage[0] in UNTRAINED | STAGES
        with pytest.raises(SystemExit):
            cli.main([command, *(stage or (["pretrain"] if command in cli.STAGED else [])), "--help"])
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", capsys.readouterr().out))
        for word in rest:
            assert not re.match(r"--?[a-z]", word) or word in known, f"{word} in {' '.join(line)}"


def test_preset_of_make_run_is_the_notebooks_default():
    (run,) = [line for line in commands(MAKEFILE, "skelmm") if "--preset" in line]
    assert run[run.index("--preset") + 1] == "quick" and run[run.index("--data") + 1] == experiment.SAMPLE
    for path in NOTEBOOKS:
        assert parameters.of_notebook(path)["preset"].default == "quick"


def test_continuous_integration_runs_tests_and_pipeline():
    script = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", script], check=True)
    assert {"make check", "make test"} <= set(script.read_text().splitlines()) and "set -euo pipefail" in script.read_text()
    assert script.stat().st_mode & 0o111


# Installation


def test_conda_installs_what_pip_does():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, install = environment["dependencies"]
    assert environment["name"] == PROJECT["project"]["name"] and environment["channels"] == ["conda-forge"]
    assert pip == "pip" and PROJECT["project"]["requires-python"] == f">={python.partition('=')[2]}"
    assert f"PYTHON ?= python{python.partition('=')[2]}\n" in MAKEFILE
    pinned, package = install["pip"]
    assert pinned == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", package)[1].split(",")
    assert set(extras) == set(PROJECT["project"]["optional-dependencies"])


def test_everything_that_is_installed_is_pinned_to_what_runs_here():
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    assert {name_of(r) for r in wanted} <= set(pins())
    installed = {name_of(d.metadata["Name"]): d.version.partition("+")[0] for d in metadata.distributions()}
    needed, queue = set(), [name_of(r) for r in wanted]
    while queue:  # what they require, and what that requires
        name = queue.pop()
        if name in installed and name not in needed:
            needed.add(name)
            queue += [name_of(r) for r in metadata.requires(name) or () if "extra ==" not in r]
    assert len(needed) > 50
    assert {name: installed[name] for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))} == {
        name: pins().get(name) for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))
    }


def imports(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_everything_that_is_imported_is_declared():
    declared = {name_of(r) for r in PROJECT["project"]["dependencies"]}
    extras = {name_of(r) for r in PROJECT["project"]["optional-dependencies"]["test"]}
    owners = metadata.packages_distributions()
    ours = {"skelmm_core", "conftest", "writers", "benchmarks", *(p.stem for p in (ROOT / "tests").glob("*.py"))}
    through = {"mpl_toolkits": "matplotlib", "IPython": "ipykernel", "traitlets": "ipykernel"}  # come with what is declared
    optional = {name_of(r) for extra in ("tables", "onnx", "slurm", "lab") for r in PROJECT["project"]["optional-dependencies"][extra]}
    for folder, allowed in (("skelmm_core", declared | optional), ("tests", declared | extras)):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for module in imports(path) - ours - set(sys.stdlib_module_names):
                names = {name_of(n) for n in owners.get(module, [through.get(module, module)])} | {through.get(module, "")}
                assert names & allowed, f"{path.relative_to(ROOT)} imports {module}"


def test_only_drawing_and_notebooks_import_drawing_libraries():
    for path in (ROOT / "skelmm_core").rglob("*.py"):
        if path.parent.name != "drawing" and path.name != "notebook.py":
            assert not imports(path) & DRAWING, path


def test_versions_and_licence_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = PROJECT["project"]["version"]
    assert skelmm_core.__version__ == version == citation["version"]
    assert citation["license"] == PROJECT["project"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License") and "MIT (`LICENSE`)" in README
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2309.12009" and paper["authors"][0]["family-names"] == "Wei"
    for key in ("cff-version", "message", "title", "authors"):
        assert citation[key]
    assert paper["title"] in " ".join(README.split()) and paper["url"] in README and "CITATION.cff" in README


def test_the_readmes_file_tree_is_the_tree():
    tree = README.partition("## File tree")[2].partition("```\n")[2].partition("```")[0]
    inside = re.findall(r"^    (\S+)  +\S", tree, re.M)
    there = {p.name for p in (ROOT / "skelmm_core").glob("*.py") if not p.name.startswith("__")}
    there |= {f"{p.parent.name}/" for p in (ROOT / "skelmm_core").glob("*/__init__.py")}
    assert sorted(inside) == sorted(there)
    for name in re.findall(r"^(\w+)/", tree, re.M):
        assert (ROOT / name).is_dir(), name


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A benchmark that is run as a file of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module(name)


def test_the_readmes_table_of_real_motion_is_what_the_benchmark_measured(monkeypatch):
    benchmark = script("utd_mhad", monkeypatch)
    rows = json.loads(benchmark.RESULTS.read_text())
    assert benchmark.table(rows) in README
    for row in rows:
        assert row["command"].split()[1] == "benchmarks/utd_mhad.py" and f"`{row['commit'][:7]}`" in README and row["date"] in README
        values = np.array(row["values"])
        assert len(values) == len(row["seeds"]) and row["mean"] == pytest.approx(values.mean())
        assert row["std"] == pytest.approx(values.std(ddof=1) if len(values) > 1 else 0)
    needed = ("raw_1nn", "untrained_linear", "teacher_linear", "teacher_knn", "student_linear", "joint_linear")
    assert {row["name"] for row in rows} >= set(needed)


def test_the_readmes_table_of_held_out_subjects_is_what_was_measured(monkeypatch):
    benchmark = script("held_out", monkeypatch)
    rows = json.loads(benchmark.RESULTS.read_text())
    assert benchmark.table(rows) in README and [row["name"] for row in rows] == list(benchmark.CANDIDATES)
    for row in rows:
        assert f"`{row['commit'][:7]}`" in README and row["date"] in README and len(row["seeds"]) > 2
        for figure, values in row["values"].items():
            assert row["mean"][figure] == pytest.approx(np.mean(values)) and len(values) == len(row["seeds"])


def test_the_readmes_table_of_speed_is_what_was_measured():
    rows = json.loads((ROOT / "benchmarks" / "results" / "benchmarks.json").read_text())
    assert benchmarks.table(rows) in README
    for row in rows:
        assert f"`{row['commit'][:7]}`" in README and row["date"] in README


# Notebooks


def test_the_seven_notebooks_are_there():
    assert [p.stem[:2] for p in NOTEBOOKS] == ["00", "01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_hold_no_outputs_and_one_parameters_cell(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in code)
    assert [parameters.TAG in c.metadata.get("tags", ()) for c in code] == [True] + [False] * (len(code) - 1)
    assert notebook.metadata.kernelspec == {
        "name": "python3",
        "language": "python",
        "display_name": notebook.metadata.kernelspec.display_name,
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_annotated_commented_and_known(path):
    import papermill

    found = parameters.of_notebook(path)
    known = settings.field_types(STAGE_OF[path.stem[:2]])
    assert {*COMMON, "seed", "protocol", "skeleton", "frames"} <= set(found)
    for name, p in found.items():
        assert p.annotation and len(p.comment) > 5, name
        assert p.default is None or type(p.default) is p.kind, name
        if name in known:
            assert p.kind is known[name], name
    own = set(found) - COMMON - set(known)  # what only this notebook shows; none may be a setting of another stage
    assert not own & set(settings.field_types(settings.Distill))
    assert list(papermill.inspect_notebook(str(path))) == list(found), "papermill --help-notebook shows every parameter"


def test_later_notebooks_know_the_settings_of_earlier_ones():
    """Else `-p` would reach one and not the next, which would then train the shared stage anew."""
    everything = set(settings.field_types(settings.Distill))
    chain = [set(parameters.of_notebook(p)) & everything for p in NOTEBOOKS]
    for earlier, later in zip(chain, chain[1:], strict=False):
        assert earlier <= later, earlier - later


def test_every_commit_that_the_readme_cites_is_in_the_history():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no history to look into")
    cited = set(re.findall(r"commit `([0-9a-f]{7,40})`", README))
    assert len(cited) >= 3
    for commit in cited:
        done = subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True, text=True)
        assert done.returncode == 0, f"README cites {commit}: {done.stderr}"


def test_every_promise_names_tests_that_are_there():
    table = README.partition("## What is promised")[2].partition("\n## ")[0]
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", table)
    assert len(named) > 20 and all("`test_" in line for line in table.splitlines() if line.startswith("| ") and "| test |" not in line)
    for file, test in named:
        text = (ROOT / "tests" / file).read_text()
        assert not test or f"\ndef {test}(" in text, f"{file}::{test}"
