"""What a run can be told apart and repeated by: code, versions, machine; plain values for ``manifest.json``."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import skelmm_core
from skelmm_core.files import replacing, unwritten

NAME = "manifest.json"
PACKAGE = Path(skelmm_core.__file__).resolve().parent
ROOT = PACKAGE.parent  # of the repository, when the package runs from one
TRAINING = (
    "skeletons/*.py", "preparation.py", "image.py", "augmentation.py", "batches.py", "modalities.py", "encoder.py", "readout.py",
    "graph_conv.py", "temporal.py", "norm.py", "forgetting.py", "dropout.py", "queues.py", "losses.py", "partition.py",
    "distillation.py", "frozen.py", "processes.py", "stages/*.py",
)  # fmt: skip
EVALUATION = tuple(f"evaluation/{name}.py" for name in (
    "features", "linear", "ridge", "knn", "metrics", "retrieval", "finetuning", "semi", "fewshot", "fusion", "views", "whitening", "scores",
    "damage",
)) + ("comparison/parts.py", "comparison/robustness.py", "comparison/subjects.py", "experiment.py", "protocols.py")  # fmt: skip
CODE = ("skelmm_core", "notebooks", "benchmarks", "pyproject.toml", "constraints.txt")  # what a commit must hold to be the one that ran
LIBRARIES = ("torch", "lightning-fabric", "numpy", "scipy", "scikit-learn", "openTSNE", "matplotlib", "plotly", "papermill")


@cache
def code() -> str:
    """Version and a digest of the package's source: two runs with the same code computed with the same code."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{skelmm_core.__version__}+{digest.hexdigest()[:12]}"


@cache
def training_code() -> str:
    """A digest of the source that decides what training computes; comments and layout don't count."""
    return _digest_of(TRAINING)


@cache
def evaluation_code() -> str:
    """A digest of the source that decides what a comparison of encoders computes, given their weights."""
    return _digest_of((*TRAINING, *EVALUATION))


def _digest_of(patterns: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(ast.dump(ast.parse(path.read_text())).encode())
    return digest.hexdigest()[:12]


def identifier(facts: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for what decides a result: JSON-able facts and the code."""
    return digest(json.dumps([facts, code()], sort_keys=True).encode())[:12]


def write(folder: Path, facts: dict[str, Any], **more: Any) -> None:
    """Write ``manifest.json`` of a folder: an id, `facts`, which decide the result and repeat it, what made it, and more."""
    content = {
        "format": 1, "id": identifier(facts), "command": command(Path(sys.argv[0]).name),
        "written": datetime.now(UTC).isoformat(timespec="seconds"), **facts, **circumstances(), **more,
    }  # fmt: skip
    with replacing(folder / NAME) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())


def circumstances() -> dict[str, Any]:
    """What a result is made with beside what decides it: commit, versions, hardware."""
    return {"git": git(), "versions": versions(), "hardware": hardware()}


def begin(folder: Path) -> None:
    """Note in the ``manifest.json`` of a folder that work on it begins, or goes on, here and now: with other circumstances, perhaps."""
    here = {"begun": datetime.now(UTC).isoformat(timespec="seconds"), **circumstances()}
    add(folder, sessions=[*json.loads((folder / NAME).read_text()).get("sessions", []), here])


def there_or_set_aside(path: Path) -> bool:
    """Whether a manifest is there and is one; a damaged one is set aside, which is said, so that its place is free."""
    try:
        found = isinstance(json.loads(path.read_text()), dict)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        found = False
    if not found:
        aside = path.with_name(f"{path.name}.damaged")
        try:
            os.replace(path, aside)
        except OSError as problem:
            raise unwritten(aside, problem) from problem
        print(f"{path} was damaged and is set aside as {aside.name}; it is written anew", file=sys.stderr)
    return found


def add(folder: Path, **more: Any) -> None:
    """Add to, or replace in, the ``manifest.json`` of a folder."""
    content = json.loads((folder / NAME).read_text()) | more
    with replacing(folder / NAME) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())


def command(*program: str) -> str:
    """The command line of this process, which begins with the words `program`; the folder of shared data by its name, not its place."""
    home = os.environ.get("SKELMM_SHARED") or None
    words = [w.replace(home, "$SKELMM_SHARED", 1) if home and w.startswith(home) else shlex.quote(w) for w in sys.argv[1:]]
    return " ".join([*program, *words])


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def versions() -> dict[str, str]:
    found = {"skelmm": code(), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git(root: Path = ROOT) -> dict[str, Any] | None:
    """The commit that `root` is at, and whether its tracked files are unchanged and it holds no other code; None where there is no
    repository or no git."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = ask("status", "--porcelain", "--untracked-files=no")
        untracked = ask("ls-files", "--others", "--exclude-standard", "--", *CODE)
        return {"commit": ask("rev-parse", "HEAD"), "clean": not changed and not untracked}
    except (OSError, subprocess.SubprocessError):
        return None


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory (GiB) and accelerators."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1) if hasattr(os, "sysconf") else None,
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
