"""The numbered notebooks, run without a browser: each by papermill in a process of its own, skipped when its result is there.

papermill changes the working folder, so it is safe in processes, not in threads. A notebook is written as
``NAME.failed.ipynb`` while it runs and gets its own name when it has run to its end: whatever happens in between, the partial
notebook is there to be read.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from skelmm_core import manifest, parameters, skeletons
from skelmm_core.errors import NotebookError, SettingsError, nearest
from skelmm_core.files import alone, read_json
from skelmm_core.stopping import Stopping
from skelmm_core.worker import execute

NOTEBOOKS = manifest.ROOT / "notebooks"
APART = ("00", "01")  # numbers of notebooks that train nothing; each other one builds on stages of the one before it
SIGNS = 3  # of failure, that the final table shows of each notebook; the report shows all
Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What one notebook gave. seconds: of the run that made it, also when it was found."""

    notebook: str
    found: bool
    seconds: float
    headline: dict[str, float | str | None]
    signs_of_failure: tuple[str, ...]


def run(
    notebooks: Iterable[str] = (),
    data: str | Path = "sample",
    out: str | Path = "outputs/run",
    given: Mapping[str, Any] | None = None,
    jobs: int = 1,
    smoke: bool = False,
    preset: str = "quick",
    seed: int | None = None,
    device: str = "auto",
    folder: str | Path = NOTEBOOKS,
    say: Say = lambda line: print(line, file=sys.stderr, flush=True),
) -> list[Result]:
    """Run notebooks into `out`, with ``manifest.json`` and ``report.html``; those done before with the same of everything are skipped.

    Args:
        notebooks: numbers or names, e.g. ``("02", "03_ikem")``; none: all of `folder`.
        data: a clips file, or ``"sample"``.
        given: values of parameters; each goes to every chosen notebook that has it. source, with source_format and source_options: raw
            files that are made into a clips file in `out` first, in the place of `data`, for all notebooks.
        jobs: notebooks at a time; those that build on each other still run in order, so it is 00 and 01 that run beside the others.
        smoke, preset, seed, device: as in `Experiment`.

    Raises `SettingsError` for an unknown notebook, parameter (naming the nearest), preset or value, `DataError` and `ProtocolError` for
    data that can't be used, all before anything runs; `NotebookError` when a notebook stops, with its cell's own message.
    """
    if jobs < 1:
        raise SettingsError(f"jobs must be 1 or more, found {jobs}")
    paths = choose(notebooks, Path(folder))
    common = {"data": str(data) if data == "sample" else str(Path(data).resolve()), "out": str(Path(out).resolve()), "preset": preset,
              "device": device, "smoke": smoke, "seed": seed}  # fmt: skip
    given = dict(given or {})
    if given.get("source"):
        common["data"] = _prepared(given, common)
    if "skeleton" in given:  # a file's content goes to the notebooks: they run in other folders, and what was done is told by it
        given["skeleton"] = skeletons.spelled(given["skeleton"])
    values = _values(paths, common, given)
    with alone(Path(out).resolve(), "running notebooks in"):
        return _work_through(paths, values, common, given, jobs, say)


def _work_through(
    paths: Mapping[str, Path], values: Mapping[str, dict[str, Any]], common: dict[str, Any], given: dict[str, Any], jobs: int, say: Say
) -> list[Result]:
    state = _Run(Path(common["out"]), checked(common, given, deepest(paths)), say)
    pending = []
    for name, path in paths.items():
        key = {
            "parameters": values[name],
            "source": manifest.digest(path.read_bytes()),
            "code": manifest.code(),
            "data": state.facts["data"]["content"],
        }
        if state.is_done(name, key):
            say(f"{name}: done before with the same settings, notebook, code and data; skipped")
        else:
            pending.append((name, path, key))
    state.save()
    failures = _work(pending, jobs, state)
    if any(state.metrics(name) for name in paths):
        from skelmm_core import report

        say(f"report: {report.build(state.out)}")
    if failures:
        raise NotebookError("\n".join(failures))
    return [state.result(name, found=name not in {n for n, *_ in pending}) for name in paths]


def choose(wanted: Iterable[str], folder: Path) -> dict[str, Path]:
    """Notebooks of a folder by name, in order; `wanted` are numbers or names (without ending), none stands for all."""
    there = {p.stem: p for p in sorted(folder.glob("[0-9]*.ipynb"))}
    if not there:
        raise NotebookError(
            f"no notebook like 01_name.ipynb in '{folder}'; run from a checkout of the repository, installed with `pip install -e .`"
        )
    names = set()
    for word in wanted:
        found = [n for n in there if word in (n, n.partition("_")[0], f"{n}.ipynb") or word.zfill(2) == n.partition("_")[0]]
        if not found:
            raise SettingsError(f"unknown notebook '{word}'{nearest(word, there)}")
        names.update(found)
    return {n: p for n, p in there.items() if n in names or not names}


def _prepared(given: dict[str, Any], common: Mapping[str, Any]) -> str:
    """The clips file of the raw files that `given` names by source and source_format, which are taken out of it: all notebooks get it."""
    from skelmm_core.prepared import clips_file, reader_options

    if common["data"] != "sample":
        raise SettingsError("-p source=… makes a clips file of raw files to work on; leave out --data, which names another one")
    source, form, options = given.pop("source"), given.pop("source_format", "auto"), given.pop("source_options", "")
    return str(clips_file(source if source == "sample" else Path(source).resolve(), form, common["out"], reader_options(options)).resolve())


def deepest(names: Iterable[str]) -> str:
    """The last stage that any of the notebooks comes to."""
    stages = ("evaluate", "pretrain", "exchange", "distill")
    return max((parameters.STAGES.get(name[:2], "pretrain") for name in names), key=stages.index)


def _values(paths: Mapping[str, Path], common: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters of each notebook: the common ones that it has, and those given."""
    twice = [name for name in given if name in common]
    if twice:
        raise SettingsError(f"'{twice[0]}' has an option of its own: use --{twice[0]} instead of -p {twice[0]}=…")
    known = {name: parameters.of_notebook(path) for name, path in paths.items()}
    chosen = parameters.distribute(given, known)
    return {name: {**{k: v for k, v in common.items() if k in known[name] and v is not None}, **chosen[name]} for name in paths}


def checked(common: Mapping[str, Any], given: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Opens the experiment once, so that wrong settings, data or protocol are told before a kernel starts, and the sample is made once."""
    from skelmm_core import settings
    from skelmm_core.experiment import Experiment

    fields = {
        name: parameters.Parameter(name, f"{kind.__name__} | None", None, "")
        for name, kind in settings.field_types(settings.Distill).items()
    }
    overrides = {name: fields[name].convert(value) for name, value in given.items() if name in fields}
    exp = Experiment(**common, **overrides)
    exp.check(stage)
    return {**exp.facts(), "given": dict(given)}


class _Start(NamedTuple):
    """When a notebook was started: wall for people to read, steady for durations (the clock may be set meanwhile); metrics: which file of
    an earlier run was there, since only another one says that this run came to its end."""

    wall: float
    steady: float
    metrics: tuple[int, int] | None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.steady


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that took its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


class _Run:
    """The output folder: manifest of what was done, metrics, executed notebooks."""

    def __init__(self, out: Path, facts: dict[str, Any], say: Say):
        self.out, self.facts, self.say = out, facts, say
        manifest.there_or_set_aside(out / manifest.NAME)
        before = (read_json(out / manifest.NAME) or {}).get("notebooks")
        entries = before.items() if isinstance(before, dict) else ()
        self.notebooks: dict[str, dict[str, Any]] = {name: entry for name, entry in entries if isinstance(entry, dict)}
        self.began = now()

    def is_done(self, name: str, key: dict[str, Any]) -> bool:
        entry = self.notebooks.get(name, {})
        return (
            entry.get("status") == "done"
            and entry.get("key") == key
            and (self.out / f"{name}.ipynb").is_file()
            and self.metrics(name) is not None
        )

    def metrics(self, name: str) -> dict[str, Any] | None:
        return read_json(self.out / name / "metrics.json")

    def result(self, name: str, found: bool) -> Result:
        metrics = self.metrics(name) or {}
        signs = tuple(metrics.get("signs_of_failure", ()))
        return Result(name, found, self.notebooks[name]["seconds"], metrics.get("headline", {}), signs)

    def record(self, name: str, key: dict[str, Any], status: str, began: _Start, message: str = "") -> None:
        made = ((self.metrics(name) or {}).get("run") or {}).get("manifest")
        self.notebooks[name] = {"status": status, "started": now(began.wall), "seconds": round(began.seconds, 1), "message": message,
                                "manifest": made, "key": key}  # fmt: skip
        self.save()

    def save(self) -> None:
        manifest.write(self.out, self.facts, started=self.began, notebooks=dict(sorted(self.notebooks.items())))


def _work(pending: list[tuple[str, Path, dict[str, Any]]], jobs: int, state: _Run) -> list[str]:
    """Runs notebooks, at most `jobs` at once, each after the one that it builds on; the messages of those that stopped."""
    failures: list[str] = []
    running: dict[Future[str], tuple[str, dict[str, Any], _Start]] = {}
    jobs = min(jobs, len(pending)) or 1
    waiting, told, others = list(pending), False, set(multiprocessing.active_children())
    with Stopping() as stopping, ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        while waiting or running:
            busy = [name for name, *_ in running.values()]
            for item in list(waiting):
                name, path, key = item
                ahead = [n for n in [*busy, *(n for n, *_ in waiting[: waiting.index(item)])] if n[:2] not in APART]
                if len(running) < jobs and (name[:2] in APART or not ahead):
                    waiting.remove(item)
                    busy.append(name)
                    state.say(f"{name}: started")
                    threads = 1 if jobs > 1 and name[:2] in APART else None  # it leaves the cores to the one that trains
                    start = _Start(time.time(), time.monotonic(), _stamp(state.out / name / "metrics.json"))
                    running[pool.submit(execute, str(path), str(state.out), key["parameters"], threads)] = name, key, start
            ended = wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done
            if stopping.asked and not told:
                waiting, told = [], True
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()  # its notebook ends after the training step, with a checkpoint
            for future in ended:
                name, key, began = running.pop(future)
                message = _message(future, name, state, began, told)
                state.record(name, key, "failed" if message else "done", began, message)
                if message:
                    failures.append(message)
                    waiting = []
                else:
                    state.say(f"{name}: done in {began.seconds:.0f} s")
        if stopping.asked:
            stopping.end("; ".join(failures) or "between notebooks")
    return failures


def _message(future: Future[str], name: str, state: _Run, began: _Start, asked: bool) -> str:
    """Why a notebook did not come to its end, or ""; one that did gets its name."""
    part, whole, metrics = state.out / f"{name}.failed.ipynb", state.out / f"{name}.ipynb", state.out / name / "metrics.json"
    try:
        problem = future.result()
    except (BrokenProcessPool, KeyboardInterrupt):  # the worker's, before its notebook began
        problem = "it was interrupted" if asked else "its process was killed; is there enough memory?"
    if not problem and _stamp(metrics) in (None, began.metrics):
        problem = f"it ended without writing '{metrics}'"
    if problem:
        return f"notebook {name} stopped: {problem}" + (f"\nas far as it came: {part}" if part.exists() else "")
    os.replace(part, whole)
    return ""


def table(results: Iterable[Result]) -> str:
    """Results as aligned text: notebook, headline, value, seconds, and signs of failure below."""
    rows = [("notebook", "headline", "value", "seconds")]
    signs = []
    for r in results:
        seconds = f"{r.seconds:.0f}{' (before)' if r.found else ''}"
        for i, (label, value) in enumerate(r.headline.items() or [("no headline", None)]):
            rows.append((r.notebook if not i else "", label, number(value), seconds if not i else ""))
        signs += [f"! {r.notebook}: {sign}" for sign in r.signs_of_failure[:SIGNS]]
        if len(r.signs_of_failure) > SIGNS:
            signs.append(f"! {r.notebook}: {len(r.signs_of_failure) - SIGNS} more, in report.html")
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *(["", "signs of failure:", *signs] if signs else [])])


def number(value: Any) -> str:
    """A headline's value as people read it."""
    if value is None:
        return "–"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def now(seconds: float | None = None) -> str:
    return datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC).isoformat(timespec="seconds")
