"""Being asked to stop, by Ctrl-C, by whoever runs the machine, by a closed terminal: work ends where it can go on from, not midway."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from skelmm_core.errors import InterruptedWork

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # Windows has no SIGHUP
_Handler = Callable[[int, FrameType | None], Any] | int | None


class Stopping:
    """In its block SIGINT, SIGTERM and SIGHUP are noted in `asked` instead of ending the work at once; a second Ctrl-C does end it at once.

    One that comes too late for that is given on at the end of the block. Only the main thread hears signals; a signal that is ignored, as
    by nohup, stays so.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, _Handler] = {}

    def __enter__(self) -> Stopping:
        self.asked = None
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if kind is None and self.asked:
            signal.raise_signal(self.asked)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number

    def end(self, where: str) -> NoReturn:
        """Ends the work: `KeyboardInterrupt` after Ctrl-C, else `InterruptedWork`. where: how far it came and what was kept."""
        if self.asked == signal.SIGINT:
            raise KeyboardInterrupt(where)
        raise InterruptedWork(f"{where}; stopped by a signal from outside; the same command goes on from there")


def end_with_parent() -> None:
    """For a process of `multiprocessing`: it ends when its parent has, however that did, and does not go on training beside the next run;
    a notebook's kernel ends with its worker."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent:
            parent.join()
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()
