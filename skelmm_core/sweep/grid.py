"""A sweep as its author wrote it: a TOML file, checked, and the points of its grid."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skelmm_core import settings, toml_file
from skelmm_core.errors import SettingsError, nearest

EXAMPLE = Path(__file__).with_name("example.toml")
STAGES = ("untrained", "pretrain", "exchange", "distill")
TEXT, WHOLE = "a text", "a whole number above 0"
KEYS = {"data": TEXT, "out": TEXT, "preset": TEXT, "stage": TEXT, "device": TEXT, "smoke": "true or false", "notebooks": "a list of texts",
        "seeds": "a list of whole numbers from 0 on", "settings": "a table", "grid": "a table", "slurm": "a table"}  # fmt: skip
SLURM = {"partition": TEXT, "minutes": WHOLE, "gpus": "a whole number", "cpus": WHOLE, "memory": WHOLE, "parallel": WHOLE,
         "setup": "a list of texts", "extra": "a table"}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """What a file says; stage is "" where notebooks are given. settings, grid, slurm: the tables of those names."""

    data: str = "sample"
    out: str = "outputs/sweep"
    preset: str = "quick"
    stage: str = ""
    notebooks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    device: str = "auto"
    smoke: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    slurm: dict[str, Any] = field(default_factory=dict)

    @property
    def varying(self) -> tuple[str, ...]:
        return tuple(self.grid)

    @property
    def points(self) -> list[dict[str, Any]]:
        """What differs from job to job, seed and all, in the order in which it is written; seed by seed."""
        product = [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        return [{**point, "seed": seed} for seed in self.seeds for point in product]


def read(path: str | Path) -> Grid:
    """A grid from its TOML file. Raises `SettingsError` for a file that can't be read or is no TOML, a key that is not known (naming the
    nearest), a value of a wrong kind, and settings that the stage does not know or take."""
    found = toml_file.read(path, "grid", SettingsError, "`skelmm sweep --example` prints one")
    try:
        return _checked(found)
    except SettingsError as problem:
        raise SettingsError(f"grid '{path}': {problem}") from problem


def _checked(found: dict[str, Any]) -> Grid:
    _kinds(found, KEYS, "key")
    _kinds(found.get("slurm", {}), SLURM, "key of [slurm]")
    if ("stage" in found) == ("notebooks" in found):
        there = "both" if "stage" in found else "none of them"
        raise SettingsError(f"expected either stage (one of {', '.join(STAGES)}) or notebooks, found {there}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    values |= {k: os.path.expanduser(values[k]) for k in ("data", "out") if k in values}  # no shell has made ~ the home folder
    grid = Grid(**values)
    if grid.stage and grid.stage not in STAGES:
        raise SettingsError(f"unknown stage '{grid.stage}'{nearest(grid.stage, STAGES)}")
    _lists(grid)
    for name in ("seed", "data", "out", "preset", "device", "smoke"):
        if name in {**grid.settings, **grid.grid}:
            raise SettingsError(f"'{name}' has a key of its own, {'seeds' if name == 'seed' else name}, above the tables; put it there")
    if grid.stage:
        _same(grid)
    return grid


def _kinds(found: dict[str, Any], known: dict[str, str], what: str) -> None:
    for name, value in found.items():
        if name not in known:
            raise SettingsError(f"unknown {what} '{name}'{nearest(name, known)}")
        if not _fits(value, known[name]):
            raise SettingsError(f"{what} '{name}' must be {known[name]}, found {value!r}")


def _fits(value: Any, wanted: str) -> bool:
    whole = type(value) is int
    return {
        TEXT: isinstance(value, str) and "\0" not in value,
        WHOLE: whole and value > 0,
        "a whole number": whole and value >= 0,
        "true or false": isinstance(value, bool),
        "a table": isinstance(value, dict),
        "a list of texts": isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value),
        "a list of whole numbers from 0 on": isinstance(value, list) and bool(value) and all(type(v) is int and v >= 0 for v in value),
    }[wanted]


def _lists(grid: Grid) -> None:
    for name, values in {**grid.grid, "seeds": list(grid.seeds)}.items():
        where = f"[grid] {name}" if name in grid.grid else name
        if not isinstance(values, list) or not values:
            raise SettingsError(f"{where} must be a list of values, found {values!r}; what doesn't vary belongs in [settings]")
        odd = [v for v in values if not isinstance(v, str | int | float)]  # TOML knows dates and more
        if odd:
            raise SettingsError(f"{where} must list texts, numbers, true or false, found {odd[0]!r}")
        twice = [v for i, v in enumerate(values) if json.dumps(v) in map(json.dumps, values[:i])]
        if twice:
            raise SettingsError(f"{where} names {twice[0]!r} twice")
    both = [name for name in grid.grid if name in grid.settings]
    if both:
        raise SettingsError(f"'{both[0]}' stands in [grid] and in [settings]; it can't vary and be fixed")


def _same(grid: Grid) -> None:
    """Each point's settings are made once, so that a mistake in any of them is told at once; two that come to the same are one."""
    seen: dict[str, dict[str, Any]] = {}
    for point in grid.points:
        name = json.dumps(dataclasses.asdict(resolved(grid, point)), sort_keys=True)
        if name in seen:
            raise twice(seen[name], point)
        seen[name] = point


def kind(stage: str) -> str:
    """The stage whose settings a stage has."""
    return "pretrain" if stage == "untrained" else stage


def resolved(grid: Grid, point: dict[str, Any]) -> Any:
    """The settings of the grid's stage at a point, an "auto" left as it is: what it stands for is the job's machine's to say."""
    return settings.resolve(kind(grid.stage), grid.preset, grid.smoke, **grid.settings, **point)


def label(point: dict[str, Any]) -> str:
    """A point as people read it: ``lr=0.1 seed=0``."""
    return " ".join(f"{name}={value}" for name, value in point.items())


def twice(one: dict[str, Any], other: dict[str, Any]) -> SettingsError:
    """The error for two points that come to the same."""
    return SettingsError(f"{label(one)} and {label(other)} are the same settings, spelled in two ways; leave one out")
