"""`skelmm evaluate ... --measure linear,knn,...`: the options, and one table of a stage's or a file's encoders beside their references."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

from tyro.conf import UseAppendAction, arg

from skelmm_core import manifest, settings, skeletons
from skelmm_core.comparison import REFERENCES, Row, compare, data, table, weights_digest, with_references
from skelmm_core.encoder import Branches
from skelmm_core.errors import SettingsError, nearest
from skelmm_core.evaluation import fewshot, recipes, transfer
from skelmm_core.experiment import Experiment
from skelmm_core.parameters import pairs

_MEASURE = (
    f"compare by these, comma-separated, and with references: {', '.join(recipes.RECIPES)}; empty: linear probe and nearest neighbours "
    "by stream, with signs of failure"
)
_SEEDS = "comma-separated, with --measure: each trains its own encoders (those of a file stay), mean ± deviation; empty: --seed"
_TRANSFER = "clips file on whose train/test split the encoders are evaluated instead, its joints mapped to theirs; implies --measure"
_REFERENCES = "of --measure: untrained encoders, raw coordinates, encoders trained from scratch with labels"
_CHANGES = "a setting of a recipe, e.g. -p finetune.epochs=10 or -p semi.draws=2; may be repeated"
OPTIONS: list[tuple[Any, ...]] = [
    ("measure", Annotated[str, arg(help=_MEASURE)], dataclasses.field(default="")),
    ("seeds", Annotated[str, arg(help=_SEEDS)], dataclasses.field(default="")),
    ("references", Annotated[str, arg(help=_REFERENCES)], dataclasses.field(default=",".join(REFERENCES))),
    ("transfer", Annotated[str, arg(help=_TRANSFER)], dataclasses.field(default="")),
    ("transfer_protocol", Annotated[str, arg(help="split of --transfer's clips; empty: the file's own")], dataclasses.field(default="")),
    (
        "changes",
        Annotated[tuple[str, ...], arg(name="parameter", aliases=("-p",), metavar="NAME=VALUE", help=_CHANGES), UseAppendAction],
        dataclasses.field(default=()),
    ),
]


def wanted(options: Any) -> bool:
    """Whether the command line asks for a comparison. Raises `SettingsError` for options that only a comparison understands."""
    alone = [name for name in ("seeds", "changes", "transfer_protocol") if getattr(options, name)]
    if options.measure or options.transfer:
        return True
    if alone:
        option = alone[0].replace("changes", "parameter").replace("_", "-")
        raise SettingsError(f"--{option} goes with --measure, as in --measure linear,knn")
    return False


def check_protocol(protocol: str) -> None:
    """Raises `SettingsError` where --protocol, which divides the clips, names ways of evaluating."""
    words = [word.strip() for word in protocol.split(",") if word.strip()]
    if words and all(word in recipes.RECIPES for word in words):
        raise SettingsError(f"--protocol says which clips train and test; ways of evaluating are named by --measure {','.join(words)}")


def run(
    exp: Experiment, name: str, branches_of: Callable[[Experiment], Branches], options: Any, argv: Sequence[str], origin: str = ""
) -> tuple[Path, list[Row]]:
    """Compute what is not there yet, print the table (or all as JSON) and write both beside the stages, in ``<out>/evaluations``.

    name: of the stage or file. branches_of: gives the encoders of an experiment. argv: the command line, for the record. origin: title of
    the clips that encoders of a file were trained on. Returns the file with the rows, and them.
    """
    chosen = recipes.resolve(_words(options.measure) or ["linear", "knn"], pairs(options.changes), exp.smoke)
    supervised = cast(recipes.Finetune, chosen.get("finetune") or recipes.resolve(["finetune"], smoke=exp.smoke)["finetune"])
    references, seeds = _references(options.references), _seeds(options.seeds) or [exp.settings.seed]
    other = exp.again(data=options.transfer, protocol=options.transfer_protocol) if options.transfer else None
    place = other or exp
    if other and other.split and not origin:  # these before anything is trained
        skeletons.mapping(other.clips.skeleton, exp.train.skeleton)
    if any(recipe.kind == "ntu120" for recipe in chosen.values()):
        fewshot.ntu120_places((other or exp).clips.names)
    store, computed = exp.out / "evaluations", 0
    rows: list[Row] = []
    for seed in seeds:
        own = exp if seed == exp.settings.seed else exp.again(seed=seed)
        branches = branches_of(own)
        if other and place is other:
            place = moved(other, branches)
        place = (place if place.settings.seed == seed else place.again(seed=seed)) if other else own
        found = with_references(place, name, branches, references, supervised, store)
        if rows:  # raw coordinates know no seed
            found = [subject for subject in found if subject.role != "raw"]
        more, count = compare(found, chosen, store)
        rows, computed = rows + more, computed + count
    if not rows:
        raise SettingsError(f"nothing to compare: none of {', '.join(chosen)} makes sense for '{name}' and its references")
    opening = _opening(place, branches, (origin or exp.clips.title) if other else "")
    summaries = table.summary(rows)
    decided: list[Any] = [data(place), {n: recipes.described(r) for n, r in chosen.items()}, recipes.described(supervised)]
    told: dict[str, Any] = {
        "command": f"skelmm evaluate {shlex.join(argv)}", "title": place.clips.title, "opening": opening, "data": decided[0],
        "settings": dataclasses.asdict(place.settings), "recipes": decided[1], "supervised": decided[2], "seeds": seeds,
        "summary": summaries, "code": manifest.code(), "git": manifest.git(), "hardware": manifest.hardware(),
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    decided += [told["settings"] | {"seed": 0}, references, seeds, weights_digest(branches)]
    file = store / f"{name.removesuffix('.safetensors')}-{settings.digest(decided)}.json"
    table.write(file, rows, told)
    if options.json:
        print(json.dumps({**told, "rows": [row._asdict() for row in rows]}, indent=1))
        return file, rows
    print(
        "\n".join(
            [*opening, table.text(summaries, len(place.split.train)), f"{file}, and .csv; {computed} parts computed, the others found"]
        )
    )
    return file, rows


def moved(place: Experiment, branches: Branches) -> Experiment:
    """An experiment on clips of another skeleton, which are mapped to that of the encoders."""
    place = place.again(data=place.data, skeleton=transfer.spelled(next(iter(branches.values())).skeleton))
    place.check("evaluate")
    return place


def _opening(place: Experiment, branches: Branches, origin: str) -> list[str]:
    """What is compared on which clips, and, of a transfer, what the mapping does. origin: title of the encoders' own clips, if others."""
    split = place.split
    lines = [f"{place.clips.title}, protocol {split.name}: {len(split.train)} clips train, {len(split.test)} test; {', '.join(branches)}"]
    if origin:
        lines += [f"encoders trained on: {origin}", *transfer.mapped(place.clips.skeleton, next(iter(branches.values())).skeleton)]
    return lines


def _references(text: str) -> list[str]:
    for word in _words(text):
        if word not in REFERENCES:
            raise SettingsError(f"unknown reference '{word}'{nearest(word, REFERENCES)}")
    return _words(text)


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _seeds(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError as problem:
        raise SettingsError(f"--seeds must be whole numbers, as in 0,1,2, found '{text}'") from problem
