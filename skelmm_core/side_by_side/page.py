"""The page that `skelmm report` writes: figures first, then where runs differ, class by class and clip by clip. It opens offline.

Everything that comes from data (names of classes, clips, folders) is escaped; nothing is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np

from skelmm_core import html
from skelmm_core.clips import Clips
from skelmm_core.drawing.explore_clips import playable
from skelmm_core.drawing.player import Player
from skelmm_core.evaluation.diagnosis import difference_error
from skelmm_core.evaluation.metrics import binomial_error
from skelmm_core.evaluation.paired import mcnemar
from skelmm_core.side_by_side import charts
from skelmm_core.side_by_side.compare import by_subject, comparable, differences, disagreements, worst_pairs
from skelmm_core.side_by_side.load import Loaded

PLAYERS = 12  # clips that play on a page of several runs
ROOM = 3_500_000  # bytes of players on a page
PAIRS = 6  # confused pairs of a single run, side by side
ROWS = 300  # clips of a table
OPEN = 2  # players that are open at first


def page(runs: Sequence[Loaded]) -> str:
    """The page's HTML."""
    runs = lettered(runs)
    same, others = comparable(runs)
    title = f"skelmm: {runs[0].name}" if len(runs) == 1 else f"skelmm: {len(runs)} runs side by side"
    parts = [f"<style>{charts.STYLE}</style>", *_opening(runs), "<h2>Figures of merit</h2>", *_merit(runs), *_apart(others)]
    if len(same) > 1:
        parts += ["<h2>Is the difference more than chance?</h2>", *_tests(same)]
    parts += ["<h2>What differs</h2>" if len(runs) > 1 else "<h2>How it was made</h2>", *_made(runs)]
    if len(runs) > 1 and len(same) == 1:
        return html.page(title, parts)
    parts += ["<h2>Classes</h2>", *_classes(same)]
    if len(same) > 1:
        parts += ["<h2>Who is taken for whom</h2>", *_confusions(same), "<h2>Clips on which they disagree</h2>", *_disagreements(same)]
    else:
        parts += ["<h2>The worst mistakes</h2>", *_pairs(runs[0]), "<h2>The hardest subjects</h2>", *_subjects(runs[0])]
    parts += ["<h2>Calibration</h2>", *_calibration(same)]
    return html.page(title, parts)


def merit(runs: Sequence[Loaded]) -> list[tuple[str, list[str]]]:
    """The main table: what was measured, and the words for each run."""
    streams = dict.fromkeys(name for run in runs for name in run.scores.late.streams)
    rows = [
        ("what was trained", [f"{run.role} ({run.stage})" for run in runs]),
        ("test clips", [str(len(run.test)) for run in runs]),
        ("linear, fused (%)", [f"{a:.1f} ± {binomial_error(a, len(r.test)):.1f}" for r in runs for a in [r.scores.linear.accuracy]]),
    ]
    rows += [(f"  {name.replace('_', ' ')} (%)", [_percent(run.scores.late.streams.get(name)) for run in runs]) for name in streams]
    rows.append(("nearest neighbours, fused (%)", [_percent(run.scores.knn.accuracy) for run in runs]))
    rows += [(f"  {name.replace('_', ' ')} (%)", [_percent(run.scores.knn.streams.get(name)) for run in runs]) for name in streams]
    rows += [
        ("calibration error (points)", [f"{run.calibration.error:.1f}" for run in runs]),
        ("parameters (millions)", [f"{run.cost.parameters / 1e6:.2f}" for run in runs]),
        ("GFLOP per clip", [f"{run.cost.gflops:.2f}" for run in runs]),
        ("ms per clip, here", [f"{run.cost.milliseconds:.1f}" for run in runs]),
    ]
    return rows


def lettered(runs: Sequence[Loaded]) -> list[Loaded]:
    """The runs as A, B, C, ...; one run alone is called by its name."""
    if len(runs) == 1:
        return [replace(runs[0], letter=runs[0].name)]
    return [replace(run, letter=f"{chr(65 + i % 26)}{i // 26 or ''}") for i, run in enumerate(runs)]


def headings(runs: Sequence[Loaded]) -> list[str]:
    """Letter and name of each run; of one run its name."""
    return [run.name if run.letter == run.name and len(runs) == 1 else f"{run.letter}: {run.name}" for run in runs]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _opening(runs: Sequence[Loaded]) -> Iterator[str]:
    items = []
    for which, run in zip(headings(runs), runs, strict=True):
        more = f"; {run.others} other {'stage' if run.others == 1 else 'stages'} of this kind in the run" if run.others else ""
        told = f"{run.role}, stage {run.folder.name}, {run.epochs} epochs{more}; {run.clips.title}, protocol {run.protocol}"
        items.append(f"<li><strong>{escape(which)}</strong>: {escape(told)}</li>")
    yield f"<ul>{''.join(items)}</ul>"
    if any(run.clips.generated for run in runs):
        yield '<p class="note">Generated motion: nobody performed these clips.</p>'
    if any(run.told["smoke"] for run in runs):
        yield '<p class="note">A smoke run, at toy size: its figures mean nothing.</p>'


def _merit(runs: Sequence[Loaded]) -> Iterator[str]:
    yield (
        "<p>Accuracies are percent of the test clips, of frozen features; ± is one standard error. Indented: each stream by itself. "
        "Parameters and GFLOP count encoders with their linear classifiers; times were taken just now, a clip at a time on one thread.</p>"
    )
    head = ["", *headings(runs)]
    lines = []
    for name, values in merit(runs):
        kind = "" if name.startswith("  ") else ' style="font-weight:600"'
        told = "".join(f"<td class=number{kind}>{escape(v)}</td>" for v in values)
        inset = ' style="padding-left:1.2rem"' if name.startswith("  ") else kind
        lines.append(f"<tr><td{inset}>{escape(name.strip())}</td>{told}</tr>")
    top = "".join(f"<th{' class=number' if i else ''}>{escape(h)}</th>" for i, h in enumerate(head))
    yield f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _apart(others: dict[str, str]) -> Iterator[str]:
    for name, reason in others.items():
        yield (
            f'<p class="note">{escape(name)} is compared by these figures alone, and even they were measured on other clips than the first '
            f"run's: {escape(reason)}.</p>"
        )


def _tests(runs: Sequence[Loaded]) -> Iterator[str]:
    first, *others = runs
    tags, rows = [run.letter for run in runs], []
    for tag, other in zip(tags[1:], others, strict=True):
        found, n = mcnemar(first.right, other.right), len(first.test)
        points = other.scores.linear.accuracy - first.scores.linear.accuracy
        rows.append((
            f"{tag} against {tags[0]}", charts.minus(points),
            f"{difference_error(first.scores.linear.accuracy, other.scores.linear.accuracy, n):.1f}",
            found.only_first, found.only_second, f"{found.p:.2g}" if found.p >= 1e-4 else "< 0.0001",
        ))  # fmt: skip
    many = " The values are not corrected for the number of pairs." if len(rows) > 1 else ""
    yield (
        "<p>The fused linear probes on the same clips. A clip that both have right, or both wrong, tells nothing; of the others, each is a "
        "coin's throw if neither is better: the exact two-sided p of such a division (McNemar 1947). It says whether another draw of test "
        f"clips would tell the same, not whether another seed would: for that, train several.{many}</p>"
    )
    head = ("", "difference (points)", "standard error if unpaired", f"only {tags[0]} is right", "only the other is right", "p")
    yield f'<div class="wide">{html.table(head, rows, numbers=(1, 2, 3, 4, 5))}</div>'


def _made(runs: Sequence[Loaded]) -> Iterator[str]:
    rows = differences(runs)
    if not rows:
        yield "<p>Nothing: settings, data, code, versions and machine are the same.</p>"
        return
    names = [run.letter for run in runs] if len(runs) > 1 else ["value"]
    cells = [(name, *(_plain(v) for v in values)) for name, values in rows]
    table = f'<div class="wide">{html.table(("", *names), cells)}</div>'
    yield html.folded("settings, data, commit and versions", table) if len(runs) == 1 else table


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _classes(runs: Sequence[Loaded]) -> Iterator[str]:
    """Accuracy of each class as bars: of several runs by their difference, of one the worst first."""
    names, per_class = runs[0].clips.class_names, [run.scores.linear.per_class for run in runs]
    counts = np.bincount(runs[0].scores.linear.labels, minlength=len(names))
    gains = [other - per_class[0] for other in per_class[1:]]
    order = np.argsort(gains[0] if gains else per_class[0], kind="stable")
    order = order[counts[order] > 0]
    reach = max([float(np.nanmax(np.abs(gain))) for gain in gains] or [0]) or 1.0
    tags = [run.letter for run in runs]
    told = "Sorted from what is lost most to what is gained most" if gains else "The hardest first"
    yield f"<p>Fused linear probe, percent of each class's test clips. {told}. With few clips a class, one clip is many points.</p>"
    head = ["class", "clips", *(f"{tag} (%)" if gains else "accuracy (%)" for tag in tags)]
    head += [f"{tag} − {tags[0]} (points)" for tag in tags[1:]]
    lines = []
    for i in order:
        cells = [f"<td>{escape(names[i])}</td>", f"<td class=number>{counts[i]}</td>"]
        cells += [f"<td>{charts.bar(p[i], charts.COLOURS[n % len(charts.COLOURS)])}</td>" for n, p in enumerate(per_class)]
        cells += [f"<td>{charts.signed(gain[i], reach)}</td>" for gain in gains]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    top = "".join(f"<th{' class=number' if i == 1 else ''}>{escape(h)}</th>" for i, h in enumerate(head))
    yield f'<div class="wide"><table class="bars"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _confusions(runs: Sequence[Loaded]) -> Iterator[str]:
    tags, first = [run.letter for run in runs], runs[0].scores.linear.confusion
    yield (
        "<p>Clips of the row's class that were taken for the column's: how many more (orange, +) or fewer (blue, −) than by "
        f"{escape(tags[0])}. Framed: the diagonal, where more is better; elsewhere more is worse. Empty: the same number.</p>"
    )
    for number, (tag, run) in enumerate(zip(tags[1:], runs[1:], strict=True)):
        label = f"{tag} − {tags[0]}: clips by true class (rows) and predicted class (columns)"
        chart = charts.cells(run.scores.linear.confusion - first, run.clips.class_names, label)
        yield f"<details{' open' if not number else ''}><summary>{escape(label)}</summary>{chart}</details>"


def _disagreements(runs: Sequence[Loaded]) -> Iterator[str]:
    rows, clips, tags = disagreements(runs), runs[0].clips, [run.letter for run in runs]
    if not len(rows):
        yield "<p>None: they say the same of every test clip.</p>"
        return
    divided = int(sum(len({bool(run.right[row]) for run in runs}) > 1 for row in rows))
    yield (
        f"<p>{len(rows)} of {len(runs[0].test)} test clips; {divided} of them some have right and some wrong, and these come first. "
        "✓: right, ✗: wrong.</p>"
    )
    told = [(row, ", ".join(f"{tag} {_said(run, row)}" for tag, run in zip(tags, runs, strict=True))) for row in rows[:PLAYERS].tolist()]
    yield from _playing(clips, [(f"{_clip(runs[0], row)}, {_truth(runs[0], row)}: {words}", [runs[0].test[row]]) for row, words in told])
    head = "".join(f"<th>{escape(h)}</th>" for h in ("clip", "true class", *tags))
    lines = []
    for row in rows[:ROWS].tolist():
        said = [f'<td class="{"right" if run.right[row] else "wrong"}">{escape(_said(run, row))}</td>' for run in runs]
        lines.append(f'<tr><td class="named">{escape(_clip(runs[0], row))}</td><td>{escape(_truth(runs[0], row))}</td>{"".join(said)}</tr>')
    more = f"<p>{len(rows) - ROWS} more are not shown.</p>" if len(rows) > ROWS else ""
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>{more}'
    yield html.folded(f"all {len(rows)} clips as a table", table) if len(rows) > 40 else table


def _said(run: Loaded, row: int) -> str:
    return f"{'✓' if run.right[row] else '✗'} {run.clips.class_names[int(run.scores.linear.predictions[row])]}"


def _truth(run: Loaded, row: int) -> str:
    return run.clips.class_names[int(run.scores.linear.labels[row])]


def _clip(run: Loaded, row: int) -> str:
    """Number and name in the clips file, and who performed it, of a row of the test part."""
    number = int(run.test[row])
    known = [f"{word} {int(column[number])}" for word, column in (("subject", run.clips.subjects), ("view", run.clips.views))
             if column[number] >= 0]  # fmt: skip
    return ", ".join([f"{number}: {run.clips.names[number]}", *known])


def _playing(clips: Clips, groups: Sequence[tuple[str, Sequence[int]]]) -> Iterator[str]:
    """Players of some clips each, side by side under a title; the first ones open, as many as there is room for."""
    used = 0
    for number, (title, chosen) in enumerate(groups):
        shown = [(clips, clip) for clip in playable(clips, chosen)]
        part = Player(shown[0], other=shown[1:]).html() if shown else "<p>Its coordinates are too far apart to be drawn.</p>"
        used += len(part)
        if used > ROOM:
            yield f"<p>{len(groups) - number} more would play here, and are left out for the size of the page.</p>"
            return
        yield f"<details{' open' if number < OPEN else ''}><summary>{escape(title)}</summary>{part}</details>"


def _pairs(run: Loaded) -> Iterator[str]:
    pairs, clips, names = worst_pairs(run, PAIRS), run.clips, run.clips.class_names
    if not pairs:
        yield "<p>There is none: every test clip is right.</p>"
        return
    yield (
        "<p>The most confused classes of the fused linear probe. First the clip about which it was surest, and wrong; beside it one of the "
        "class it was taken for, recognised. Would you tell them apart?</p>"
    )
    shown = []
    for mistake, wrong, model in pairs:
        many = f"{mistake.clips} {'clip' if mistake.clips == 1 else 'clips'}, {mistake.share:.0f} % of the class"
        shown.append(
            (f"{names[mistake.truth]} → {names[mistake.prediction]}: {many}", [run.test[row] for row in (wrong, model) if row is not None])
        )
    yield from _playing(clips, shown)


def _subjects(run: Loaded) -> Iterator[str]:
    found = by_subject(run)
    if not found:
        yield "<p>Who performed these clips is not recorded.</p>"
        return
    yield "<p>Fused linear probe, percent of each performer's test clips.</p>"
    lines = [
        f"<tr><td>subject {s.number}</td><td class=number>{s.clips}</td><td>{charts.bar(s.accuracy, charts.COLOURS[0])}</td>"
        f"<td class=number>± {binomial_error(s.accuracy, s.clips):.1f}</td></tr>"
        for s in found
    ]
    head = "<tr><th></th><th class=number>clips</th><th>accuracy (%)</th><th class=number>standard error</th></tr>"
    yield f'<div class="wide"><table class="bars"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'


def _calibration(runs: Sequence[Loaded]) -> Iterator[str]:
    tags = [run.letter for run in runs]
    told = "; ".join(
        f"{tag}: {c.error:.1f} points, "
        + (f"surer than right by {c.excess:.1f}" if c.excess > 0 else f"less sure than right by {-c.excess:.1f}")
        for tag, c in ((tag, run.calibration) for tag, run in zip(tags, runs, strict=True))
    )
    bins = len(runs[0].calibration.clips)
    yield (
        "<p>Whether the fused linear probe is as sure as it is right. Confidence is the largest softmax probability; each dot is a bin of "
        f"clips, larger with more of them. Dashed: as sure as right; above it, too modest; below it, too sure. Expected calibration error "
        f"in {bins} bins ({escape(told)}). That of few clips is too large by chance; another probe on the same features has another.</p>"
    )
    yield charts.reliability([(tag, run.calibration) for tag, run in zip(tags, runs, strict=True)])
    if len(runs) > 1:
        yield charts.key(headings(runs))
