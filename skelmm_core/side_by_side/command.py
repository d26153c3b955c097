"""`skelmm report RUN...`: the page, and its main table as text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from skelmm_core import html
from skelmm_core.errors import SettingsError
from skelmm_core.files import named, replacing, try_place
from skelmm_core.side_by_side import page
from skelmm_core.side_by_side.compare import comparable
from skelmm_core.side_by_side.load import Loaded, find, load, names_of

DEFAULT = "comparison.html"


def report(
    runs: Sequence[str | Path],
    out: str | Path = "",
    device: str = "auto",
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> str:
    """Write the page of one or several runs to `out` (by default `comparison.html` in the first one) and give its main table as text.

    Raises `SettingsError` for no run, or a file that doesn't end in .html, before anything is computed; `DataError` and `CheckpointError`
    as `load` does.
    """
    if not runs:
        raise SettingsError("report takes one or more RUN: output folders of `skelmm run` or `skelmm train`, or stages in them; found none")
    path = named(Path(out) if str(out) else Path(runs[0]) / DEFAULT, "a report", ".html")
    for run in runs:  # before any is scored
        find(run)
    try_place(path, html.HEAD.encode())
    loaded = []
    for run, name in zip(runs, names_of(runs), strict=True):
        loaded.append(load(run, name, device))
        say(f"{name}: {loaded[-1].role} loaded and scored ({loaded[-1].folder.name})")
    content = page.page(loaded).encode(errors="replace")
    with replacing(path) as file:
        file.write(content)
    return f"{table(loaded)}\n{path}"


def table(runs: Sequence[Loaded]) -> str:
    """The main table as aligned text, and why runs can't be compared clip by clip."""
    runs = page.lettered(runs)
    rows = [("", *page.headings(runs)), *((name, *values) for name, values in page.merit(runs))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))]) for row in rows]
    notes = [f"{name} is compared by these figures alone: {reason}" for name, reason in comparable(runs)[1].items()]
    return "\n".join([lines[0].rstrip(), "-" * len(lines[0]), *lines[1:], *notes])
