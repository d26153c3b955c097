"""What the names and labels of clips, and lists of training and test clips, say together; for formats that hold NTU RGB+D or anything.

Clips named as NTU RGB+D's carry performer, view, setup, repetition and action in their names, and lists that follow one of its rules
become that protocol. For all other names the part is stored in the column `setup`: 1 training, 2 test, 3 validation if there is a test
part, too; the protocol is then ``setup == 1`` or ``setup == 1 / setup == 2``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skelmm_core.errors import DataError
from skelmm_core.sources.ntu import NAME
from skelmm_core.sources.ntu_names import NAMES, TRAINING_PERFORMERS

TRAIN, TEST, VALIDATION = 1, 2, 3
LABELS = 10_000  # labels from here on are damage, not classes
FIELDS = ("setup", "view", "subject", "repetition", "action")
RULES: dict[str, Callable[[dict[str, int]], bool]] = {  # the training parts of the protocols of these names
    "cross-subject": lambda numbers: numbers["subject"] in _PERFORMERS,
    "cross-view": lambda numbers: numbers["view"] in (2, 3),
    "cross-setup": lambda numbers: numbers["setup"] % 2 == 0,
}
HINTS = {"xsub": "cross-subject", "xview": "cross-view", "xset": "cross-setup"}  # what the field calls them
_PERFORMERS: frozenset[int] = frozenset(TRAINING_PERFORMERS)


def stem(name: str) -> str:
    return name.removesuffix(".skeleton")


def ntu_numbers(name: str) -> dict[str, int] | None:
    """`FIELDS` out of a name like ``S001C002P003R002A013``; None for other names."""
    found = NAME.fullmatch(name)
    return dict(zip(FIELDS, map(int, found.groups()), strict=True)) if found else None


@dataclass(frozen=True)
class Naming:
    """How a data set names and labels its clips. ntu: its names are NTU RGB+D's; by_action: its labels are the names' action - 1."""

    class_names: tuple[str, ...]
    ntu: bool = False
    by_action: bool = False

    def numbers(self, name: str, label: int, part: int = -1) -> dict[str, int]:
        """Columns of a clip. Raises `DataError` for a name or label that is not as most of the data set's are."""
        if not self.ntu:
            return {"setup": part}
        numbers = ntu_numbers(name)
        if numbers is None:
            raise DataError(f"clip {name[:80]!r} is not named like 'S001C002P003R002A013', as the other clips are; rename or remove it")
        action = numbers.pop("action")
        if self.by_action and label != action - 1:
            raise DataError(f"clip '{name}' has the label {label}, expected its action - 1; the names belong to other labels or data")
        return numbers


def naming(clips: Iterable[tuple[str, int]], file: str | Path, where: str) -> Naming:
    """How a data set's clips, pairs of name and label, are named. file: text file with the classes' names, one a line, or "".

    Without it the names are NTU RGB+D's if the clips' are, else "class 0", "class 1", ... Raises `DataError` for a file that can't be
    read or is too short, and for NTU names whose actions don't belong to the labels one to one.
    """
    known = [(ntu_numbers(name), label) for name, label in clips if 0 <= label < LABELS]
    actions = [(numbers["action"], label) for numbers, label in known if numbers]
    ntu = 2 * len(actions) > len(known)
    by_action = ntu and 2 * sum(label == action - 1 for action, label in actions) > len(actions)
    count = 1 + max((label for _, label in known), default=-1)
    if file:
        names = _lines(Path(file))
        if len(names) < count:
            raise DataError(f"'{file}' names {len(names)} classes, {where} has labels up to {count - 1}; expected a name a line for each")
    elif by_action:
        highest = max(action for action, label in actions if label == action - 1)
        names = (*(NAMES if highest > 60 else NAMES[:60]), *(f"class {i}" for i in range(len(NAMES), highest)))
    elif ntu:
        names = _by_label(actions, count, where)
    else:
        names = tuple(f"class {i}" for i in range(count))
    return Naming(names, ntu, by_action)


def _by_label(actions: list[tuple[int, int]], count: int, where: str) -> tuple[str, ...]:
    """Names of labels that are numbered in another way than actions are."""
    meant: dict[int, int] = {}
    for action, label in actions:
        if meant.setdefault(label, action) != action:
            raise DataError(
                f"{where}: label {label} is given to clips of the actions {meant[label]} and {action}; labels and names don't belong "
                "together (two files mixed up?)"
            )
    return tuple(NAMES[meant[i] - 1] if 1 <= meant.get(i, 0) <= len(NAMES) else f"class {i}" for i in range(count))


def _lines(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise DataError(f"can't read the class names '{path}': {problem.strerror or problem}") from problem
    except UnicodeDecodeError as problem:
        raise DataError(f"'{path}' is not text in UTF-8 ({problem}); expected the classes' names, one a line") from problem
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    empty = next((i for i, name in enumerate(names) if not name or not name.isprintable()), None)
    if empty is not None:
        raise DataError(f"'{path}', line {empty + 1}: expected the name of class {empty}, found {names[empty]!r}")
    return names


def protocol(naming: Naming, lists: Mapping[int, Iterable[str]], called: str, where: str) -> str:
    """The protocol that lists of clip names by part stand for. called: the split's or folder's name, which decides if several rules fit.

    For NTU names the rule that every name follows; where none is followed a `DataError` names the first clip that breaks each.
    """
    if not naming.ntu:
        if not {TRAIN, TEST} <= set(lists):
            return ""
        return "setup == 1 / setup == 2" if VALIDATION in lists else "setup == 1"
    known = [(n, numbers, part) for part, names in lists.items() for n in map(stem, names) if (numbers := ntu_numbers(n))]
    breaks = []
    for rule in sorted(RULES, key=lambda rule: rule != HINTS.get(called)):
        wrong = next((name for name, numbers, part in known if RULES[rule](numbers) != (part == TRAIN)), None)
        if wrong is None:
            return rule
        breaks.append(f"'{wrong}' is on the wrong side for {rule}")
    raise DataError(
        f"{where}: the training and test parts follow no rule of NTU RGB+D: {', '.join(breaks)}; are they of two different splits? "
        "Clips with NTU names can't carry another split, since their setup is known"
    )


def numbered(words: list[str | None]) -> list[int]:
    """Numbers as they are; if any is a name, all are numbered in alphabetical order from 1; -1 is unknown."""
    if all(word is None or (word.isdecimal() and len(word) < 9) for word in words):
        return [-1 if word is None else int(word) for word in words]
    order = sorted({word for word in words if word is not None})
    return [-1 if word is None else order.index(word) + 1 for word in words]
