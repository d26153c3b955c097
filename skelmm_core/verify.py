"""`skelmm verify`: a run, or one stage of it, repeated from its manifest in a folder beside it, and compared number by number."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from skelmm_core import checkpoints, files, manifest, settings
from skelmm_core.clips import open_clips
from skelmm_core.errors import CheckpointError, DataError, InterruptedWork, SettingsError, nearest
from skelmm_core.experiment import SAMPLE, Experiment

COMMON = ("data", "out", "preset", "seed", "device", "smoke")
STAGES = ("pretrain", "exchange", "distill")
KINDS = {str: "a text", bool: "true or false", dict: "an object", list: "a list"}
SHOWN = 20  # differences that are told one by one
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """differences: what came out otherwise; compared: what was compared; other: what the repetition was made with that the run was not."""

    compared: str
    differences: tuple[str, ...]
    other: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.differences)
        lines = [f"{self.compared}: " + (f"{count} differ{'s' * (count == 1)}" if count else "the same again")]
        lines += [f"  {line}" for line in self.differences[:SHOWN]] + ([f"  and {count - SHOWN} more"] if count > SHOWN else [])
        return "\n".join(lines + [f"made otherwise: {line}" for line in self.other])


def verify(path: str | Path, keep: bool = False, say: Say = lambda line: print(line, file=sys.stderr, flush=True)) -> Verdict:
    """Repeat what lies in `path` and compare: all figures of a run's ``metrics.json`` files, times apart; weights, queues, momenta and log
    of a stage's folder.

    The repetition lies in a folder beside `path`, which stays when something differs (and is named by `say`), or with `keep`.
    Raises `DataError`, before anything is repeated, for a folder whose manifest or figures are gone or damaged, whose data are gone or
    others now, or beside which no folder can be made.
    """
    path = Path(path).resolve()
    try:
        told = json.loads((path / manifest.NAME).read_text())
    except (OSError, ValueError, RecursionError) as problem:
        raise _unreadable(path, repr(problem)) from problem
    if not isinstance(told, dict):
        raise _unreadable(path, f"expected an object, found {_short(told)}")
    for session in _entry(path, {"sessions": [], **told}, list, "sessions"):
        if not isinstance(session, dict):
            raise _unreadable(path, f"expected an object for each of 'sessions', found {_short(session)}")
    return _stage(path, told, keep, say) if "stage" in told else _run(path, told, keep, say)


def _unreadable(path: Path, what: str) -> DataError:
    return DataError(
        f"'{path / manifest.NAME}' can't be read as the manifest of a run or stage ({what}); "
        "name a folder that `skelmm run` or `skelmm train` wrote"
    )


def _entry(path: Path, told: Any, kind: type[T], *names: str) -> T:
    """What a manifest has under nested `names`; `DataError` where that is missing or of another kind."""
    found = told
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, kind):
        return found
    raise _unreadable(path, f"expected {KINDS[kind]} as '{'.'.join(names)}', found {'none' if found is None else _short(found)}")


def _run(path: Path, told: Mapping[str, Any], keep: bool, say: Say) -> Verdict:
    from skelmm_core import pipeline

    entries = {name: _entry(path, told, dict, "notebooks", name) for name in _entry(path, told, dict, "notebooks")}
    done = {name: _entry(path, told, dict, "notebooks", name, "key") for name, entry in entries.items() if entry.get("status") == "done"}
    if not done:
        raise DataError(f"'{path}' holds no notebook that came to its end; run the same command again first")
    there = pipeline.choose((), pipeline.NOTEBOOKS)
    for name in done:
        if name not in there:
            raise _unreadable(path, f"no notebook is called '{name}'{nearest(name, there)}")
        own = ("notebooks", name, "key")
        _entry(path, told, str, *own, "source")
        _same_data(_entry(path, told, str, *own, "parameters", "data"), _entry(path, told, str, *own, "data"))
    first = {name: _metrics(path, name) for name in done}
    differences, other = [], _made_otherwise(told)
    with _beside(path, keep, say) as (folder, stays):
        for name, key in done.items():
            values = key["parameters"]
            given = {k: v for k, v in values.items() if k not in COMMON and v is not None}
            common = {k: v for k, v in values.items() if k in COMMON and k != "out"}
            pipeline.run([name], out=folder, given=given, say=say, **common)
            differences += [f"{name}: {line}" for line in differing(untimed(first[name]), untimed(_metrics(folder, name)))]
        again = json.loads((folder / manifest.NAME).read_text())["notebooks"]
        other += [f"notebook {name} is another one now" for name, key in done.items() if again[name]["key"]["source"] != key["source"]]
        stays(bool(differences))
    return Verdict(f"metrics of {', '.join(done)}", tuple(differences), tuple(other))


def _metrics(run: Path, name: str) -> Any:
    """A notebook's ``metrics.json``, with paths in the run's folder as they are in any: what lies in it is not where it lies."""
    file = run / name / "metrics.json"
    try:
        return json.loads(file.read_text().replace(json.dumps(f"{run}{os.sep}", ensure_ascii=False)[1:-1], ""))
    except (OSError, ValueError, RecursionError) as problem:
        why = isinstance(problem, OSError) and problem.strerror or problem
        raise DataError(
            f"can't read '{file}', the figures of a notebook that came to its end: {why}; they are what a repetition is compared with: "
            "put the file back, or run the same command again, which makes it anew"
        ) from problem


def _stage(path: Path, told: Mapping[str, Any], keep: bool, say: Say) -> Verdict:
    stage, data, content = (_entry(path, told, str, *names) for names in (("stage",), ("path",), ("data", "content")))
    preset, device, smoke = _entry(path, told, str, "preset"), _entry(path, told, str, "device"), _entry(path, told, bool, "smoke")
    given, changes = _entry(path, told, dict, "settings"), _entry(path, {"changes": {}, **told}, dict, "changes")
    if stage not in STAGES:
        raise _unreadable(path, f"expected one of {', '.join(STAGES)} as 'stage', found {_short(stage)}")
    for kind, values in (("distill", given), ("exchange", changes)):
        unknown = sorted(set(values) - set(settings.field_types(settings.STAGES[kind])))
        if unknown or (values is changes and values and stage != "exchange"):
            raise _unreadable(path, f"the stage {stage} knows no setting '{(unknown or list(values))[0]}'")
    found = checkpoints.newest(path / "last.pt")
    if not found or found[1].get("steps") is not None:
        raise _interrupted(path)
    lacks = [name for name in ("rows", "epoch", "model", "momentum") if name not in found[1]]
    if lacks:
        raise CheckpointError(f"'{found[0]}' is not a checkpoint of a stage: it lacks {', '.join(lacks)}")
    before = found[1]
    whole = {"exchange": {**given, **changes}.get("epochs"), "distill": given.get("student_epochs")}.get(stage)  # stage 1 may end before
    if whole not in (None, before["epoch"]):
        raise _interrupted(path, f" after epoch {before['epoch']} of {whole}")
    _same_data(data, content)
    with _beside(path, keep, say) as (folder, stays):
        exp = Experiment(data, folder, preset, device, smoke, **given)
        trained = exp.pretrain(until=before["epoch"]) if stage == "pretrain" else getattr(exp, stage)(**changes)
        now = checkpoints.load(trained.folder / "last.pt")
        if now["identity"] != before.get("identity"):
            raise SettingsError(f"'{path}' does not hold what its manifest says: that would be '{trained.folder.name}'")
        first, second = ({"rows": untimed(c["rows"]), "epoch": c["epoch"], **digests(c)} for c in (before, now))
        differences = tuple(differing(first, second))
        stays(bool(differences))
    return Verdict(
        f"{stage}, {before['epoch']} epochs: {len(digests(before))} tensors and the log", differences, tuple(_made_otherwise(told))
    )


def _interrupted(path: Path, where: str = "") -> DataError:
    return DataError(f"'{path}' holds a stage that was interrupted{where}; give the command that trained it again, and verify then")


def _same_data(path: str, content: str) -> None:
    if path == SAMPLE:  # is made anew, and compared with all the rest
        return
    clips = open_clips(path)
    clips.check_content()
    found = clips.content
    if found != content:
        raise DataError(f"'{path}' holds other clips than the run had (content {found[:12]} instead of {content[:12]}); put them back")


@contextmanager
def _beside(path: Path, keep: bool, say: Say) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """A folder beside `path`, and a function that says whether it stays, which it does anyway with `keep`."""
    try:
        folder, stays = Path(tempfile.mkdtemp(prefix=f"{path.name}.verify-", dir=path.parent)), [keep]
    except OSError as problem:
        place = path.with_name(f"{path.name}.verify-…")
        raise files.unwritten(place, problem, kept="a repetition lies beside what it repeats, and nothing was repeated") from problem
    try:
        yield folder, stays.append
    except InterruptedWork as problem:  # whose message promises to go on from what is removed here
        told = f"the repetition of '{path}' was stopped by a signal from outside"
        raise InterruptedWork(f"{told}; the same command begins it anew") from problem
    finally:
        if any(stays):
            say(f"the repetition is kept in '{folder}'")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _made_otherwise(told: Mapping[str, Any]) -> list[str]:
    """Code, versions and machine, where they are not those of the run, nor of a session in which it went on."""
    now = {"versions": manifest.versions(), "hardware": manifest.hardware()}
    sessions = (told, *told.get("sessions", ()))
    return list(dict.fromkeys(line for one in sessions for kind in now for line in differing(one.get(kind, {}), now[kind], f"{kind}.")))


def untimed(value: Any) -> Any:
    """JSON values without what may differ between two runs of the same: seconds, and the id of the manifest, which has the code in it."""
    if isinstance(value, Mapping):
        return {k: untimed(v) for k, v in value.items() if "seconds" not in k and k != "manifest"}
    return [untimed(v) for v in value] if isinstance(value, (list, tuple)) else value


def differing(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Where two nested values differ, as ``path: one -> other``; NaN is the same as NaN."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from differing(before.get(key, "absent"), now.get(key, "absent"), f"{where}{key}.")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, pair in enumerate(zip(before, now, strict=True)):
            yield from differing(*pair, f"{where}{i}.")
    elif before != now and not (before != before and now != now):
        yield f"{where.rstrip('.')}: {_short(before)} -> {_short(now)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def digests(saved: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of every tensor of a checkpoint, model (weights, statistics, queues) and momenta: names -> hexadecimal digits."""
    return {f"{part}.{name}": digest(tensor) for part in ("model", "momentum") for name, tensor in saved[part].items()}


def digest(tensor: Tensor) -> str:
    content = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
