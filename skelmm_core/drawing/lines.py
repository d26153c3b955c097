"""Lines that long work writes, shown in one place that follows the newest, where JupyterLab would paint a red block that only grows."""

from __future__ import annotations

import contextlib
import html
import io
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from IPython.display import HTML, display

KEPT = 200  # lines, the newest; older ones can't be scrolled to
PAUSE = 0.5  # seconds between two showings, at least
BOX = "max-height: 15em; overflow: auto; display: flex; flex-direction: column-reverse; border-left: 3px solid #8888; padding-left: .7em"


class Lines(io.TextIOBase):
    """A text file that shows its last lines. What follows a carriage return takes the place of the line so far, as in a terminal."""

    def __init__(self) -> None:
        self.rows: deque[str] = deque(maxlen=KEPT)
        self.rest = ""
        self.shown = 0.0
        self.handle: Any = display(HTML(""), display_id=True)

    def write(self, text: str) -> int:
        *whole, self.rest = (self.rest + text).split("\n")
        self.rows += [line.rpartition("\r")[2] for line in whole]
        if whole and time.monotonic() - self.shown > PAUSE:
            self.show()
        return len(text)

    def show(self) -> None:
        last = self.rest.rpartition("\r")[2]
        words = html.escape("\n".join([*self.rows, *([last] if last else [])]))
        self.handle.update(
            HTML(f'<div style="{BOX}"><pre role="log" style="margin: 0; white-space: pre-wrap; flex: none">{words}</pre></div>')
        )
        self.shown = time.monotonic()


@contextlib.contextmanager
def lines() -> Iterator[Lines]:
    """A block whose standard error is shown as `Lines`; all of them are shown when it ends, whichever way."""
    shown = Lines()
    try:
        with contextlib.redirect_stderr(shown):
            yield shown
    finally:
        shown.show()
