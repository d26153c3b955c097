"""What a page holds of a linked map: which clips, and where a notebook has no room, which steps and maps, with words for the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skelmm_core import modalities
from skelmm_core.drawing import palette, player


def representatives(place: np.ndarray, kinds: np.ndarray, right: np.ndarray, neighbours: np.ndarray | None, most: int) -> list[int]:
    """Points whose clips a page holds, at most `most`, whole groups first: a point with all its neighbours.

    In turn: of every kind the point nearest to the kind's middle on the map; of every kind one that is not `right`; the second of each;
    then any. place: (N, 2); kinds: (N,) numbers from 0 on; right: (N,) truth values; neighbours: (N, k), -1 for none.
    """
    middles = np.stack([place[kinds == kind].mean(0) for kind in range(kinds.max() + 1)])  # (C, 2)
    far = np.linalg.norm(place - middles[kinds], axis=1)
    turns = np.empty((2, len(place)), int)  # of each point among those of its kind, and among those of its kind that are not right
    for turn, order in zip(turns, (np.lexsort((far, kinds)), np.lexsort((far, right, kinds))), strict=True):
        turn[order] = np.arange(len(place)) - np.searchsorted(kinds[order], kinds[order])
    turn = np.minimum(2 * turns[0], np.where(right, 2 * len(place), 2 * turns[1] + 1))
    chosen: dict[int, None] = {}
    for point in np.lexsort((far, turn)):
        group = [int(point), *([] if neighbours is None else (int(n) for n in neighbours[point] if n >= 0))]
        new = [n for n in group if n not in chosen]
        if len(chosen) + len(new) <= most:
            chosen.update(dict.fromkeys(new))
        if len(chosen) >= most:
            break
    return list(chosen)


def sizes(clips: Mapping[str, Any]) -> np.ndarray:
    """Bytes of each of a page's clips: ``{"stored": point -> number, "player": the player's data, or {} or None}``."""
    return np.array([len(player.text(clip)) + 20 for clip in (clips["player"] or {}).get("clips", ())], int)


def first(clips: Mapping[str, Any], room: int) -> dict[str, Any]:
    """The first of a page's clips, in at most `room` bytes."""
    if not clips["player"]:
        return dict(clips)
    kept = int(np.searchsorted(np.cumsum(sizes(clips)), room, side="right"))
    return {
        "stored": dict(list(clips["stored"].items())[:kept]),
        "player": clips["player"] | {"clips": clips["player"]["clips"][:kept]},
    }


def fewer(maps: Sequence[dict[str, Any]]) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Maps, ``{"name", "labels", "steps"}``: all of them at first, then ever fewer, each time with words for what is missing.

    Steps of maps that form go first, evenly, down to the first and the last one; then maps of single modalities, then others, of each
    the last in order first. The first map stays.
    """
    kept = dict(enumerate(maps))
    longest = max(len(map_["steps"]) for map_ in maps)
    for most in range(longest, min(longest, 2) - 1, -1):
        kept = {number: _thinned(map_, most) for number, map_ in enumerate(maps)}
        yield list(kept.values()), _missing(maps, kept)
    single = {palette.label(name) for name in modalities.NAMES}
    for number in sorted(range(1, len(maps)), key=lambda n: (maps[n]["name"] in single, n), reverse=True):
        del kept[number]
        yield list(kept.values()), _missing(maps, kept)


def _thinned(map_: dict[str, Any], most: int) -> dict[str, Any]:
    """At most `most` steps, evenly, the first and the last one among them."""
    steps = np.linspace(0, len(map_["steps"]) - 1, min(most, len(map_["steps"]))).round().astype(int)
    return map_ | {key: [map_[key][step] for step in steps] for key in ("labels", "steps")}


def _missing(maps: Sequence[dict[str, Any]], kept: Mapping[int, dict[str, Any]]) -> str:
    gone = [f"'{map_['name']}'" for number, map_ in enumerate(maps) if number not in kept]
    words = [f"the map{'s' * (len(gone) > 1)} {', '.join(gone)}"] if gone else []
    for number, map_ in kept.items():
        many, less = len(maps[number]["steps"]), len(maps[number]["steps"]) - len(map_["steps"])
        words += [f"{less} of {many} steps of '{map_['name']}'"] if less else []
    return "; ".join(words)
