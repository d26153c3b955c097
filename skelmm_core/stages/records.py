"""What training leaves to be read: a table of epochs, and scalars for TensorBoard."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable
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
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.writing = folder, True
        self.writer: Any = None
        self._try(lambda: setattr(self, "writer", SummaryWriter(str(folder), purge_step=epoch + 1)))  # epochs after a kill come again

    def __enter__(self) -> Callable[[str, float, int], None]:
        return lambda key, value, epoch: self._try(lambda: self.writer.add_scalar(key, value, epoch))

    def __exit__(self, *_: object) -> None:
        self._try(lambda: self.writer.close())

    def _try(self, do: Callable[[], None]) -> None:
        if not self.writing:
            return
        try:
            do()
        except OSError as problem:
            self.writing = False
            print(f"can't write '{self.folder}': {problem.strerror or problem}; there are no more curves for TensorBoard", file=sys.stderr)
