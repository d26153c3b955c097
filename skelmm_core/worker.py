"""One notebook through papermill, in a process that does nothing else: papermill changes the working folder, which threads share."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from skelmm_core import manifest
from skelmm_core.stopping import SIGNALS, end_with_parent

ANSWER = 120  # seconds that a kernel has to send what a cell showed; it waits for the processor where others use it, too
INTERRUPTED = "it was interrupted"
PATIENCE = 60.0  # seconds that an interrupted kernel has to end its training step and write a checkpoint


def execute(path: str, out: str, values: dict[str, Any], threads: int | None) -> str:
    """Run a notebook as ``<out>/NAME.failed.ipynb``, whose kernel imports this very package and uses so many CPU threads (None: all).

    Returns "", or what went wrong, in the words of the cell that stopped.
    """
    end_with_parent()
    asked = _Asked()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, asked)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(manifest.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a debugger's warning that would stand in every log
    if threads:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    import papermill
    import traitlets.config
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    name = Path(path).stem
    literal = [p.replace("{", "{{").replace("}", "}}") for p in (path, f"{out}/{name}.failed.ipynb")]  # papermill formats paths
    with tempfile.TemporaryDirectory(prefix="skelmm-", ignore_cleanup_errors=True) as folder:
        sockets = {"transport": "ipc", "ip": f"{folder}/kernel"} if os.name == "posix" else {}  # no network, nobody else's ports
        try:
            papermill.execute_notebook(
                *literal, values, kernel_name="python3", cwd=str(Path(path).parent), progress_bar=False, start_timeout=120,
                iopub_timeout=ANSWER, on_cell_execute=asked.before_a_cell,
                stderr_file=_Lines(name), config=traitlets.config.Config({"KernelManager": sockets | {"shutdown_wait_time": PATIENCE}}),
            )  # fmt: skip
        except papermill.PapermillExecutionError as stop:
            return f"{stop.evalue or stop.ename} ({stop.ename} in its cell [{stop.exec_count}])"
        except KeyboardInterrupt:
            return INTERRUPTED
        except DeadKernelError:
            return INTERRUPTED if asked.first is not None else "its kernel died; is there enough memory?"
        except CellTimeoutError:  # an OSError, too
            return (
                f"its kernel sent no answer for {ANSWER} s after a cell had ended; is the machine overloaded? Give the same command again"
            )
        except OSError as problem:
            return f"can't write '{out}/{name}.failed.ipynb': {problem.strerror or problem}"
        except RuntimeError as problem:
            return INTERRUPTED if asked.first is not None else f"its kernel did not start: {problem}"
    return ""


class _Asked:
    """A first signal interrupts the kernel, whose cell ends after its training step, with a checkpoint; a later one ends the kernel.
    Between its cells, and while it starts, a kernel does not hear of it: then no further cell is begun.

    Ctrl-C reaches this process twice, from the terminal and from the process that started it: what comes together counts once.
    """

    TOGETHER = 3.0  # seconds

    def __init__(self) -> None:
        self.first: float | None = None

    def __call__(self, *_: object) -> None:
        kernels, now = psutil.Process().children(), time.monotonic()
        if not kernels or (self.first is not None and now - self.first > self.TOGETHER):
            raise KeyboardInterrupt
        if self.first is None:
            self.first = now
            for kernel in kernels:
                with suppress(psutil.Error):
                    kernel.send_signal(signal.SIGINT)

    def before_a_cell(self, **_: object) -> None:
        """What nbclient calls when it is about to send a cell to the kernel."""
        if self.first is not None:
            raise KeyboardInterrupt


class _Lines:
    """A text file that passes what a notebook writes to stderr on, line by line, with the notebook's number in front."""

    def __init__(self, name: str):
        self.start = f"  {name.partition('_')[0]} | "

    def write(self, text: str) -> None:
        for line in text.splitlines():
            if line.strip():
                print(f"{self.start}{line.rstrip()}", file=sys.stderr, flush=True)

    def flush(self) -> None:
        sys.stderr.flush()
