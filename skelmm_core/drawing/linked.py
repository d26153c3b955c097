"""The linked map: points of a map and the clips behind them. A click plays a clip beside its nearest neighbours, a lasso counts classes.

One page with one file of plain JavaScript (``linked.js``) and the player's; nothing is loaded, so it works in JupyterLab, in a saved
notebook without a kernel, in the HTML that nbconvert makes of it, and from a file with the network off.

What is saved of each point is its place on every map (two whole numbers of two bytes), its value in every column (two bytes), its
neighbours and its name. Clips are larger (8 kB for 100 frames of one body): a page holds some of them whole groups at a time, a clip with
all its neighbours, so that what is ringed on the map plays beside them without a kernel; the clip in the middle of each class and a clip
that was taken for another class come first. All others are fetched where a kernel runs (`LinkedMap.with_kernel`).

A notebook holds at most `LARGEST` bytes of a map: steps and maps that do not fit are left out, which the map says (`fitting`). The page
that `save` writes holds all of them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import html
from skelmm_core.drawing import choices, colouring, fitting, maps, packing, palette, player
from skelmm_core.drawing.messenger import Messenger
from skelmm_core.drawing.player import Player
from skelmm_core.errors import DataError, SettingsError

HELD = 60  # clips that a page holds unless told otherwise
HEAVY = 1_500_000  # bytes of clips in a page
LEAST = 300_000  # bytes of clips for which maps are left out rather
LARGEST = 5_000_000  # bytes of a map in a notebook
PAGE = 100_000_000  # bytes of a page by itself
GRID = 65535  # steps of a map's side
FACES = 5  # neighbours that play beside a clip

Steps = Mapping[int, np.ndarray]


def linked_map(
    points: np.ndarray | Mapping[Any, np.ndarray | Steps],
    columns: Mapping[str, Any],
    clips: tuple[Any, Any] | None = None,
    neighbours: np.ndarray | Mapping[str, np.ndarray] | None = None,
    names: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    title: str = "",
    nearest_in: str = "",
    held: int = HELD,
) -> LinkedMap:
    """A map to look into: choose what it shows and how it is coloured, move and zoom, click a point for its clip, draw a lasso.

    Args:
        points: (N, 2); or several maps of the same N clips by name; or by epoch, a map that forms, with a slider through its steps and
            all places between them. A named map may be one that forms: ``{"teacher": place, "teacher, in training": {0: a, 8: b}}``.
            Steps should be aligned (`evaluation.alignment.aligned`): they are drawn on one scale.
        columns: N values by name, as `colouring.column` takes them: whole numbers, names or truth values (``correct``) as kinds, floats as
            a scale. The first one of kinds is what the lasso counts while a scale is shown.
        clips: (open `Clips`, (N,) numbers of the clips in it), without which nothing plays.
        neighbours: (N, k) for each point the numbers of its nearest points, nearest first, -1 for none; five play. Or several of them by
            the map that they are shown on: ``"student"`` is for the maps ``student`` and ``student, …``; others have the first.
        names: N names; by default number and name in the clips file.
        class_names: of the column ``class``, by number; by default those of `clips`.
        units: of columns that are scales.
        title: heading.
        nearest_in: what the neighbours are near in, such as "the {}'s features, other performances only", where ``{}`` becomes the name
            that `neighbours` has them under.
        held: most clips in a page.

    Raises:
        DataError: lengths or shapes that differ, places that aren't finite, numbers outside of what is there.
        SettingsError: what should have names and hasn't, or no whole number of clips to hold.
    """
    return LinkedMap(points, columns, clips, neighbours, names, class_names, units, title, nearest_in, held)


class LinkedMap:
    """What `linked_map` gives: shows itself as the last line of a cell; `save` writes a page, `with_kernel` fetches clips."""

    def __init__(self, points, columns, clips, neighbours, names, class_names, units, title, nearest_in, held):
        self.maps = _maps(points)
        title, nearest_in = (_word(name, value) for name, value in (("title", title), ("nearest_in", nearest_in)))
        held, units = choices.whole("held", held, "0 clips or more", 0), choices.by_name("units", units or {}, "units of columns")
        class_names = choices.words("class_names", class_names, "names of the classes by number")
        self.count = len(next(iter(self.maps[0][1].values())))
        if clips is not None and not (isinstance(clips, tuple | list) and len(clips) == 2 and hasattr(clips[0], "labels")):
            raise SettingsError(f"clips must be a pair (open clips, a number for each point), found {type(clips).__name__}")
        columns = choices.by_name("columns", columns, 'values such as {"class": labels}')
        self.clips, self.index = (None, None) if clips is None else (clips[0], choices.array("clips", clips[1], "a number each"))
        for name, steps in self.maps:
            for step, place in steps.items():
                _check(place, self.count, f"{name}, {step}" if len(steps) > 1 else name)
        if clips is not None and (self.index.shape != (self.count,) or not _within(self.index, len(self.clips.labels))):
            raise DataError(f"clips must come with {self.count} numbers from 0 to {len(self.clips.labels) - 1}, one for each point")
        if clips is not None:
            names = [f"{i}: {self.clips.names[int(i)]}" for i in self.index] if names is None else names
            class_names = class_names or self.clips.class_names
        names = [f"point {i}" for i in range(self.count)] if names is None else choices.words("names", names, f"{self.count} words")
        self.names = [" ".join(name.split()) for name in names]
        if len(self.names) != self.count or not columns:
            raise DataError(f"a map of {self.count} points needs as many names and at least one column, found {len(self.names)} names")
        kinds = "numbers, names or truth values, one for each point"
        self.values = {name: choices.array(f"column '{name}'", values, kinds, "iubfUO") for name, values in columns.items()}
        self.columns = [
            colouring.column(name, values, class_names if name == "class" else (), units.get(name, ""))
            for name, values in self.values.items()
        ]
        for name, values in self.values.items():
            if len(values) != self.count:
                raise DataError(f"the map has {self.count} points, the column '{name}' {len(values)} values")
        self.neighbours = self._neighbours(neighbours)
        self.title, self.nearest_in, self.held, self.class_names = title, nearest_in, held, class_names

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the script is given of a page that holds everything, as plain JSON values."""
        wide = 2 if self.count < GRID else 4
        shapes = {e["shape"] for c in self.columns for e in c.get("entries", ())}
        near, whole = list(self.neighbours.values()), np.uint16 if wide == 2 else np.uint32
        data = {
            "title": self.title, "heading": self.title, "count": self.count, "names": "\n".join(self.names),
            "maps": [_packed(name, steps) | {"near": self._near(name)} for name, steps in self.maps], "columns": self.columns,
            "wide": wide, "each": near[0].shape[1] if near else 0,
            "nearest": [colouring.packed(np.where(n < 0, np.iinfo(whole).max, n), whole) for n in near],
            "words": [f"Nearest in {self.nearest_in.replace('{}', name)}." if self.nearest_in else "" for name in self.neighbours],
            "ramp": colouring.RAMP, "grey": palette.UNKNOWN, "shapes": {s: colouring.shape(s) for s in sorted(shapes)},
            "left": "", "stored": {}, "player": None,
        }  # fmt: skip
        return data if self.clips is None else data | self._stored

    @cached_property
    def _stored(self) -> dict[str, Any]:
        """The clips that the page holds, in at most `HEAVY` bytes: point -> number in the player's data, and these data."""
        kinds = next((v for v in self.values.values() if v.dtype.kind != "f"), np.zeros(self.count, int))
        right = np.asarray(next((v for name, v in self.values.items() if colouring.plain(name) == "correct"), np.ones(self.count)), bool)
        kinds = np.unique(kinds, return_inverse=True)[1].reshape(-1)
        near = np.concatenate(list(self.neighbours.values()), 1) if self.neighbours else None
        chosen = fitting.representatives(self._last, kinds, right, near, self.held)
        if not chosen:
            return {"player": {}}  # all are fetched
        clips = {"stored": {str(point): k for k, point in enumerate(chosen)}, "player": self._player(chosen).data}
        return fitting.first(clips, HEAVY)

    def beside(self, point: int, near: int = 0) -> list[int]:
        """A point and its neighbours, nearest first; near: which of several sets of them."""
        return [point, *(int(n) for found in list(self.neighbours.values())[near : near + 1] for n in found[point] if n >= 0)]

    def _fetch(self, number: int) -> dict[str, Any]:
        near, point = divmod(number, self.count)
        points = self.beside(point, near)
        return {"points": points, "near": near, "player": self._player(points).data}

    def _neighbours(self, given: np.ndarray | Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """The sets of neighbours by name, each (N, k), all as wide as the widest; one alone is called ""."""
        sets = {} if given is None else given if isinstance(given, Mapping) else {"": given}
        expected = f"({self.count}, k) numbers of points, or -1"
        found = {name: choices.array(f"neighbours of '{name}'" if name else "neighbours", near, expected) for name, near in sets.items()}
        for name, near in found.items():
            if near.ndim != 2 or len(near) != self.count or not _within(near + 1, self.count + 1):
                of = f" of '{name}'" if name else ""
                raise DataError(f"neighbours{of} must be {expected}; found {near.shape}")
            if name and not any(_belongs(map_, name) for map_, _ in self.maps):
                raise DataError(f"neighbours of '{name}', but no map is called so; there are {', '.join(n for n, _ in self.maps)}")
        wide = max((min(FACES, near.shape[1]) for near in found.values()), default=0)
        return {n: np.pad(near[:, :wide], ((0, 0), (0, wide - near[:, :wide].shape[1])), constant_values=-1) for n, near in found.items()}

    def _near(self, name: str) -> int:
        """Which set of neighbours a map shows: that of the longest name that fits, else the first."""
        fits = [(len(known), k) for k, known in enumerate(self.neighbours) if _belongs(name, known)]
        return max(fits)[1] if fits else 0

    def _player(self, points: Sequence[int]) -> Player:
        first, *others = [(self.clips, int(self.index[point])) for point in points]
        return Player(first, other=others)

    @cached_property
    def still(self) -> bytes:
        """The first map in its first colouring of kinds as PNG, for readers that run no script."""
        kind, values = next(((n, v) for n, v in self.values.items() if v.dtype.kind in "iu"), ("class", np.zeros(self.count, int)))
        return packing.still([maps.map_panels({self.maps[0][0]: self._last}, {kind: values}, self.class_names, title=self.title)])

    @property
    def _last(self) -> np.ndarray:
        """(N, 2) the first map, or the last step of it."""
        return next(reversed(self.maps[0][1].values()))

    @cached_property
    def _text(self) -> str:
        return player.text(self.data)

    @cached_property
    def name(self) -> str:
        """What the page's element is called, by its content."""
        return player.called(self._text)

    def html(self, heading: bool = True, most: int = LARGEST) -> str:
        """The map as a part of a page: an element with a picture of it, and the script that puts the map in its place.

        most: bytes that it may take; what does not fit is left out (`left_out`). Raises `DataError` if not even the first map fits.
        """
        return self._part(self._fitted(most)[0] | ({} if heading else {"heading": ""}))

    @property
    def left_out(self) -> str:
        """What a notebook does not hold of the map, in words; "": nothing. Raises `DataError` if not even the first map fits."""
        return self._fitted(LARGEST)[1]

    def _fitted(self, most: int) -> tuple[dict[str, Any], str]:
        """`data` whose part takes at most `most` bytes, and what was left out: clips beyond `LEAST` first, then steps, then maps."""
        clips = {key: self.data[key] for key in ("stored", "player")}
        where = " The page that save() writes holds all." if most < PAGE else ""
        for least in (min(LEAST, int(fitting.sizes(clips).sum())), 0):
            for kept, words in fitting.fewer(self.data["maps"]):
                left = f"Left out, to stay below {most / 1e6:g} MB: {words}.{where}" if words else ""
                shown = {map_["near"] for map_ in kept}  # neighbours on maps that are left out are, too; the others keep their places
                near = [packed if k in shown else "" for k, packed in enumerate(self.data["nearest"])]
                data = self.data | {"maps": kept, "nearest": near, "left": left} | fitting.first(clips, 0)
                room = most - len(self._part(data))
                if room >= least:
                    return data | fitting.first(clips, room), words
        raise DataError(
            f"a map of {self.count} points takes {(most - room) / 1e6:.1f} MB with one map and {len(self.columns)} columns, at most "
            f"{most / 1e6:g} are allowed in a {'notebook' if most < PAGE else 'page'}; give fewer points or columns, or shorter names"
            + (", or save() it as a page by itself" if most < PAGE else "")
        )

    def _part(self, data: dict[str, Any]) -> str:
        image, words = base64.b64encode(self.still).decode(), escape(repr(self)).replace("$", "&#36;")
        return (
            f'<div data-skelmm-map="{self.name}"><img alt="{words}" src="data:image/png;base64,{image}">'
            "<p>A picture; the map in its place needs JavaScript and, in JupyterLab, a notebook that is trusted.</p></div>"
            f"<script>(() => {{\n{player.script()}\n{player.script('linked.js')}\n"
            f'mountMap({player.text(data)}, "{self.name}");\n}})();</script>'
        )

    def save(self, path: str | Path) -> Path:
        """Write a page that works by itself, without a network, of up to `PAGE` bytes; makes parent folders and returns the path.

        Raises `SettingsError` for a path that doesn't end in `.html`, `DataError` for a full or read-only disk.
        """
        return html.save(path, "a map", self.title or "Map", self.html(heading=False, most=PAGE))

    def with_kernel(self) -> Messenger:
        """A widget without a face, to be shown beside the map: while it is there and its kernel runs, every point's clip plays."""
        if self.clips is None:
            raise SettingsError("this map was made without clips, so there are none to fetch; give clips=(clips, index)")
        return Messenger("map", self.name, self.count * max(1, len(self.neighbours)), self._fetch)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        shown = ", ".join(name if len(steps) == 1 else f"{name} in {len(steps)} steps" for name, steps in self.maps)
        return f"Map of {self.count} clips: {shown}; colours: {', '.join(column['name'] for column in self.columns)}"


def _maps(points: Any) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Maps in order: name, and places by the words for each step; a map that doesn't form has one."""
    if not isinstance(points, Mapping):
        return [("map", {"": _place("map", points)})]
    if not points:
        raise DataError("nothing to draw: `points` holds no map")
    if all(isinstance(key, (int, np.integer)) for key in points):
        return [("in training", _steps(points))]
    return [
        (palette.label(name), _steps(place) if isinstance(place, Mapping) else {"": _place(name, place)})
        for name, place in choices.by_name("points", points, "(N, 2) numbers, by epoch or").items()
    ]


def _belongs(map_: str, name: str) -> bool:
    """Whether neighbours that are called so belong to a map: ``student`` to ``student`` and to ``student, PCA``."""
    return bool(name) and (map_ + ", ").startswith(palette.label(name) + ", ")


def _steps(places: Steps) -> dict[str, np.ndarray]:
    if not places:
        raise DataError("a map that forms needs at least one step, found none")
    if not all(isinstance(epoch, (int, np.integer)) for epoch in places):
        raise SettingsError(f"the steps of a map that forms must be called by their epochs, whole numbers; found {list(places)[:5]}")
    return {f"epoch {epoch}" if epoch else "untrained": _place(f"epoch {epoch}", places[epoch]) for epoch in sorted(places)}


def _place(name: str, given: Any) -> np.ndarray:
    place = choices.array(f"map '{name}'", given, "(N, 2) numbers, or several such maps by name")
    if place.ndim != 2 or place.shape[1] != 2 or not len(place):
        raise DataError(f"map '{name}' must be (N, 2), with at least one point; found {place.shape}")
    return place.astype(np.float64)  # 65535 steps of a grid are beyond float16


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str | None):
        raise SettingsError(f"{name} must be a word, found {value!r}")
    return value or ""


def _check(place: np.ndarray, count: int, name: str) -> None:
    if len(place) != count:
        raise DataError(f"map '{name}' must be (N, 2), with the {count} clips of the others; found {place.shape}")
    if not np.isfinite(place).all():
        raise DataError(f"map '{name}' holds {int((~np.isfinite(place)).any(1).sum())} places that are not finite")


def _within(numbers: np.ndarray, end: int) -> bool:
    return numbers.dtype.kind in "iu" and (not numbers.size or 0 <= int(numbers.min()) <= int(numbers.max()) < end)


def _packed(name: str, steps: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Places on a grid of two bytes a side, the same for all steps of a map."""
    all_steps = np.concatenate(list(steps.values()))
    low, high = all_steps.min(0), all_steps.max(0)
    side = float((high - low).max()) or 1.0
    places = [np.clip(((place - (low + high) / 2) / side + 0.5) * GRID, 0, GRID).round() for place in steps.values()]
    return {"name": name, "labels": list(steps), "steps": [colouring.packed(place, np.uint16) for place in places]}
