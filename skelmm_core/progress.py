"""Progress of training: a bar of steps, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor
from tqdm import tqdm

QUIET, SOON = 20.0, 2.0  # seconds between plain lines, and between those that take the last one's place


class Progress:
    """A step bar, or, where there is no terminal, a plain line at most every `QUIET` seconds and after the last step.

    title: heads the lines. bar: what it moves. per_epoch: steps of an epoch. done: steps before. stop: epoch to stop after. epochs: in all.
    say: takes the lines, each in the place of the last; by default they go to stderr.
    """

    def __init__(self, title: str, bar: tqdm[Any], per_epoch: int, done: int, stop: int, epochs: int,
                 say: Callable[[str], None] | None = None):  # fmt: skip
        self.title, self.bar, self.per_epoch, self.stop, self.epochs = title, bar, per_epoch, stop, epochs
        self.first = self.done = done
        self.say, self.quiet = (say, SOON) if say else (_to_stderr, QUIET)
        self.began = self.told = time.monotonic()

    def step(self, loss: Tensor) -> None:
        """One more step is done; its loss is looked at only where it is told, since a device would be waited for."""
        self.bar.update()
        self.done += 1
        now, last = time.monotonic(), self.stop * self.per_epoch
        if self.bar.disable and (now - self.told > self.quiet or self.done == last):
            self.told = now
            epoch, number = divmod(self.done - 1, self.per_epoch)
            left = (now - self.began) / (self.done - self.first) * (last - self.done)
            where = f"epoch {epoch + 1}/{self.epochs}, step {number + 1}/{self.per_epoch}"
            self.say(f"{self.title}: {where}, loss {float(loss):.4f}, about {left:.0f} s left")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
