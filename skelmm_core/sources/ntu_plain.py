"""`.skeleton` texts of the usual layout, read fast: one record per line, one space between fields, numbers like -0.1234567.

Of a body's 311 numbers 75 are coordinates, so only those become numbers. All else works on many characters at a time: the places of the
separators are kept as a bit per character, 64 to a word; that every line has as many fields as it should is a matter of counting bits, and
where the fields x, y, z of a line end is found in the 64 bits from the line's beginning on. Other fields are looked at for characters that
are in no number.

A coordinate's digits behind the dot are taken eight at a time out of a 64-bit word, by the usual trick of three multiplications: pairs of
digits, then fours, then eights. As a whole number of at most 15 digits over a power of ten up to 10^14, both exact in float64, the
quotient is what a correctly rounding parser gives (Clinger, "How to read floating point numbers accurately", 1990).

`read` gives None for whatever has another form, damaged files among them; it does not decide what is wrong with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

JOINTS = 25
RECORD = np.array([10, 1, *[12] * JOINTS])  # fields on the lines of a body
LONGEST = 14  # digits behind the dot
POWERS = 10.0 ** np.arange(LONGEST + 1)
BLOCK, LINES = 1 << 18, 1 << 14  # characters and lines at a time, so that what is made of them stays near a core
CROWD = BLOCK // 4  # lines of a block; where there are more, there are next to no coordinates, and no hurry
EXPONENTS = 1000  # of texts with more, all numbers are read one by one
WITH_EXPONENT = re.compile(rb"-?\d+(?:\.\d+)?[eE][-+]?\d+(?=[ \r\n])")
SPACE, NEWLINE, RETURN, DOT, MINUS, ZERO, NINE = map(np.uint8, b" \n\r.-09")
ONE, WORD = np.uint64(1), np.uint64(64)
SIGHT = 63  # characters from a line's beginning in which its first three fields end, or they are read one by one
Bodies = tuple[np.ndarray, np.ndarray, np.ndarray]

np.empty(1 << 24, np.uint8)  # never used: glibc takes such a block as a sign to keep smaller ones when they are freed, which saves a third


def read(texts: Sequence[bytes], most: int) -> list[Bodies] | None:
    """For each text the body counts (frames,), the place in it of the first `most` bodies of each frame (R,), and their joints
    (R, 25, 3) float32; None if one of them has another form. Small texts are faster together."""
    texts = [t if t.endswith(b"\n") else t + b"\n" for t in texts]
    text = texts[0] if len(texts) == 1 else b"".join(texts)
    codes = np.frombuffer(text, np.uint8)
    found = _separators(text, codes)
    if found is None:
        return None
    blank, ends, exponents = found
    starts = np.concatenate([[0], ends[:-1] + 1])
    offsets = np.cumsum([0, *map(len, texts)])
    bodies = _bodies(text, codes, starts, _fields(blank, ends), offsets[:-1])
    if bodies is None:
        return None
    frames, counts, heads = bodies
    if counts.max(initial=0) > most:
        heads = heads[np.arange(len(heads)) - np.repeat(np.cumsum(counts) - counts, counts) < most]
    joints = _joints(text, codes, starts.take(heads[:, None] + np.arange(2, 2 + JOINTS)).ravel(), blank, exponents)
    if joints is None:
        return None
    first, kept = starts.take(heads), np.cumsum(np.minimum(counts, most))
    parts, frame, row = [], 0, 0
    for offset, number in zip(offsets.tolist(), frames, strict=False):
        end = int(kept[frame + number - 1]) if number else row
        parts.append((counts[frame : frame + number], first[row:end] - offset, joints[row:end]))
        frame, row = frame + number, end
    return parts


def _separators(text: bytes, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The places of spaces and newlines as bits (words,) uint64, the first character lowest, a word or more left over behind the text;
    where lines end (lines,); and where numbers with an exponent begin. None unless they stand one by one among characters of numbers."""
    bits = np.zeros((2, (len(codes) >> 6) + 2), "<u8")  # spaces and newlines; all that is no digit, dot, minus sign or "/"
    octets, ends = bits.view(np.uint8), []
    for begin in range(0, len(codes), BLOCK):
        block = codes[begin : begin + BLOCK]
        newline = block == NEWLINE
        ends.append(newline.nonzero()[0] + begin)
        if len(ends[-1]) > CROWD:
            return None
        for kind, mask in enumerate(((block == SPACE) | newline, block - MINUS > NINE - MINUS)):
            packed = np.packbits(mask, bitorder="little")
            octets[kind, begin >> 3 : (begin >> 3) + len(packed)] = packed
    blank, other = bits
    stops: np.ndarray = ends[0] if len(ends) == 1 else np.concatenate(ends)
    other ^= blank
    exponents: list[tuple[int, int]] = []
    if other.any():  # are they exponents, and carriage returns in front of newlines?
        there = _exponents(text)
        if there is None:
            return None
        exponents = there
        unknown = int(np.bitwise_count(other).sum(dtype=np.int64)) - len(exponents)
        unknown -= sum(text.count(b"+", begin, end) for begin, end in exponents)
        if unknown and unknown != np.count_nonzero((codes[stops - 1] == RETURN) & (codes[stops - 2] >= MINUS) & (stops > 1)):
            return None
    behind = blank << ONE
    behind[1:] |= blank[:-1] >> (WORD - ONE)
    behind &= blank
    if behind.any() or blank[0] & ONE or b"/" in text:
        return None
    return blank, stops, np.array([begin for begin, _ in exponents], np.int64)


def _exponents(text: bytes) -> list[tuple[int, int]] | None:
    """Where numbers with an exponent begin and end, in order; None for what looks like one and is none, or for very many."""
    found: list[tuple[int, int]] = []
    for letter in (b"e", b"E"):
        place = text.find(letter)
        while place >= 0:
            near = max(0, place - 40)
            begin = max(text.rfind(b" ", near, place), text.rfind(b"\n", near, place)) + 1
            number = WITH_EXPONENT.match(text, begin)
            if not number or number.end() <= place or len(found) == EXPONENTS:
                return None
            found.append(number.span())
            place = text.find(letter, number.end())
    return sorted(found)


def _fields(blank: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(lines,) number of fields on each line: separators up to its end less those up to the end of the one before."""
    upto = np.bitwise_count(blank).cumsum(dtype=np.int64)
    word = ends >> 6
    rest = blank.take(word) >> (ends & 63).view(np.uint64)  # from the line's end on
    upto = upto.take(word) - np.bitwise_count(rest) + 1
    upto[1:] -= upto[:-1].copy()
    return np.asarray(upto)


def _bodies(
    text: bytes, codes: np.ndarray, starts: np.ndarray, fields: np.ndarray, offsets: np.ndarray
) -> tuple[list[int], np.ndarray, np.ndarray] | None:
    """Frames of each text, body counts of all frames of all texts, and the lines at which bodies begin (B,), if there are just the lines
    that the counts say, and no frame has ten bodies or more."""
    heads = (fields == RECORD[0]).nonzero()[0]
    if len(heads) and heads[-1] + len(RECORD) > len(fields):
        return None
    single = fields == 1
    single[heads + 1] = False  # joint counts
    singles = single.nonzero()[0]  # per text the frame count, and a body count for each frame
    opening = singles.searchsorted(starts.searchsorted(offsets))  # (texts,) which of them are frame counts, if all is well
    if opening[-1] == len(singles):
        return None
    first = starts.take(singles)
    counts = codes.take(first).astype(np.int64) - ZERO
    wide = codes.take(first + 1) > SPACE
    counts[opening], wide[opening] = 0, False
    follow = np.cumsum(1 + counts * len(RECORD))  # the line behind each of them and its bodies
    if wide.any() or counts.min() < 0 or follow[-1] != len(fields) or (singles[1:] != follow[:-1]).any() or len(heads) != counts.sum():
        return None
    if (first[opening] != offsets).any() or (fields.take(heads[:, None] + np.arange(len(RECORD))) != RECORD).any():
        return None
    joints = starts.take(heads + 1)
    if (codes.take(joints) != ZERO + 2).any() or (codes.take(joints + 1) != ZERO + 5).any() or (codes.take(joints + 2) > SPACE).any():
        return None
    frames = (np.diff(opening, append=len(singles)) - 1).tolist()
    for offset, number in zip(offsets.tolist(), frames, strict=True):
        if text[offset : text.index(b"\n", offset)].strip() != b"%d" % number:
            return None
    return frames, np.delete(counts, opening), heads


def _joints(text: bytes, codes: np.ndarray, starts: np.ndarray, blank: np.ndarray, exponents: np.ndarray) -> np.ndarray | None:
    """(R, 25, 3) float32 from the first three fields of the R x 25 lines at `starts`; None if they are no numbers."""
    values = np.empty((len(starts), 3), np.float32)
    with np.errstate(over="ignore"):  # beyond float32: becomes inf, which `recordings.check` refuses
        for begin in range(0, len(starts), LINES):
            part = _coordinates(text, codes, starts[begin : begin + LINES], blank, exponents)
            if part is None:
                return None
            values[begin : begin + LINES] = part.T
    return values.reshape(-1, JOINTS, 3)


def _coordinates(text: bytes, codes: np.ndarray, starts: np.ndarray, blank: np.ndarray, exponents: np.ndarray) -> np.ndarray | None:
    """(3, L) float64 from the first three fields of the L lines at `starts`; None if they are no numbers."""
    end = _ends(starts, blank)  # (3, L) uint8, as are all places in a line
    begin = np.zeros_like(end)
    np.add(end[:2], np.uint8(1), out=begin[1:])
    first = begin.astype(np.int64)
    first += starts
    sign = (codes.take(first) == MINUS).view(np.uint8)
    first += sign.astype(np.int64)  # where the only digit in front of the dot is
    digits = end - begin - sign - np.uint8(2)  # behind the dot
    usual = (codes[1:].take(first) == DOT) & (digits - np.uint8(1) < LONGEST) & (end[2] < SIGHT)
    if len(exponents):
        line = starts.searchsorted(exponents, "right") - 1
        axis, which = (starts[line] + begin[:, line] == exponents).nonzero()
        usual[axis, line[which]] = False
    rare = () if usual.all() else (~usual).nonzero()
    if rare:
        if len(rare[0]) == usual.size:
            return None
        first[rare], digits[rare] = first[usual][0], 1
    whole, ok = _digits(text, first, digits)
    power = POWERS.take(digits)
    lead = codes.take(first) ^ ZERO
    whole += power * lead.astype(np.float64)
    whole /= np.where(sign, -power, power)
    if not ok or lead.max(initial=0) > 9:
        return None
    try:
        for axis, line in zip(*rare, strict=True):
            whole[axis, line] = float(text[starts[line] : starts[line] + 400].split(None, 3)[axis])
    except ValueError:
        return None
    return whole


def _ends(starts: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """(3, L) uint8: how far from a line's beginning its first, second and third field end; 63 for ends that are not in sight."""
    word, shift = starts >> 6, (starts & 63).view(np.uint64)
    ahead = (blank.take(word) >> shift) | (blank.take(word + 1) << (WORD - shift))  # 64 characters; shifting by 64 leaves nothing
    upto = np.empty((3, len(starts)), np.uint64)
    for axis in range(3):
        less = ahead - ONE
        np.bitwise_xor(ahead, less, out=upto[axis])  # the bits up to the lowest
        ahead &= less
    return np.bitwise_count(upto) - np.uint8(1)


def _digits(text: bytes, first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, bool]:
    """The `count` (1 to 14) digits behind the dots that follow on `first`, as whole numbers (3, L) float64; and whether they are digits."""
    eights = np.ndarray((len(text) - 9,), "<u8", text, 2, (1,))  # the eight characters from two places on
    whole, ok = _eight(eights[first], np.minimum(count, np.uint8(8)))
    long = (count > 8).ravel().nonzero()[0]
    if len(long):
        more = count.ravel()[long] - np.uint8(8)
        low, well = _eight(eights[first.ravel()[long] + 8], more)
        whole.ravel()[long] = whole.ravel()[long] * POWERS[more] + low
        ok &= well
    return whole, ok


def _eight(characters: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, bool]:
    """float64 of the first 1 to 8 digits of eight characters, which stand in 64 bits, the first lowest; and whether they are digits."""
    x = characters ^ np.uint64(0x3030303030303030)
    x <<= (np.uint8(64) - (count << np.uint8(3))).astype(np.uint64)  # what is in front now counts as zeros
    ok = not int(np.bitwise_or.reduce(x, axis=None)) & 0xF0F0F0F0F0F0F0F0  # dots and minus signs leave a bit there
    x *= np.uint64(10 << 8 | 1)
    x >>= np.uint64(8)
    x &= np.uint64(0x00FF00FF00FF00FF)
    x *= np.uint64(100 << 16 | 1)
    x >>= np.uint64(16)
    x &= np.uint64(0x0000FFFF0000FFFF)
    x *= np.uint64(10_000 << 32 | 1)
    x >>= np.uint64(32)
    return x.view(np.int64).astype(np.float64), ok
