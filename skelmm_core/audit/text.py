"""An `audit.Audit` as text: its warnings, and the form that is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from skelmm_core.audit.leaks import FEW
from skelmm_core.audit.measurements import JUMP

if TYPE_CHECKING:
    from skelmm_core.audit import Audit, Finding
    from skelmm_core.audit.leaks import Parts

NAMED = 3  # clips that a line names
MOST = 5  # lines of one kind
LISTED = 10  # numbers of subjects, views, ... that a line names
HALF = 0.5  # share of a clip without a body, or frozen, from which on it is warned of
JUMPS, ODD = 0.01, 0.1  # share of all steps that may be jumps, and of clips with odd bones, before it is warned of; a Kinect has 7 %
LEAPS = 0.02  # share of all clips in which the centre of a body may jump
UNITS = 1.5  # times the others' median height that makes a subject's units doubtful


def warnings(audit: Audit) -> tuple[str, ...]:
    """What a reader should not miss, leaks between train and test first."""
    return tuple(words for _, words in marked_warnings(audit))


def marked_warnings(audit: Audit) -> Iterator[tuple[str, str]]:
    """The warnings, each with the kind of finding whose clips it names (see `worst.Watched`), or "" where it names none."""
    yield from _leaks(audit)
    yield from (("", words) for words in audit.plausible)
    yield from _doubles(audit)
    yield from _broken(audit)
    yield from (("", words) for words in (*_units(audit), *_few(audit)))


def leaks_in(part: Parts) -> str:
    """The kind of finding that the leaks of a protocol are."""
    return f"leaks in {part.protocol}"


def text(audit: Audit) -> str:
    """At most about forty lines."""
    lines = [*audit.opening, *(f"{name:<12}{words}" for name, words in findings(audit)), "", *_protocols(audit.protocols)]
    lines += [f"left out    {words}" for words in left_out(audit)]
    return "\n".join(lines + [f"warning: {warning}" for warning in audit.warnings])


def findings(audit: Audit) -> Iterator[tuple[str, str]]:
    """(what was looked at, what was found) for everything that was measured."""
    counts = [n for _, n in audit.classes if n]
    fewest, most = (pick((c for c in audit.classes if c[1]), key=lambda c: c[1]) for pick in (min, max))
    spread = f"{fewest[1]} ({fewest[0]}) to {most[1]} ({most[0]})" if fewest[1] < most[1] else f"{most[1]}"
    yield "classes", f"{len(counts)}, with {spread} clips each"
    yield "bodies", ", ".join(f"{audit.bodies[n]} {what}" for n, what in ((0, "frames with none"), (1, "with one"), (2, "with two")))
    none = f"; no body at all in {clips(audit.vacant.clips)}: {_names(audit.vacant)}" if audit.vacant.clips else ""
    yield (
        "empty",
        _found(audit.empty, "frames without a body", "no frame of the other clips" if none else "no frame without a body", percent) + none,
    )
    repeats = "the frame before to the last bit"
    yield "frozen", _found(audit.frozen, f"bodies that repeat {repeats}", f"no body repeats {repeats}", percent)
    if audit.dimensions == 3:
        fast = f"a joint at more than {JUMP:g} m/s"
        moved = f", {audit.leaps.frames} of them by the centre of the body"
        yield "jumps", _found(audit.jumps, f"steps of {fast}{moved}", f"no step of {fast}", lambda v: f"{v:.0f} m/s")
    else:
        worst = sorted((s.median, name) for name, s in audit.confidence.items() if s.n)
        yield "confidence", "; ".join(f"{name} {value:.2f}" for value, name in worst[:NAMED]) + " are the least sure joints (median)"
    steady = sorted((cast(float, s.median), name) for name, s in audit.bones.items() if s.n)
    if steady:
        middle = steady[len(steady) // 2][0]
        odd = f"; far out in {clips(audit.odd_bones.clips)}: {_names(audit.odd_bones, percent)}" if audit.odd_bones.clips else ""
        yield "bones", f"lengths vary by {percent(middle)} within a clip, most {steady[-1][1]} by {percent(steady[-1][0])}{odd}"
    yield "height", _height(audit)
    yield "duplicates", _duplicates(audit)


def left_out(audit: Audit) -> Iterator[str]:
    """What did not come into the file, and what was taken away from what did."""
    if not audit.prepared:
        yield "not known: the file was opened, not just prepared"
        return
    lines = [f"{len(names)}: {reason} ({_few_of(names)})" for reason, names in audit.left_out.items()]
    lines += [f"damaged: {name}: {reason}" for name, reason in audit.damaged]
    lines += [f"taken away or noted: {number} {what}, from {clips(count)}" for what, (number, count) in audit.changes.items()]
    yield from lines[:MOST] or ["nothing"]
    if len(lines) > MOST:
        yield f"{len(lines) - MOST} more, in the JSON"


def percent(share: float) -> str:
    """A share as people read it; what is not nothing does not look like nothing."""
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _found(finding: Finding, some: str, none: str, value: Callable[[float], str]) -> str:
    if not finding.clips:
        return none
    return f"{finding.frames} {some}, in {clips(finding.clips)}; most: {_names(finding, value)}"


def _names(finding: Finding, value: Callable[[float], str] | None = None) -> str:
    words = []
    for name, number, what in finding.worst[:NAMED]:
        told = ", ".join(filter(None, [value(number) if value else "", what]))
        words.append(f"{name} ({told})" if told else name)
    return ", ".join(words) + (", …" if finding.clips > NAMED else "")


def _few_of(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _height(audit: Audit) -> str:
    if audit.height.median is None:
        return "not known: there is no body"
    known = {subject: s for subject, s in audit.heights.items() if s.n and subject >= 0}
    words = f"{audit.height.median:.2f} {audit.unit} (median extent)"
    if len(known) > 1:
        low, high = (pick(known, key=lambda subject: cast(float, known[subject].median)) for pick in (min, max))
        words += f"; subjects from {known[low].median:.2f} (subject {low}) to {known[high].median:.2f} (subject {high})"
    if audit.odd_heights.clips:
        words += f"; far from their performer's in {clips(audit.odd_heights.clips)}: {_names(audit.odd_heights, lambda v: f'{v:.2f}')}"
    return words


def _duplicates(audit: Audit) -> str:
    if not audit.duplicates:
        return "no two clips have the same coordinates"
    more = sum(map(len, audit.duplicates)) - len(audit.duplicates)
    return f"{clips(more)} with the coordinates of another: " + "; ".join(" = ".join(g[:NAMED]) for g in audit.duplicates[:NAMED])


def _protocols(parts: Iterable[Parts]) -> Iterator[str]:
    yield "train   test  clips of a class    leaks  protocol"
    parts = list(parts)
    if not parts:
        yield "no usual protocol fits; give an expression with --protocol"
    for part in parts:
        own = " (its own)" if part.own else ""
        if part.problem:
            yield f"                                        {part.protocol}{own}: can't be used; {part.problem}"
            continue
        again = f"; of {part.filmed_twice} test clips another view trains" if part.filmed_twice else ""
        who = f": {apart(part)}" if part.apart else ""
        yield f"{part.train:5d}  {part.test:5d}  {per_class(part):<18}  {len(part.leaks):5d}  {part.protocol}{own}{who}{again}"


def per_class(part: Parts) -> str:
    """Fewest and most clips of a class that train | that test."""
    both = list(zip(*(c for c in part.per_class if any(c)), strict=True))
    return " | ".join(f"{min(n)}–{max(n)}" if min(n) < max(n) else str(min(n)) for n in both)


def apart(part: Parts) -> str:
    """Who trains and who tests, as "subjects 1, 3 | 2, 4"; "" where no column tells them apart."""
    return "; ".join(f"{column}s {_numbers(train)} | {_numbers(test)}" for column, (train, test) in part.apart.items())


def _numbers(values: Sequence[int]) -> str:
    """The numbers, or the first of many and how many there are."""
    return ", ".join(map(str, values)) if len(values) <= LISTED else f"{', '.join(map(str, values[: LISTED - 2]))}, … ({len(values)})"


def shared(part: Parts) -> str:
    """Who and what is in both parts: by design or not, a reader of accuracies has to know."""
    words = [f"{both} of {all_} {name}s" for name, (both, all_) in (part.shared or {}).items() if both]
    if part.filmed_twice:
        words.append(f"the performances of {clips(part.filmed_twice)}, seen from another view")
    return ", ".join(words) or "nothing"


def _leaks(audit: Audit) -> Iterator[tuple[str, str]]:
    for part in audit.protocols:
        if part.leaks:
            pairs = ", ".join(f"{test} (test) = {train} (train)" for train, test in part.leaks[:NAMED])
            more = ", …" if len(part.leaks) > NAMED else ""
            count = clips(len(part.leaks))
            words = f"leak in protocol {part.protocol}: {count} of the test part with the coordinates of a training clip: {pairs}{more}"
            yield leaks_in(part), words


def _doubles(audit: Audit) -> Iterator[tuple[str, str]]:
    if audit.duplicates:
        other = f", {audit.other_class} of these groups in more than one class" if audit.other_class else ""
        yield "duplicates", f"{_duplicates(audit)}{other}"


def _broken(audit: Audit) -> Iterator[tuple[str, str]]:
    if audit.vacant.clips:
        yield "vacant", f"no body at all in {clips(audit.vacant.clips)}: {_names(audit.vacant)}"
    for kind, finding, what in (("empty", audit.empty, "no body"), ("frozen", audit.frozen, "a body that does not move at all")):
        bad = [(name, share) for name, share, _ in finding.worst if share >= HALF]
        if bad:
            some = "at least " if len(bad) == len(finding.worst) < finding.clips else ""
            named = _few_of(f"{name} ({percent(share)})" for name, share in bad)
            yield kind, f"{what} in half of the frames or more of {some}{clips(len(bad))}: {named}"
    if audit.brief.clips:
        yield "brief", f"fewer than 3 frames, too few for an acceleration, in {clips(audit.brief.clips)}: {_names(audit.brief)}"
    if audit.jumps.frames > JUMPS * audit.frames:
        steps = f"{audit.jumps.frames} steps of a joint at more than {JUMP:g} m/s in {audit.frames} frames"
        yield "jumps", f"{steps}: are metres and frame rate right?"
    if audit.leaps.clips > LEAPS * audit.clips:
        where = _names(audit.leaps, lambda v: f"{v:.0f} m/s")
        yield "leaps", f"a whole body jumps in {clips(audit.leaps.clips)}: tracking that broke, or bodies that change places? {where}"
    if audit.odd_bones.clips > ODD * audit.clips:
        share = percent(audit.odd_bones.clips / audit.clips)
        named = _names(audit.odd_bones, percent)
        yield "odd_bones", f"in {share} of the clips a bone changes its length far more than usual: tracking that broke? {named}"


def _units(audit: Audit) -> Iterator[str]:
    medians = {subject: s.median for subject, s in audit.heights.items() if s.n and s.median and subject >= 0}
    if len(medians) < 3 or audit.dimensions == 2:
        return
    usual = sorted(medians.values())[len(medians) // 2]
    for subject, median in medians.items():
        if not 1 / UNITS < median / usual < UNITS:
            yield f"subject {subject} is {median:.3g} {audit.unit} tall (median), the others {usual:.3g}: are units and axes the same?"


def _few(audit: Audit) -> Iterator[str]:
    for part in audit.protocols:
        if part.own and part.problem:
            yield f"the file's own protocol can't be used; name another one when you train. {part.problem}"
        elif part.own and part.few:
            yield f"protocol {part.protocol}: {len(part.few)} classes have fewer than {FEW} clips to train or to test: {_few_of(part.few)}"
