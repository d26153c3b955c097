"""Which files of Kinetics-skeleton there are, which part of the data set they belong to, and what its lists of labels say of them."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from skelmm_core.errors import DataError
from skelmm_core.sources import json_text, members

CLASSES = 1000  # labels that are believed; Kinetics has 400 to 700
PART = re.compile(r"(?:.*[_\-. ])?(train|val)(?:ing|idation)?(?:[_\-. ].*)?", re.IGNORECASE)
LIST = re.compile(r"(?:.*[_\-])?(train|val)_label")
ENDS = 4096  # bytes at a file's beginning and end that may tell its label
LABEL = re.compile(rb'"label"\s*:\s*("(?:[^"\\]|\\.){1,400}")')
LABEL_INDEX = re.compile(rb'"label_index"\s*:\s*(\d{1,4})\s*[,}]')
_BROKEN = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error, DataError)


@dataclass(frozen=True)
class Video:
    """One video: its file, None if it is only in a list; part 1 train, 2 val, -1 unknown; and what the list of its part says, its label
    (None: not listed) and whether it has a skeleton."""

    stem: str
    member: members.Member | None
    part: int
    listed: int | None = None
    seen: bool = True

    def ends(self) -> tuple[int, str] | None:
        """Label and its name from the beginning and the end of the file; None for a file that has none there."""
        try:
            member = cast(members.Member, self.member)  # who looks into the file knows that there is one
            if isinstance(member.place, str) and member.size > 2 * ENDS:
                with open(member.place, "rb") as file:
                    text = file.read(ENDS)
                    file.seek(member.size - ENDS)
                    text += b" " + file.read(ENDS)
            else:
                text = member.read()
                text = text if len(text) <= 2 * ENDS else text[:ENDS] + b" " + text[-ENDS:]
            index, name = int(LABEL_INDEX.findall(text)[-1]), json_text.text(json.loads(LABEL.findall(text)[-1]), self.stem, "label")
            return (index, name) if index < CLASSES else None
        except (*_BROKEN, IndexError):
            return None  # the file is read once more, and reported then


def videos(paths: tuple[Path, ...]) -> tuple[list[Video], Counter[Any], Callable[..., str]]:
    """All videos of some folders or archives, the labels with their names as the lists have them, and what gives the fingerprint."""
    found, everything = [], []
    lists: dict[int, dict[str, Any]] = {}
    for path in paths:
        root = path.resolve()
        name = root.name if root.is_dir() else root.stem
        for member in members.members(path, ".json"):
            everything.append(member)
            folder, _, file = f"{name}/{member.path}".rpartition("/")
            if kind := LIST.fullmatch(stem := PurePosixPath(file).stem):
                _add(lists, 1 if kind[1] == "train" else 2, member)
            else:
                found.append((stem, member, _part(folder)))
    names: Counter[Any] = Counter()
    result = []
    for stem, member, part in found:
        part = next((p for p, table in lists.items() if part in (p, -1) and stem in table), part)
        about = lists.get(part, {}).pop(stem, ())
        result.append(Video(stem, member, part, *about[:2]))
        if about and about[0] >= 0:
            names[about[0], about[2]] += 1
    for part, left in lists.items():
        for stem, (label, seen, name) in left.items():
            result.append(Video(stem, None, part, label, seen))
            if label >= 0:
                names[label, name] += 1
    return result, names, lambda *settings: members.fingerprint(everything, *settings)


@lru_cache(maxsize=1024)
def _part(folder: str) -> int:
    """By the innermost folder whose name says train or val."""
    for name in reversed(folder.split("/")):
        if said := PART.fullmatch(name):
            return 1 if said[1].lower() == "train" else 2
    return -1


def _add(lists: dict[int, dict[str, Any]], part: int, member: members.Member) -> None:
    """Name -> (label, has a skeleton, name of the label), of a list of labels."""
    where, table = member.path, lists.setdefault(part, {})
    known: dict[str, str] = {}  # one text for all that say the same
    for stem, about in json_text.parse(member.read(), where).items():
        stem = json_text.text(stem, where, "a video's name")
        label = json_text.whole(json_text.field(about, "label_index", where, stem), -1, CLASSES - 1, where, f"{stem}.label_index")
        seen = json_text.field(about, "has_skeleton", where, stem)
        if type(seen) is not bool:
            raise DataError(f"'{where}': {stem}.has_skeleton must be true or false, found {json_text.shown(seen)}")
        name = json_text.field(about, "label", where, stem) if label >= 0 else ""
        if label >= 0:
            json_text.text(name, where, f"{stem}.label")
        if table.setdefault(stem, (label, seen, known.setdefault(name, name)))[0] != label:
            raise DataError(f"'{where}': {stem} has the label {label}, in another list {table[stem][0]}; one of both is wrong")


def class_names(found: Counter[Any], where: str) -> tuple[str, ...]:
    """One name per label: the most frequent where files disagree, "class 7" for a label that no file has."""
    names: dict[int, str] = {}
    for (label, name), _ in found.most_common():
        names.setdefault(label, name)
    if not names or max(names) >= CLASSES:
        raise DataError(f"'{where}': no file tells a label of 0..{CLASSES - 1} with its name; expected the fields label and label_index")
    return tuple(names.get(label, f"class {label}") for label in range(max(names) + 1))


def begins_like(path: Path, words: tuple[bytes, ...], most: int = 8) -> bool:
    """Whether one of the first JSON files of `path` has all `words` in its first 64 KiB; never raises."""
    try:
        if not any(map(_fits, members.names(Path(path)))):
            return False  # the names are known at once, heads in a compressed tar are not
        return any(all(word in head for word in words) for head in islice(_heads(Path(path)), most))
    except (*_BROKEN, DataError):
        return False


def _heads(path: Path, size: int = 1 << 16) -> Iterator[bytes]:
    if path.is_dir():
        for file in members.files(path):
            if _fits(file.name) and file.is_file():
                with open(file, "rb") as opened:
                    yield opened.read(size)
    elif path.is_file() and path.suffix.lower() == ".json":
        with open(path, "rb") as opened:
            yield opened.read(size)
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in filter(_fits, archive.namelist()):
                with archive.open(name) as opened:
                    yield opened.read(size)
    elif path.is_file() and tarfile.is_tarfile(path):
        with tarfile.open(path, "r|*") as archive:
            for entry in archive:
                if entry.isreg() and _fits(entry.name):
                    yield cast(IO[bytes], archive.extractfile(entry)).read(size)


def _fits(name: str) -> bool:
    pure = PurePosixPath(name)
    return pure.suffix.lower() == ".json" and not pure.name.startswith(".") and not LIST.fullmatch(pure.stem)
