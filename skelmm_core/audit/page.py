"""The report of a clips file as one page of HTML that opens offline: warnings first, findings and the clips to watch, splits, figures, what
was left out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from skelmm_core import html
from skelmm_core.audit import Audit, Finding, text
from skelmm_core.audit.worst import EACH, PLAYERS, Watched, watched
from skelmm_core.clips import Clips
from skelmm_core.drawing import audit as figures
from skelmm_core.drawing.canvas import Picture
from skelmm_core.drawing.palette import DPI
from skelmm_core.files import replacing

ROWS = 200  # of a table; the JSON has all
FINDINGS = {
    "empty": ("empty", "vacant"),
    "frozen": ("frozen",),
    "jumps": ("jumps", "leaps"),
    "bones": ("odd_bones",),
    "height": ("odd_heights",),
    "duplicates": ("duplicates",),
}  # line of `text.findings` -> kinds of clips to watch
STYLE = """
.watch { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); grid-auto-flow: dense;
  gap: 1.5rem 1rem; margin: 1.5rem 0 }
.watch figure { margin: 0; min-width: 0; scroll-margin-top: 1rem } .watch .pair { grid-column: 1 / -1 }
.watch figcaption { overflow-wrap: anywhere; margin-top: .3rem }
.watch figure:target { outline: 3px solid var(--warn); outline-offset: 4px; border-radius: 6px }
a.play { white-space: nowrap; margin-right: .6rem } .wide { overflow-x: auto }
"""


def write(path: str | Path, audit: Audit, clips: Clips) -> Path:
    """Write the page; `clips` is the file that was audited. Raises `DataError` where it can't be written."""
    path = Path(path)
    content = page(audit, clips).encode(errors="replace")
    with replacing(path) as file:
        file.write(content)
    return path


def page(audit: Audit, clips: Clips) -> str:
    """The page's HTML."""
    shown = watched(audit, clips)
    parts = [f"<style>{STYLE}</style>", *(f"<p>{html.text(line)}</p>" for line in audit.opening[:1])]
    if audit.generated:
        parts.append('<p class="note">Generated motion: nobody performed these clips.</p>')
    parts += _warnings(audit, shown)
    parts += ["<h2>What the file holds</h2>", _wide(html.table(("what", "value"), (_row(line) for line in audit.opening[1:])))]
    parts += ["<h2>What was found</h2>", *_found(audit, shown), *_playing(clips, shown), *_worst(audit, clips, shown)]
    parts += ["<h2>Train and test</h2>", *_splits(audit, clips, shown)]
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


def _warnings(audit: Audit, shown: list[Watched]) -> Iterator[str]:
    if not audit.warnings:
        yield (
            "<p>No warnings. Looked for: clips that are there twice or in both parts of a protocol, clips without a body or with one that "
            "never moves, tracking that breaks often, clips of fewer than 3 frames, implausible units and axes, classes with few clips.</p>"
        )
        return
    items = "".join(f"<li>{html.text(words)} {_links(shown, kind)}</li>" for kind, words in text.marked_warnings(audit))
    yield f'<div class="signs"><p><strong>Warnings</strong></p><ul>{items}</ul></div>'


def _links(shown: list[Watched], *kinds: str, numbers: Iterable[int] = ()) -> str:
    """Links to the clips that play of some kinds of findings; of these clips alone, if any are given."""
    only = set(numbers)
    chosen = [one for one in shown if any(kind in one.why for kind in kinds) and only <= set(one.numbers)]
    return "".join(f'<a class="play" href="#{one.anchor}">▶ {" and ".join(map(str, one.numbers))}</a>' for one in chosen)


def _linked(head: Sequence[str], rows: Iterable[tuple[Sequence[object], str]], numbers: tuple[int, ...] = ()) -> str:
    """A table of values that become text, each row with links, which are HTML, in a last column; numbers: columns set to the right."""

    def line(cells: Iterable[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=number' if i in numbers else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))

    body = "".join(f"<tr>{line([*map(html.text, cells), links], 'td')}</tr>" for cells, links in rows)
    top = line([*map(html.text, head), "plays here"], "th")
    return _wide(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")


def _wide(table: str) -> str:
    """On a narrow page a table is moved by itself."""
    return f'<div class="wide">{table}</div>'


def _found(audit: Audit, shown: list[Watched]) -> Iterator[str]:
    rows = [(row, _links(shown, *FINDINGS.get(row[0], ()))) for row in text.findings(audit)]
    yield _linked(("what", "value"), rows) if shown else _wide(html.table(("what", "value"), (row for row, _ in rows)))


def _playing(clips: Clips, shown: list[Watched]) -> Iterator[str]:
    """A player for every clip or pair to watch."""
    if not shown:
        return
    yield (
        f"<h3>Clips to watch</h3><p>Of every finding up to {EACH} clips or pairs play here, the worst first, at most {PLAYERS} in all; two "
        "with the same coordinates play in step. ▶ in tables and warnings leads here. A number is the clip's in the file.</p>"
    )
    players = []
    for one in shown:
        player, words = one.play(clips)
        pair = ' class="pair"' if len(one.numbers) > 1 else ""
        players.append(f'<figure id="{one.anchor}"{pair}>{player.html()}<figcaption>{html.text(words)}</figcaption></figure>')
    yield f'<div class="watch">{"".join(players)}</div>'


def _worst(audit: Audit, clips: Clips, shown: list[Watched]) -> Iterator[str]:
    """The clips to look at as folded tables."""
    place = {name: number for number, name in enumerate(clips.names)}
    for title, kind, quantity in (
        ("frames without a body", "empty", "share"), ("no body at all", "vacant", "share"), ("frozen bodies", "frozen", "share"),
        ("few frames", "brief", "frames"),
        ("jumps", "jumps", "fastest joint (m/s)"), ("jumps of the whole body", "leaps", "fastest joint (m/s)"),
        ("bones that change their length", "odd_bones", "variation"), ("heights", "odd_heights", f"height ({audit.unit})"),
    ):  # fmt: skip
        finding: Finding = getattr(audit, kind)
        if finding.worst:
            rows = [
                ((name, _value(quantity, value), what), _links(shown, kind, numbers=[place[name]])) for name, value, what in finding.worst
            ]
            of = f", the worst {len(rows)}" if len(rows) < finding.clips else ""
            yield html.folded(f"{title}: {text.clips(finding.clips)}{of}", _linked(("clip", quantity, ""), rows, numbers=(1,)))
    if audit.duplicates:
        groups = [((", ".join(g),), _links(shown, "duplicates", numbers=[place[name] for name in g[:2]])) for g in audit.duplicates]
        yield html.folded(f"the same coordinates: {len(groups)} groups", _some(("clips",), groups))


def _value(quantity: str, value: float) -> str:
    if quantity in ("share", "variation"):
        return text.percent(value)
    return f"{-value:.0f}" if quantity == "frames" else f"{value:.2f}"


def _splits(audit: Audit, clips: Clips, shown: list[Watched]) -> Iterator[str]:
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
        yield _wide(html.table(head, rows, numbers=(2, 3, 4, 5)))
    else:
        yield "<p>No usual protocol fits; give an expression with --protocol.</p>"
    place = {name: number for number, name in enumerate(clips.names)}
    for part in audit.protocols:
        if part.leaks:
            pairs = [(pair, _links(shown, text.leaks_in(part), numbers=[place[name] for name in pair])) for pair in part.leaks]
            yield html.folded(f"leaks in {part.protocol}: {len(part.leaks)}", _some(("training clip", "test clip"), pairs))
        if part.few:
            yield html.folded(
                f"{part.protocol}: {len(part.few)} classes with few clips in a part", _plain(("class",), ((c,) for c in part.few))
            )


def _left_out(audit: Audit) -> Iterator[str]:
    if not audit.prepared:
        yield "<p>Not known: the file was opened, not just prepared.</p>"
        return
    if not (audit.left_out or audit.damaged or audit.changes):
        yield "<p>Nothing, and readers noted nothing about the clips.</p>"
    if audit.damaged:
        yield "<p>Damaged:</p>" + _plain(("file or clip", "what is wrong"), audit.damaged)
    for reason, names in audit.left_out.items():
        yield html.folded(f"{len(names)} left out: {reason}", _plain(("clip",), ((name,) for name in names)))
    if audit.changes:
        yield "<p>Taken away or noted:</p>" + _plain(("what", "how many", "from clips"), ((what, *n) for what, n in audit.changes.items()))


def _plain(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    rows = list(rows)
    return _wide(html.table(head, rows[:ROWS])) + _more(rows)


def _some(head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    return _linked(head, rows[:ROWS]) + _more(rows)


def _more(rows: Sequence[object]) -> str:
    return f"<p>{len(rows) - ROWS} more are in the JSON.</p>" if len(rows) > ROWS else ""
