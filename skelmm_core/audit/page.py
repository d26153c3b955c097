"""The report of a clips file as one page of HTML that opens offline: warnings first, findings, splits, figures, what was left out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from skelmm_core import html
from skelmm_core.audit import Audit, text
from skelmm_core.clips import Clips
from skelmm_core.drawing import audit as figures
from skelmm_core.drawing.canvas import Picture
from skelmm_core.drawing.explore_clips import playable
from skelmm_core.drawing.palette import DPI
from skelmm_core.drawing.strip import film_strip
from skelmm_core.files import replacing

ROWS = 200  # of a table; the JSON has all
STRIPS = 2  # clips of a finding that are drawn


def write(path: str | Path, audit: Audit, clips: Clips) -> Path:
    """Write the page; `clips` is the file that was audited. Raises `DataError` where it can't be written."""
    path = Path(path)
    content = page(audit, clips).encode(errors="replace")
    with replacing(path) as file:
        file.write(content)
    return path


def page(audit: Audit, clips: Clips) -> str:
    """The page's HTML."""
    parts = [f"<p>{html.text(line)}</p>" for line in audit.opening[:1]]
    if audit.generated:
        parts.append('<p class="note">Generated motion: nobody performed these clips.</p>')
    parts += _warnings(audit)
    parts += ["<h2>What the file holds</h2>", html.table(("what", "value"), (_row(line) for line in audit.opening[1:]))]
    parts += ["<h2>What was found</h2>", html.table(("what", "value"), text.findings(audit)), *_worst(audit, clips)]
    parts += ["<h2>Train and test</h2>", *_splits(audit)]
    parts += [html.figure(png(figure), caption) for figure, caption in drawn(audit, clips)]
    parts += ["<h2>What was left out</h2>", *_left_out(audit)]
    parts.append(f"<p>All of it as numbers: {escape(Path(audit.path).name)}.report.json, beside this page.</p>")
    return html.page(f"Report of {Path(audit.path).name}", parts)


def drawn(audit: Audit, clips: Clips) -> Iterator[tuple[Picture, str]]:
    """Every figure that has something to show, with its caption."""
    yield figures.class_bars(audit), "Clips of every class."
    if any(not part.problem for part in audit.protocols):
        yield figures.split_balance(audit), "What share of each class trains. Dots that lie apart: the parts have other shares of classes."
    shortest, longest = audit.lengths["shortest"], audit.lengths["longest"]
    yield figures.length_histogram(audit), f"Lengths of the clips. Shortest: {shortest}; longest: {longest}."
    pair = figures.telling_pair(clips.columns())
    if pair:
        yield figures.count_matrix(*pair), f"Clips by {pair[2]} and {pair[3]}."
    if any(s.n for s in audit.bones.values()):
        told = (
            "A person's bones keep their length; what varies is the tracking."
            if audit.dimensions == 3
            else "In an image it varies with the view."
        )
        yield figures.bone_bars(audit), f"How far the length of every bone varies within a clip. {told}"
    if any(s.n for s in audit.confidence.values()):
        yield figures.confidence_bars(audit), "The detector's confidence."
    if audit.height.n:
        yield figures.height_dots(audit), "Height of the first body, which bends and jumps, so it is less than the person's."


def png(figure: Picture) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _row(line: str) -> tuple[str, str]:
    name, _, value = line.partition(" ")
    return name, value.strip()


def _warnings(audit: Audit) -> Iterator[str]:
    if not audit.warnings:
        yield (
            "<p>No warnings. Looked for: clips that are there twice or in both parts of a protocol, clips without a body or with one that "
            "never moves, tracking that breaks often, clips of fewer than 3 frames, implausible units and axes, classes with few clips.</p>"
        )
        return
    items = "".join(f"<li>{html.text(warning)}</li>" for warning in audit.warnings)
    yield f'<div class="signs"><p><strong>Warnings</strong></p><ul>{items}</ul></div>'


def _worst(audit: Audit, clips: Clips) -> Iterator[str]:
    """The clips to look at, folded, and the worst of them as film strips."""
    numbers = {name: number for number, name in reversed(list(enumerate(clips.names)))}
    for title, finding, quantity in (
        ("frames without a body", audit.empty, "share"), ("no body at all", audit.vacant, "share"),
        ("frozen bodies", audit.frozen, "share"),
        ("jumps", audit.jumps, "fastest joint (m/s)"), ("jumps of the whole body", audit.leaps, "fastest joint (m/s)"),
        ("bones that change their length", audit.odd_bones, "variation"), ("heights", audit.odd_heights, f"height ({audit.unit})"),
    ):  # fmt: skip
        if finding.worst:
            rows = [(name, text.percent(v) if quantity in ("share", "variation") else f"{v:.2f}", what) for name, v, what in finding.worst]
            of = f", the worst {len(rows)}" if len(rows) < finding.clips else ""
            table = html.table(("clip", quantity, ""), rows, numbers=(1,))
            shown = _strips(clips, [numbers[name] for name, *_ in finding.worst]) if finding is not audit.vacant else ""
            yield html.folded(f"{title}: {text.clips(finding.clips)}{of}", shown + table)
    if audit.duplicates:
        yield html.folded(
            f"the same coordinates: {len(audit.duplicates)} groups", _some(("clips",), ((", ".join(g),) for g in audit.duplicates))
        )


def _strips(clips: Clips, chosen: list[int]) -> str:
    """Film strips of the first clips of a finding; of coordinates that can't be drawn none."""
    strips = []
    for number in playable(clips, chosen)[:STRIPS]:
        label = clips.class_names[int(clips.labels[number])]
        strip = film_strip(clips[number], clips.skeleton, frames=8, frame_rate=clips.frame_rate)
        strips.append(html.figure(png(strip), f"{clips.names[number]} ({label})"))
    return "".join(strips)


def _splits(audit: Audit) -> Iterator[str]:
    rows = []
    for part in audit.protocols:
        name = f"{part.protocol}{' (its own)' if part.own else ''}"
        if part.problem:
            yield f'<p class="note">{escape(name)} can\'t be used: {html.text(part.problem)}</p>'
            continue
        rows.append((name, text.apart(part), part.train, part.test, text.per_class(part), len(part.leaks), text.shared(part)))
    head = ("protocol", "who trains | tests", "train", "test", "of each class", "leaks", "what the test part shares with the training part")
    if rows:
        yield "<p>Clips in the training and the test part. A leak is a test clip with the coordinates of a training clip.</p>"
        yield html.table(head, rows, numbers=(2, 3, 4, 5))
    else:
        yield "<p>No usual protocol fits; give an expression with --protocol.</p>"
    for part in audit.protocols:
        if part.leaks:
            yield html.folded(f"leaks in {part.protocol}: {len(part.leaks)}", _some(("training clip", "test clip"), part.leaks))
        if part.few:
            yield html.folded(
                f"{part.protocol}: {len(part.few)} classes with few clips in a part", _some(("class",), ((c,) for c in part.few))
            )


def _left_out(audit: Audit) -> Iterator[str]:
    if not audit.prepared:
        yield "<p>Not known: the file was opened, not just prepared.</p>"
        return
    if not (audit.left_out or audit.damaged or audit.changes):
        yield "<p>Nothing, and readers noted nothing about the clips.</p>"
    if audit.damaged:
        yield "<p>Damaged:</p>" + _some(("file or clip", "what is wrong"), audit.damaged)
    for reason, names in audit.left_out.items():
        yield html.folded(f"{len(names)} left out: {reason}", _some(("clip",), ((name,) for name in names)))
    if audit.changes:
        yield "<p>Taken away or noted:</p>" + _some(("what", "how many", "from clips"), ((what, *n) for what, n in audit.changes.items()))


def _some(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    rows = list(rows)
    more = f"<p>{len(rows) - ROWS} more are in the JSON.</p>" if len(rows) > ROWS else ""
    return html.table(head, rows[:ROWS]) + more
