"""One job of a sweep, in a process of its own: ``python -m skelmm_core.sweep.worker FOLDER PARENT``; and how others start and judge it.

The process ends after the training step, with a checkpoint, on SIGTERM and when PARENT has gone; the same job goes on from there.
Everything heavy is imported when it is needed, so that signals are heard from the start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skelmm_core.files import read_json
from skelmm_core.sweep.folder import CLAIM, FAILED, JOB, LOG, RESULT, failure_of, last_line, result_of, set_aside, write

PAUSE = 5.0  # seconds between looks at a stage that another process trains
STOPPED = 75  # exit code: not finished, and to be started again
STOPS = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR2, STOPPED)


def start(folder: Path, environment: dict[str, str] | None = None, apart: bool = False) -> subprocess.Popen[bytes]:
    """The process of a job, which writes to its log; environment: variables other than this process's. apart: Ctrl-C doesn't reach it."""
    from skelmm_core import manifest

    path = os.pathsep.join([str(manifest.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(folder / LOG, "ab") as log:
        log.write(f"--- {_now()} on {socket.gethostname()}\n".encode())
        log.flush()
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "skelmm_core.sweep.worker", str(folder), str(os.getpid())], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, env={**os.environ, "PYTHONPATH": path, **(environment or {})}, start_new_session=apart,
        )  # fmt: skip


def ended(folder: Path, code: int) -> str:
    """Whether a job whose process ended with an exit code is done, failed or stopped. One that died without a word gets one."""
    if result_of(folder) is not None:
        return "done"
    if failure_of(folder) is None:
        if code in STOPS:
            return "stopped"
        last = last_line(folder / LOG)
        how = f"signal {signal.Signals(-code).name}; is there enough memory?" if code < 0 else f"exit code {code}: {last}"
        failed(folder, f"its process ended with {how}")
    return "failed"


def failed(folder: Path, message: str) -> None:
    write(folder / FAILED, {"message": message, "host": socket.gethostname(), "date": _now()})


def main(folder: Path, parent: int) -> int:
    """Does the job; its exit code."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm's warning goes to all processes; whoever started this one answers it
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    from skelmm_core.claims import claimed
    from skelmm_core.errors import InterruptedWork, SkelmmError

    began = time.monotonic()
    with claimed(folder, CLAIM) as ours:
        if not ours:
            print("another process is at this job")
            return STOPPED
        if result_of(folder) is not None:
            return 0
        try:
            set_aside(folder, lambda line: print(line, file=sys.stderr))
            spec: dict[str, Any] = read_json(folder / JOB) or {}
            found = _patiently({"train": _train, "measure": _measure, "notebooks": _notebooks}[spec["what"]], spec, folder)
            write(folder / RESULT, {**found, **_origin(spec), "seconds": time.monotonic() - began})
            return 0
        except (InterruptedWork, KeyboardInterrupt) as stop:
            print(f"stopped: {stop}")
            return STOPPED
        except SkelmmError as problem:
            print(f"failed: {problem}")
            failed(folder, str(problem))
        except Exception as problem:
            traceback.print_exc()
            failed(folder, f"{type(problem).__name__}: {problem}")
        return 1


def _patiently(do: Callable[[dict[str, Any], Path], dict[str, Any]], spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A job's result, once nobody else trains a stage that it needs: a sweep of another grid, or `skelmm train`, in the same folder."""
    from skelmm_core.errors import BusyError

    said = False
    while True:
        try:
            return do(spec, folder)
        except BusyError as problem:
            if not said:
                print(f"waiting: {problem}")
            said = True
        time.sleep(PAUSE)


def _experiment(spec: dict[str, Any]) -> Any:
    from skelmm_core.experiment import Experiment

    return Experiment(spec["data"], spec["out"], spec["preset"], spec["device"], spec["smoke"], **spec["settings"])


def _train(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    exp = _experiment(spec)
    exp.check(spec["stage"])
    until = {"until": exp.settings.exchange_epoch} if spec["until_exchange"] else {}
    return _trained(exp, getattr(exp, spec["stage"])(**until)) | {"metrics": {}}


def _measure(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    exp, stage = _experiment(spec), spec["stage"]
    exp.check("evaluate" if stage == "untrained" else stage)
    made = None if stage == "untrained" else getattr(exp, stage)()
    branches = exp.untrained() if made is None else made.model.students if stage == "distill" else made.model.query
    scores = exp.score(branches).summary()
    names = ("linear", "linear_late", "linear_joint", "knn")
    return _trained(exp, made) | {"metrics": {name: scores[name] for name in names}, "streams": scores["streams"], "n": scores["clips"],
                                  "chance": exp.chance}  # fmt: skip


def _trained(exp: Any, made: Any) -> dict[str, Any]:
    return {
        "folder": f"stages/{made.folder.name}" if made else "", "training_seconds": made.seconds if made else 0.0,
        "by_other_code": bool(made and made.by_other_code), "precision": exp.settings.precision, "used_device": str(exp.fabric.device),
    }  # fmt: skip


def _notebooks(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    from skelmm_core import pipeline

    given = dict(spec["settings"])
    seed, out = given.pop("seed"), folder / "run"
    done = pipeline.run(spec["notebooks"], spec["data"], out, given, 1, spec["smoke"], spec["preset"], seed, spec["device"],
                        say=lambda line: print(line))  # fmt: skip
    metrics = {f"{r.notebook[:2]} {label}": v for r in done for label, v in r.headline.items() if isinstance(v, (int, float))}
    return {"folder": out.relative_to(spec["out"]).as_posix(), "metrics": metrics, "training_seconds": sum(r.seconds for r in done)}


def _origin(spec: dict[str, Any]) -> dict[str, Any]:
    from skelmm_core import manifest

    return {
        "format": spec["format"], "stage": spec["stage"], "settings": spec["settings"], "git": manifest.git(), "host": socket.gethostname(),
        "processor": manifest.hardware()["processor"], "accelerators": manifest.hardware()["accelerators"], "date": _now(),
    }  # fmt: skip


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
