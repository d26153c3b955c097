"""`skelmm predict`: classes of clips, whole or as live frames, by an exported file with classifiers."""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import clips as files
from skelmm_core import predicting, protocols, sources, streaming
from skelmm_core.clipfile import FORMAT
from skelmm_core.clips import Clips
from skelmm_core.errors import SettingsError, nearest
from skelmm_core.files import header_format, replacing, try_place
from skelmm_core.predicting import Model
from skelmm_core.recordings import too_large

PARTS = ("all", "train", "test")
FORMULA = ("=", "+", "-", "@", "\t")  # what a cell begins with that spreadsheets compute
FIRST = ("clip", "class", "probability")  # how a table that this command writes begins


def predict(model: Path, clips: Path, out: str = "", top: int = 3, part: str = "all", protocol: str = "", skeleton: str = "",
            stream: int = 0, hop: int = 0, format: str = "auto") -> str:  # fmt: skip
    """Predict, print or write one line per clip (or prediction of a stream), and return what is said at the end; as `cli.predict`.

    In the table that is written, names of clips and classes that a spreadsheet would compute, those that begin with = + - @ or a tab, have
    an apostrophe before them.

    Raises `SettingsError` for an unknown part and numbers out of range, `DataError` for an `out` that is something else, and whatever
    `predicting.load`, `predicting.predict` and `protocols.split` raise.
    """
    if part not in PARTS:
        raise SettingsError(f"unknown part '{part}' of the clips{nearest(part, PARTS)}")
    if top < 1 or stream < 0 or hop < 0:
        raise SettingsError(f"expected --top from 1 and --stream and --hop from 0 on, found top {top}, stream {stream}, hop {hop}")
    if hop and not stream:
        raise SettingsError("--hop is the step of a stream: give its window, too, as in --stream 60 --hop 10")
    if out:
        try_place(out, ",".join(FIRST).encode())
    loaded = predicting.load(model)
    top = min(top, len(loaded.classes))
    with opened(clips, format) as data:
        rows = _rows(loaded, data, part, protocol)
        if stream:
            return _stream(loaded, data, rows, skeleton, stream, hop or max(1, stream // 4), out)
        probabilities = predicting.predict(loaded, data, rows, skeleton)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        ranked = zip(rows, probabilities, order, strict=True)
        table = [(data.names[i], [(loaded.classes[c], p[c]) for c in best[:top]]) for i, p, best in ranked]
        if out:
            more = [f"{what}_{place}" for place in range(2, top + 1) for what in FIRST[1:]]
            _write(out, [*FIRST, *more], [[_cell(name), *(v for c, p in best for v in (_cell(c), f"{p:.6f}"))] for name, best in table])
        else:
            for name, best in table:
                print(f"{name}  {', '.join(f'{c} {100 * p:.1f} %' for c, p in best)}")
        said = str(predicting.agreement(loaded, data, rows, order[:, 0].tolist()))
        return "\n".join([said, *_notes(loaded, data, rows), *([out] if out else [])])


def _stream(model: Model, clips: Clips, rows: Sequence[int], skeleton: str, window: int, hop: int, out: str) -> str:
    """Play clips as live frames, each as a stream of its own."""
    played = streaming.replay(model, predicting.joints_for(model, clips, skeleton), rows, window, hop, clips.frame_rate)
    table = [(clips.names[i], p.name, p.probability, p.seconds) for i, p in played.predictions]
    if out:
        _write(out, [*FIRST, "seconds"], [[_cell(name), _cell(c), f"{p:.6f}", f"{t:.3f}"] for name, c, p, t in table])
    else:
        for name, c, p, t in table:
            print(f"{name}  {t:.2f} s  {c} {100 * p:.1f} %")
    numbers = [int(p.probabilities.argmax()) for _, p in played.predictions]
    said = str(predicting.agreement(model, clips, [i for i, _ in played.predictions], numbers)).replace(" clips", " predictions")
    return "\n".join([str(played), said, *_notes(model, clips, rows), *([out] if out else [])])


@contextmanager
def opened(path: Path, format: str = "auto") -> Iterator[Clips]:
    """A clips file, or data of any known format, which are read into a clips file that is there no longer than this."""
    if path.is_file() and header_format(path) == FORMAT:
        found = files.open_clips(path)
        found.check_content()
        yield found
        return
    source = sources.read(path, format)
    with tempfile.TemporaryDirectory() as scratch:
        report = files.write(Path(scratch) / "read.clips", source, progress=sys.stderr.isatty())
        for dropped in report.dropped:
            print(f"left out: {dropped.name}: {dropped.reason}", file=sys.stderr)
        yield files.open_clips(report.path)


def _rows(model: Model, clips: Clips, part: str, protocol: str) -> list[int]:
    if part == "all":
        if protocol:
            raise SettingsError("--protocol divides the clips: say which part to take, as in --part test")
        return list(range(len(clips)))
    known = model.data.get("protocol", "") if _same(model, clips) else ""
    chosen: list[int] = getattr(protocols.split(clips, protocol or known), part).tolist()
    return chosen


def _same(model: Model, clips: Clips) -> bool:
    """Whether these are the clips, content and all, of which a part trained the model."""
    return model.data.get("content") == clips.content


def _notes(model: Model, clips: Clips, rows: Sequence[int]) -> list[str]:
    """What makes an accuracy say less than it seems to."""
    found: list[str] = []
    facts: dict[str, Any] = model.data
    some = rows[:: max(1, len(rows) // 16)]
    if large := next((note for i in some if (note := too_large(clips.joints_of(i), clips.skeleton))), ""):
        found.append(f"the clips have {large}; the model takes metres, and its answers mean nothing")
    if _same(model, clips):
        trained = np.intersect1d(protocols.split(clips, facts["protocol"]).train, rows).size
        if trained:
            found.append(f"{trained} of these clips trained the model; --part test leaves them out")
    rate = facts.get("frame_rate") or clips.frame_rate
    if rate and abs(clips.frame_rate / rate - 1) > 0.05:
        found.append(f"the clips have {clips.frame_rate:g} frames per second, those that trained the model {rate:g}: velocities differ")
    if facts.get("generated"):
        found.append("the model was trained on generated motion, which nobody performed")
    return found


def _cell(name: str) -> str:
    """A name that spreadsheets take as text."""
    return f"'{name}" if name.startswith(FORMULA) else name


def _write(out: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([head, *rows])
    with replacing(out) as file:
        file.write(lines.getvalue().encode())
