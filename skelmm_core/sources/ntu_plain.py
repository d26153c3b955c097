"""`.skeleton` text of the usual layout, read fast: one record per line, one space between fields, numbers like -0.1234567.

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

import numpy as np

JOINTS = 25
RECORD = np.array([10, 1, *[12] * JOINTS])  # fields on the lines of a body
LONGEST = 14  # digits behind the dot
POWERS = 10.0 ** np.arange(LONGEST + 1)
BLOCK, LINES = 1 << 18, 1 << 12  # characters and lines at a time: what is made of them stays in a core's own memory
EXPONENTS = 1000  # of files with more, all numbers are read one by one
WITH_EXPONENT = re.compile(rb"-?\d+(?:\.\d+)?[eE][-+]?\d+(?=[ \r\n])")
SPACE, NEWLINE, RETURN, DOT, MINUS, ZERO = map(np.uint8, b" \n\r.-0")
ONE, WORD = np.uint64(1), np.uint64(64)

np.empty(1 << 24, np.uint8)  # never used: glibc takes such a block as a sign to keep smaller ones when they are freed, which saves a third


def read(text: bytes, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Body counts (frames,) of a file, the place in its text of the first `most` bodies of each frame (R,), and their joints
    (R, 25, 3) float32."""
    if not text.endswith(b"\n"):
        text += b"\n"
    codes = np.frombuffer(text, np.uint8)
    exponents = _exponents(text)
    found = None if exponents is None else _separators(text, codes, exponents)
    if found is None:
        return None
    blank, ends = found
    starts = np.concatenate([[0], ends[:-1] + 1])
    bodies = _bodies(text, codes, starts, _fields(blank, ends), most)
    if bodies is None:
        return None
    counts, lines = bodies
    joints = starts.take(lines[:, None] + np.arange(2, 2 + JOINTS)).ravel()
    values = np.empty((len(joints), 3), np.float32)
    with np.errstate(over="ignore"):  # beyond float32: becomes inf, which `recordings.check` refuses
        for begin in range(0, len(joints), LINES):
            part = _coordinates(text, codes, joints[begin : begin + LINES], blank, exponents[:, 0])
            if part is None:
                return None
            values[begin : begin + LINES] = part.T
    return counts, starts.take(lines), values.reshape(-1, JOINTS, 3)


def _exponents(text: bytes) -> np.ndarray | None:
    """(n, 2) where numbers with an exponent begin and end, in order; None for what looks like one and is none, or for very many."""
    found = []
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
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _separators(text: bytes, codes: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The places of spaces and newlines as bits (words,) uint64, the first character lowest, a word or more left over behind the text;
    and where lines end (lines,). None unless they stand one by one among characters of numbers."""
    bits = np.zeros((2, (len(codes) >> 6) + 2), "<u8")  # spaces and newlines; characters that no number without exponent has
    octets, ends, letters = bits.view(np.uint8), [], 0
    for begin in range(0, len(codes), BLOCK):
        block = codes[begin : begin + BLOCK]
        newline = block == NEWLINE
        ends.append(newline.nonzero()[0] + begin)
        for kind, mask in enumerate(((block == SPACE) | newline, block < MINUS)):
            packed = np.packbits(mask, bitorder="little")
            octets[kind, begin >> 3 : (begin >> 3) + len(packed)] = packed
        if block.max() > ZERO + 9:
            letters += np.count_nonzero(block > ZERO + 9)
    blank, other = bits
    ends = np.concatenate(ends)
    if letters != len(exponents) or b"/" in text:
        return None
    other ^= blank
    if other.any():  # carriage returns in front of newlines, signs of exponents?
        signs = sum(text.count(b"+", begin, end) for begin, end in exponents.tolist())
        returns = np.count_nonzero((codes[ends - 1] == RETURN) & (codes[ends - 2] >= MINUS) & (ends > 1))
        if signs + returns != np.bitwise_count(other).sum(dtype=np.int64):
            return None
    behind = blank << ONE
    behind[1:] |= blank[:-1] >> np.uint64(63)
    behind &= blank
    return None if behind.any() or blank[0] & ONE else (blank, ends)


def _fields(blank: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(lines,) number of fields on each line: separators up to its end less those up to the end of the one before."""
    upto = np.bitwise_count(blank).cumsum(dtype=np.int64)
    word = ends >> 6
    rest = blank.take(word) >> (ends & 63).view(np.uint64)  # from the line's end on
    return np.diff(upto.take(word) - np.bitwise_count(rest) + 1, prepend=0)


def _bodies(text: bytes, codes: np.ndarray, starts: np.ndarray, fields: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Body counts (frames,) and the numbers of the lines at which the bodies begin that are kept (R,), if the file has just the lines
    that its counts say, and no frame has ten bodies or more."""
    heads = (fields == RECORD[0]).nonzero()[0]  # (B,) all bodies
    if len(heads) and heads[-1] + len(RECORD) > len(fields):
        return None
    lines = heads[:, None] + np.arange(len(RECORD))  # (B, 27)
    single = fields == 1
    single[heads + 1] = False
    singles = single.nonzero()[0]  # the frame count, and a body count for each frame
    if (fields.take(lines) != RECORD).any() or not len(singles) or len(singles) + lines.size != len(fields):
        return None
    frames, first = text[: text.index(b"\n")].strip(), starts.take(singles[1:])
    counts = codes.take(first).astype(np.int64) - ZERO
    if not frames.isdigit() or int(frames[:9]) != len(counts) or (codes.take(first + 1) > SPACE).any():
        return None
    places = np.concatenate([[0, 1], np.cumsum(1 + counts * len(RECORD)) + 1])  # of singles, and the end
    if len(heads) != counts.sum() or not np.array_equal(singles, places[:-1]):
        return None
    joints = starts.take(heads + 1)
    if (codes.take(joints) != ZERO + 2).any() or (codes.take(joints + 1) != ZERO + 5).any() or (codes.take(joints + 2) > SPACE).any():
        return None
    if counts.max(initial=0) <= most:
        return counts, heads
    return counts, heads[np.arange(len(heads)) - np.repeat(np.cumsum(counts) - counts, counts) < most]


def _coordinates(text: bytes, codes: np.ndarray, starts: np.ndarray, blank: np.ndarray, exponents: np.ndarray) -> np.ndarray | None:
    """(3, L) float64 from the first three fields of the L lines at `starts`; None if they are no numbers."""
    begin, end = _ends(starts, blank)
    negative = codes.take(begin) == MINUS
    first = begin + negative.astype(np.int64)  # the only digit in front of the dot
    digits = end - first - 2  # behind the dot
    usual = codes.take(first + 1) == DOT
    usual &= (digits - 1).view(np.uint64) < LONGEST
    near = end[2 * len(starts) :] - starts < 64
    if not near.all():  # fields that end out of sight
        usual &= np.tile(near, 3)
    if len(exponents):
        line = starts.searchsorted(exponents, "right") - 1
        axis, which = (begin.reshape(3, -1)[:, line] == exponents).nonzero()
        usual.reshape(3, -1)[axis, line[which]] = False
    rare = (~usual).nonzero()[0]
    first[rare], digits[rare] = 0, 1
    whole, bad = _digits(text, first + 2, digits)
    power = POWERS.take(digits)
    lead = codes.take(first) ^ ZERO
    whole += power * lead.astype(np.float64)
    value = whole / np.where(negative, -power, power)
    bad |= lead > 9
    bad[rare] = False
    if bad.any():
        return None
    try:
        for i in rare.tolist():
            axis, line = divmod(i, len(starts))
            value[i] = float(text[starts[line] : starts[line] + 400].split(None, 3)[axis])
    except (ValueError, IndexError):
        return None
    return value.reshape(3, -1)


def _ends(starts: np.ndarray, blank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the first fields of the lines begin and end, then the second, then the third: (3 L,) each."""
    word, shift = starts >> 6, (starts & 63).view(np.uint64)
    ahead = (blank.take(word) >> shift) | (blank.take(word + 1) << (WORD - shift))  # 64 characters; shifting by 64 leaves nothing
    lower = np.empty((3, len(starts)), np.uint64)  # bits below the end of each field
    for axis in range(3):
        less = ahead - ONE
        np.bitwise_and(~ahead, less, out=lower[axis])
        ahead &= less
    end = np.bitwise_count(lower).astype(np.int64)  # 64 where a field's end is not in sight
    end += starts
    begin = np.empty_like(end)
    begin[0] = starts
    np.add(end[:2], 1, out=begin[1:])
    return begin.ravel(), end.ravel()


def _digits(text: bytes, place: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers (n,) float64 of `count` digits, 1 to 14, at some places of the text; and which of them have other characters."""
    eights = np.ndarray((len(text) - 7,), "<u8", text, 0, (1,))  # the eight characters from each place on
    whole, bad = _eight(eights[place], np.minimum(count, 8))
    long = (count > 8).nonzero()[0]
    if len(long):
        more, rest = count[long] - 8, place[long] + 8
        low, worse = _eight(eights[rest], more)
        whole[long] = whole[long] * POWERS[more] + low
        bad[long] |= worse
    return whole, bad


def _eight(characters: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 of the first 1 to 8 digits of eight characters, which stand in 64 bits, the first lowest; and whether they are none."""
    shift = (64 - 8 * count).view(np.uint64)
    x = (characters ^ np.uint64(0x3030303030303030)) << shift  # what is in front now counts as zeros
    bad = (x & np.uint64(0xF0F0F0F0F0F0F0F0)) != 0
    for factor, width, keep in ((10, 8, 0x00FF00FF00FF00FF), (100, 16, 0x0000FFFF0000FFFF), (10_000, 32, 0xFFFFFFFF)):
        above = x >> np.uint64(width)
        x *= np.uint64(factor)
        x += above
        x &= np.uint64(keep)
    return x.view(np.int64).astype(np.float64), bad
