"""Model cards: a Markdown file beside an exported file that says what it is, what it was made from and by, and what it can do.

`model.safetensors` has the card `model.safetensors.md`. The form is that of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019,
arXiv 1810.03993), with the YAML head that collections of models read. What comes from data, as titles and names of classes do, stands in it
by `_plain` or `_code`, so that it adds neither sections nor links, pictures or HTML.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skelmm_core import manifest
from skelmm_core.errors import CheckpointError
from skelmm_core.files import replacing
from skelmm_core.skeletons import Skeleton

HEAD = (
    "---\nlibrary_name: skelmm\nlicense: other\nlicense_name: terms-of-the-training-data\n"
    "tags: [skeleton-based-action-recognition, self-supervised]\n---\n"
)
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!<>|~&$]")


@dataclass(frozen=True)
class Facts:
    """What a card tells beyond the file itself.

    stage, role, streams: what was exported. skeleton: of the model. bodies: room for them. classes: names, () without classifiers.
    data: as in the file (`export.save`), with clips, train, test and generated. preset, smoke, changed: the recipe, the settings that
    differ from it. preparation: frames, smooth, trim, view. results: as `skelmm evaluate --json` prints them, None where they were not
    computed. command: words of the command line.
    """

    stage: str
    role: str
    streams: Sequence[str]
    skeleton: Skeleton
    bodies: int
    classes: Sequence[str]
    data: Mapping[str, Any]
    preset: str
    smoke: bool
    changed: Mapping[str, Any]
    preparation: Mapping[str, Any]
    results: Mapping[str, Any] | None
    command: Sequence[str]


def beside(path: str | Path) -> Path:
    """Where the card of a file lies."""
    return Path(f"{path}.md")


def refuse_foreign(path: str | Path) -> None:
    """Raise `CheckpointError` where the card of the file at `path` would be written over something that is none."""
    card = beside(path)
    if card.exists() and not (card.is_file() and card.read_bytes().startswith(HEAD.encode())):
        raise CheckpointError(f"'{card}', the place of the model card, is there already and is none; name another file, or move it away")


@contextmanager
def aside(path: str | Path) -> Iterator[None]:
    """While another file is written in the place of the one at `path`, its card is ``NAME.md.before``, and back where that fails.

    So a kill leaves no card of another file. Raises `CheckpointError` where it can't be moved.
    """
    refuse_foreign(path)
    card = beside(path)
    before = card.with_name(f"{card.name}.before")
    try:
        if card.exists():
            os.replace(card, before)
    except OSError as problem:
        raise CheckpointError(f"can't move '{card}' aside: {problem.strerror}; choose another folder") from problem
    try:
        yield
    except BaseException:
        with suppress(OSError):
            os.replace(before, card)
        raise
    before.unlink(missing_ok=True)


def write(path: str | Path, facts: Facts) -> Path:
    """Write the card of the file at `path`, which is there, and return the card's path. Raises `CheckpointError`."""
    path, card = Path(path), beside(path)
    refuse_foreign(path)
    with replacing(card, CheckpointError) as file:
        file.write(text(path.name, manifest.digest(path.read_bytes()), path.stat().st_size, facts).encode())
    return card


def text(name: str, sha256: str, size: int, facts: Facts) -> str:
    """The card of a file of that name, digest and size in bytes."""
    sections = {
        "Intended use": _use(name, facts), "Data": _data(facts), "Recipe": _recipe(facts), "Input and output": _input(name, facts),
        "Results": _results(facts), "Cost": _cost(facts, size), "Licence": _licence(facts), "Origin": _origin(name, sha256, facts),
    }  # fmt: skip
    body = "\n\n".join(f"## {title}\n\n{content}" for title, content in sections.items())
    warning = ""
    if facts.data["generated"]:
        warning = "> **Trained on generated motion**, which nobody performed: it shows that everything runs, and knows nobody.\n\n"
    return f"{HEAD}\n# {_plain(name)}: {_plain(facts.role)} of {_words(facts.streams)}\n\n{warning}{body}\n"


def portable(words: Iterable[str]) -> str:
    """A command line without the folders of this machine: of a path from the root on, its last part stays."""

    def word(text: str) -> str:
        option, equals, value = text.partition("=")
        if equals and os.path.isabs(value):
            return f"{option}={Path(value).name}"
        return Path(text).name if os.path.isabs(text) else text

    return shlex.join(word(w) for w in words)


def _use(name: str, facts: Facts) -> str:
    gives = "features of skeleton sequences" + (f" and one of {len(facts.classes)} classes" if facts.classes else "")
    lines = [
        f"Gives {gives}, on the CPU, for research. Not for decisions about people: it was tried on nothing but the test clips below, and "
        "other sensors, places, ages, bodies and actions may give quite other results."
    ]
    if facts.classes:
        lines += ["", f"```bash\nskelmm predict {shlex.quote(_line(name))} CLIPS\n```"]
    return "\n".join(lines)


def _data(facts: Facts) -> str:
    d = facts.data
    return _table({
        "title": _plain(d["title"]), "clips": f"{d['clips']}, sha256 of their content {_code(d['content'])}",
        "protocol": f"{_plain(d['protocol'])}: {d['train']} clips train, {d['test']} test",
        "frames per second": f"{d['frame_rate']:g}", "frames of a training clip": f"{d['median_frames']:g} (median)",
        "performed": "no: generated motion" if d["generated"] else "by the people of this data set",
    })  # fmt: skip


def _recipe(facts: Facts) -> str:
    toy = "Toy sizes (`--smoke`): the figures mean nothing. " if facts.smoke else ""
    same = "no setting differs from it." if not facts.changed else "settings that differ from it:"
    changed = "\n".join(f"- {_code(name)}: {_code(json.dumps(value))}" for name, value in facts.changed.items())
    return f"{toy}Stage {_code(facts.stage)}, preset {_code(facts.preset)}; {same}" + (f"\n\n{changed}" if changed else "")


def _input(name: str, facts: Facts) -> str:
    v, p = len(facts.skeleton), facts.preparation
    unit = "metres, y up" if facts.skeleton.dimensions == 3 else "x and y in image heights, y up, and a confidence"
    smooth = f"smoothed along time by {p['smooth']:g} frames, " if p["smooth"] else ""
    smooth += f"cut to what lies between {100 * p['trim']:g} and {100 - 100 * p['trim']:g} % of its way, " if p["trim"] else ""
    view = "every frame" if p["view"] == "frame" else "the whole clip"
    inside = "inside the file" if name.endswith(".onnx") else "by skelmm"
    gives = "features and logits" if facts.classes else "features"
    lines = [
        f"- in: clips (bodies, frames, {v}, 3), {unit}, bodies up to {facts.bodies}; a body that is absent is zeros",
        f"- prepared {inside}: {smooth}{view} moved to its centre joint and, in space, turned to face the camera, {p['frames']} frames",
        f"- modalities: {_words(facts.streams)}",
        f"- out: {gives}, those of streams averaged" if facts.classes else f"- out: {gives} of each stream",
        f"- skeleton {_code(facts.skeleton.name)}: {_numbered(facts.skeleton.joints)}",
    ]
    if facts.classes:
        lines.append(f"- classes: {_numbered(facts.classes)}")
    return "\n".join(lines)


def _results(facts: Facts) -> str:
    if facts.results is None:
        return "Not computed (`--no-metrics`)."
    (who, own), *others = facts.results["scores"].items()
    rows = [f"| {_words(facts.streams)}, fused ({_plain(own['fusion'])}) | {own['linear']:.1f} | {own['knn']:.1f} |"]
    if len(own["streams"]) > 1:
        rows += [f"| {_plain(stream)} alone | {found['linear']:.1f} | {found['knn']:.1f} |" for stream, found in own["streams"].items()]
    rows += [f"| {_plain(title)}, fused | {found['linear']:.1f} | {found['knn']:.1f} |" for title, found in others]
    rows.append(f"| raw coordinates, nearest training clip | | {facts.results['raw_1nn']:.1f} |")
    neighbours = facts.results["settings"]["neighbours"]
    signs = "".join(f"\n- sign of failure: {_plain(sign)}" for sign in facts.results["signs_of_failure"])
    return (
        f"Percent of the {own['clips']} test clips, one run with seed {facts.results['settings']['seed']}.\n\n"
        f"| frozen features | linear probe | {neighbours}-NN |\n|---|---|---|\n" + "\n".join(rows) + (f"\n{signs}" if signs else "")
    )


def _cost(facts: Facts, size: int) -> str:
    file = f"{size / 2**20:.1f} MiB"
    if facts.results is None:
        return f"{file}; not measured (`--no-metrics`)."
    c, machine = facts.results["cost"], manifest.hardware()
    return (
        f"{c['parameters'] / 1e6:.2f} million parameters, {c['gflops']:.2f} GFLOP a clip, {c['milliseconds']:.1f} ms a clip (one clip at a "
        f"time, one thread, {_plain(', '.join([machine['processor'], *machine['accelerators']]))}); {file}."
    )


def _licence(facts: Facts) -> str:
    terms = "generated by skelmm, under the same licence" if facts.data["generated"] else f"those of {_plain(facts.data['title'])}"
    return (
        "skelmm, the code, is under the MIT licence. Weights are made from data and bound by the data's own terms, which may forbid "
        f"passing them on or using them commercially; the data are {terms}."
    )


def _origin(name: str, sha256: str, facts: Facts) -> str:
    git = manifest.git()
    commit = f"{_code(git['commit'])}{'' if git['clean'] else ', with changes that are in no commit'}" if git else "not from a repository"
    return _table({
        f"sha256 of {_code(name)}": _code(sha256), "command": _code(portable(facts.command)), "commit": commit,
        "versions": _plain(", ".join(f"{library} {version}" for library, version in manifest.versions().items())),
    })  # fmt: skip


def _table(rows: Mapping[str, str]) -> str:
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def _line(text: str) -> str:
    """Text on one line: what can't be printed, line breaks among it, becomes a space, and several spaces one."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _plain(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\g<0>", _line(text))


def _code(text: str) -> str:
    """The same as code, but for text that would end the code or, in a table, the cell."""
    line = _line(text)
    return f"`{line}`" if line and not set(line) & set("`|\\") else _plain(line)


def _numbered(names: Sequence[str]) -> str:
    return ", ".join(f"{i} {_plain(name)}" for i, name in enumerate(names))


def _words(names: Sequence[str]) -> str:
    *most, last = map(_plain, names)
    return f"{', '.join(most)} and {last}" if most else last
