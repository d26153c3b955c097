"""Progress of training: a bar of steps, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from torch import Tensor
from tqdm import tqdm

QUIET = 20.0  # seconds between plain lines


class Progress:
    """A step bar, or, where there is no terminal, a plain line at most every `QUIET` seconds and after the last step.

    title: heads the lines. bar: what it moves. per_epoch: steps of an epoch. done: steps before. stop: epoch to stop after.
    epochs: in all.
    """

    def __init__(self, title: str, bar: tqdm[Any], per_epoch: int, done: int, stop: int, epochs: int):
        self.title, self.bar, self.per_epoch, self.stop, self.epochs = title, bar, per_epoch, stop, epochs
        self.first = self.done = done
        self.began = self.told = time.monotonic()

    def step(self, loss: Tensor) -> None:
        """One more step is done; its loss is looked at only where it is told, since a device would be waited for."""
        self.bar.update()
        self.done += 1
        now, last = time.monotonic(), self.stop * self.per_epoch
        if self.bar.disable and (now - self.told > QUIET or self.done == last):
            self.told = now
            epoch, number = divmod(self.done - 1, self.per_epoch)
            left = (now - self.began) / (self.done - self.first) * (last - self.done)
            where = f"epoch {epoch + 1}/{self.epochs}, step {number + 1}/{self.per_epoch}"
            print(f"{self.title}: {where}, loss {float(loss):.4f}, about {left:.0f} s left", file=sys.stderr, flush=True)
