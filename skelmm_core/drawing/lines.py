"""Lines that long work writes, shown in one place that follows the newest, where JupyterLab would paint a red block that only grows."""

from __future__ import annotations

import contextlib
import html
import io
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from IPython.display import HTML, display

KEPT = 200  # lines, the newest; older ones can't be scrolled to
PAUSE = 0.5  # seconds between two showings, at least
BOX = "max-height: 15em; overflow: auto; display: flex; flex-direction: column-reverse; border-left: 3px solid #8888; padding-left: .7em"


class Lines(io.TextIOBase):
    """A text file that shows its last lines, the newest within `PAUSE`. What follows a carriage return takes the place of the line so far,
    as in a terminal."""

    def __init__(self) -> None:
        self.rows: deque[str] = deque(maxlen=KEPT)
        self.rest = ""
        self.shown = 0.0
        self.later: threading.Timer | None = None
        self.lock = threading.RLock()
        self.handle: Any = display(HTML(""), display_id=True)

    def write(self, text: str) -> int:
        with self.lock:
            *whole, self.rest = (self.rest + text).replace("\r\n", "\n").split("\n")
            self.rows += [_last(line) for line in whole]
            if self.later is None:  # else what comes is shown with what has come
                wait = self.shown + PAUSE - time.monotonic()
                if wait <= 0:
                    self.show()
                else:
                    self.later = threading.Timer(wait, self.show)
                    self.later.daemon = True
                    self.later.start()
        return len(text)

    def show(self) -> None:
        with self.lock:
            words = html.escape("\n".join([*self.rows, *([last] if (last := _last(self.rest)) else [])]))
            style = "margin: 0; white-space: pre-wrap; flex: none"
            self.handle.update(HTML(f'<div style="{BOX}"><pre role="log" style="{style}">{words}</pre></div>'))
            self.shown, self.later = time.monotonic(), None


def _last(line: str) -> str:
    """What a terminal shows of a line with carriage returns."""
    return next((part for part in reversed(line.split("\r")) if part), "")


@contextlib.contextmanager
def lines() -> Iterator[Lines]:
    """A block whose standard error is shown as `Lines`; all of them are shown when it ends, whichever way."""
    shown = Lines()
    try:
        with contextlib.redirect_stderr(shown):
            yield shown
    finally:
        if shown.later:
            shown.later.cancel()
        shown.show()
