"""What training leaves to be read: a table of epochs, and scalars for TensorBoard."""

from __future__ import annotations

import csv
import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skelmm_core.errors import CheckpointError
from skelmm_core.files import replacing

Row = dict[str, float]


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path, CheckpointError) as file:
        file.write(text.getvalue().encode())


class tensorboard:
    """A context that gives `board(key, value, epoch)`, which writes a scalar for TensorBoard.

    Its curves are a help and no result: where they can't be written, that is said once and training goes on, until its own files can't.
    """

    def __init__(self, folder: Path, epoch: int):
        self.folder, self.begin = folder, epoch + 1  # epochs after a killed run's last checkpoint come again
        self.writer: Any = None
        self.hook = threading.excepthook

    def __enter__(self) -> Callable[[str, float, int], None]:
        from torch.utils.tensorboard import SummaryWriter

        self.hook, threading.excepthook = threading.excepthook, self._ended
        with self._told():
            self.writer = SummaryWriter(str(self.folder), purge_step=self.begin)
        return self._write

    def __exit__(self, *_: object) -> None:
        with self._told():
            if self.writer:
                self.writer.close()
        threading.excepthook = self.hook

    def _ended(self, end: threading.ExceptHookArgs) -> None:
        """A thread's uncaught error is printed, but for what TensorBoard's writing thread hands on to the next call, which tells it."""
        handed_on = isinstance(end.exc_value, OSError) and getattr(end.thread, "exception", None) is end.exc_value
        if not handed_on:
            self.hook(end)

    def _write(self, key: str, value: float, epoch: int) -> None:
        with self._told():
            if self.writer:
                self.writer.add_scalar(key, value, epoch)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            self.writer = None
            print(f"can't write '{self.folder}': {problem.strerror or problem}; there are no more curves for TensorBoard", file=sys.stderr)
