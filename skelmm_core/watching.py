"""Watching training: every few epochs, what the encoders have come to on a fixed part of the training clips.

A `Watch` is an `on_epoch` callback. It embeds the same clips in the same two augmented views each time, with random numbers of its own and
in eval mode, so the weights of a run are the same bit for bit with it and without it. Test clips are never looked at. What it measures
lies in the stage's folder as ``watch.jsonl``, one line of JSON per look.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from skelmm_core.batches import Batches, generator
from skelmm_core.encoder import Branches
from skelmm_core.errors import CheckpointError, SettingsError
from skelmm_core.evaluation import features, metrics
from skelmm_core.evaluation.diagnosis import COSINE, RANK, signs_of_failure
from skelmm_core.evaluation.knn import leave_one_out
from skelmm_core.files import replacing, unwritten

NAME = "watch.jsonl"
EVERY = 5  # epochs between two looks
MOST, FEWEST = 256, 16  # clips that are looked at
SHARE = 10  # an epoch costs four forward passes a clip and more, a look two: every / SHARE of the clips is less than 5 % of the time
STREAM = 16  # in the keys of own draws, beside the streams of `batches`
FRESH = "Encoders begin so; it must not stay so."
PER_BRANCH = ("positive", "negative", "alignment", "uniformity", "rank", "knn")
Record = dict[str, Any]


class Watch:
    """Measures the encoders that a training loop trains, after every `every` epochs and after the last one.

    Args:
        every: epochs between two looks, at least 1.
        subjects: (clips of the file,) performers, -1 unknown: nearest neighbours are then sought among other performers' clips.
        say: is given a line per look, and a warning when a branch has collapsed and when it ends so.
        most: clips looked at, at most; fewer where the training clips are few, so that looking costs below 5 % of the time.

    Attributes: records, of the stage in training, also those before an interruption. Each holds ``epoch``, ``lr``, ``clips``, ``chance``
    (percent of the clips that are of their most frequent class), ``clips_per_second`` in training, ``seconds_left``, ``watch_seconds``
    (that this look took), ``signs`` (sentences of `evaluation.diagnosis`) and per branch ``<what>/<branch>``, see `measure`.
    warnings: by branch, of the last look.

    Raises `SettingsError` for `every` below 1.
    """

    def __init__(self, every: int = EVERY, subjects: np.ndarray | None = None, say: Callable[[str], None] | None = None, most: int = MOST):
        if type(every) is not int or every < 1:
            raise SettingsError(f"a watch looks every 1, 2, ... epochs, found {every!r}; for none, leave the watch out")
        self.every, self.subjects, self.say, self.most = every, subjects, say or to_stderr, most
        self.records: list[Record] = []

    def begin(self, loop: Any, epoch: int) -> None:
        """Called by a `stages.loop.Loop` before its first step, with the epochs done; later records are of epochs that come again."""
        s, clips = loop.settings, loop.batches
        self.loop, self.stop = loop, loop.stop or loop.epochs
        self.warnings: dict[str, str] = {}
        self.path = loop.folder / NAME
        self.records = [record for record in read(loop.folder) if record["epoch"] <= epoch]
        self.spread = {name for record in self.records for name in names_of(record) if not any(f"'{name}'" in s for s in record["signs"])}
        if self.path.exists():
            with replacing(self.path, CheckpointError) as file:
                file.write("".join(map(_line, self.records)).encode())
        size = min(s.batch, len(clips))
        self.clips_per_epoch = len(clips) // size * size
        count = min(self.most, max(FEWEST, len(clips) * self.every // SHARE))
        device = clips.joints.device
        part = clips.select(torch.from_numpy(metrics.sample(len(clips), s.seed, count)).to(device))
        augment = s.augmentation(clips.skeleton)
        rngs = [generator(device, s.seed, STREAM, number) for number in range(2)]
        changed = [augment(part.joints, part.frames, rng) for rng in rngs]
        self.views = [dataclasses.replace(part, joints=joints, frames=frames) for joints, frames in changed]
        self.labels, self.groups = part.labels.cpu(), None
        if self.subjects is not None:
            groups = torch.as_tensor(np.asarray(self.subjects)[part.index.cpu().numpy()], dtype=torch.long)
            self.groups = groups if len(groups.unique()) > 1 else None
        self.chance = 100 * float(torch.bincount(self.labels).max()) / len(self.labels)

    def __call__(self, epoch: int, rows: Sequence[Mapping[str, float]]) -> None:
        if (epoch - self.loop.start) % self.every and epoch != self.stop:
            return
        began = time.monotonic()
        branches = branches_of(self.loop.model)
        found, signs = measure(branches, self.views, self.labels, self.groups, self.loop.settings.unit_axis, self.loop.fabric.autocast)
        took = time.monotonic() - began
        seconds = self.seconds_per_epoch(rows)
        record: Record = {
            "epoch": epoch, "lr": rows[-1]["lr"], "clips": len(self.labels), "chance": self.chance,
            "clips_per_second": self.clips_per_epoch / seconds if seconds else math.nan,
            "seconds_left": (self.stop - epoch) * (seconds + took / self.every), "watch_seconds": took, "signs": list(signs.values()),
            **found,
        }  # fmt: skip
        self.records.append(record)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_line(record))
        except OSError as problem:
            raise unwritten(self.path, problem, CheckpointError, "the last checkpoint is unharmed") from problem
        self.say(f"{self.loop.title}: {line(record, self.loop.epochs)}")
        self.spread |= set(branches) - set(signs)
        before = self.warnings
        excused = set() if epoch == self.stop else set(branches) - self.spread
        self.warnings = {name: f"{sign} {FRESH}" if name in excused else sign for name, sign in signs.items()}
        for name, warning in self.warnings.items():
            if name not in before or epoch == self.stop:
                self.say(f"{self.loop.title}: warning after epoch {epoch}: {warning}")

    def seconds_per_epoch(self, rows: Sequence[Mapping[str, float]]) -> float:
        """Mean over the epochs since the look before the last one."""
        recent = rows[-self.every :]
        return sum(row["seconds"] for row in recent) / len(recent)

    def seconds_left(self, epoch: int, rows: Sequence[Mapping[str, float]]) -> float:
        """What training still takes, looks included, if epochs go on taking what the last ones took."""
        look: float = self.records[-1]["watch_seconds"] / self.every if self.records else 0.0
        left: float = (self.stop - epoch) * (self.seconds_per_epoch(rows) + look)
        return left


def measure(
    branches: Branches,
    views: Sequence[Batches],
    labels: Tensor,
    groups: Tensor | None,
    unit_axis: bool,
    autocast: Callable[[], AbstractContextManager[object]],
) -> tuple[dict[str, float], dict[str, str]]:
    """Figures of N clips in two views, and by branch what `diagnosis` says of one that has collapsed.

    Per branch, of its unit embeddings u, v (N, D) of the two views (Wang & Isola, ICML 2020, arXiv 2005.10242):
    ``positive`` mean u_i.v_i; ``negative`` mean u_i.u_j over i != j; ``alignment`` mean |u_i - v_i|^2 (= 2 - 2 positive);
    ``uniformity`` log mean exp(-2 |u_i - u_j|^2) over i < j; ``rank`` the effective rank of u (Roy & Vetterli, EUSIPCO 2007), 1 to D.
    ``knn``: percent of clips whose nearest other one, by the mean of the unit features of both views, is of their class; clips of the same
    number in `groups` (N,) are no neighbours. NaN where there is but one clip.
    """
    pairs = [features.extract(branches, view, unit_axis, autocast=autocast) for view in views]
    figures: dict[str, dict[str, float]] = {what: {} for what in PER_BRANCH}
    signs: dict[str, str] = {}
    embedded = [features.embeddings(branches, pair) for pair in pairs]
    for name in branches:
        u, v = (e[name] for e in embedded)  # (N, D)
        one = {
            "positive": 1 - metrics.alignment(u, v) / 2, "negative": metrics.mean_cosine(u), "alignment": metrics.alignment(u, v),
            "uniformity": metrics.uniformity(u) if len(u) > 1 else math.nan, "rank": metrics.effective_rank(u), "knn": math.nan,
        }  # fmt: skip
        if len(u) > 1:
            both = torch.stack([torch.nn.functional.normalize(pair[name].double(), dim=1) for pair in pairs]).sum(0)
            one["knn"] = leave_one_out(both.cpu(), labels, groups=groups)
        for what, value in one.items():
            figures[what][name] = value
        if one["negative"] > COSINE or one["rank"] < RANK:
            signs[name] = signs_of_failure(clips=len(u), embeddings={name: u})[0]
    return {f"{what}/{name}": value for what, values in figures.items() for name, value in values.items()}, signs


def branches_of(model: torch.nn.Module) -> Branches:
    """The encoders that a stage's model trains by gradient: queries of stages 1 and 2, students of stage 3."""
    found = model.students if hasattr(model, "students") else model.query
    return cast(Branches, found)


def read(folder: Path) -> list[Record]:
    """Records of a stage's folder, in order; none where nobody watched. A last line that a killed run left unfinished is passed over."""
    records = []
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as problem:
        raise CheckpointError(f"can't read '{folder / NAME}' ({problem}); delete it, no other file needs it") from problem
    for number, text in enumerate(lines):
        try:
            record = {key: math.nan if value is None else value for key, value in json.loads(text).items()}
            float(record["epoch"])
            records.append(record)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            if number + 1 < len(lines):
                where = f"line {number + 1} of '{folder / NAME}'"
                raise CheckpointError(f"{where} is not a record of a watch ({problem}); delete the file, no other needs it") from problem
    return records


def _line(record: Record) -> str:
    plain = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()}
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"


def names_of(record: Mapping[str, Any]) -> list[str]:
    return [key.removeprefix("knn/") for key in record if key.startswith("knn/")]


def line(record: Mapping[str, Any], epochs: int) -> str:
    """A record in one line, without a full stop."""
    knn, rank = (_span(record, what, text) for what, text in (("knn", "{:.1f} %"), ("rank", "{:.1f}")))
    speed = f"{record['clips_per_second']:.0f} clips/s, about {duration(record['seconds_left'])} left"
    return f"epoch {record['epoch']}/{epochs}, kNN {knn}, effective rank {rank}, {speed}"


def _span(record: Mapping[str, Any], what: str, text: str) -> str:
    """``"41.0 % (joint) to 48.1 % (bone)"``, the smallest and the largest over the branches."""
    values = {name: record[f"{what}/{name}"] for name in names_of(record)}
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    told = [f"{text.format(values[name])} ({name})" for name in dict.fromkeys((low, high))]
    return " to ".join(told)


def duration(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3 h 05 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def summary(records: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """What was watched, in sentences made of its figures; "" where nothing was. seconds: that the epochs of these records took."""
    if not records:
        return ""
    first, last = records[0], records[-1]
    text = (
        f"{last['clips']} training clips were embedded {'once' if len(records) == 1 else f'{len(records)} times'} on the way, in two views "
        f"each, for {100 * sum(record['watch_seconds'] for record in records) / seconds:.1f} % of the time that the steps took. "
        f"After epoch {last['epoch']} the nearest neighbour is of the same class for {_span(last, 'knn', '{:.0f} %')} of them (of the most "
        f"frequent class are {last['chance']:.0f} %); their embeddings use {_span(last, 'rank', '{:.1f}')} directions, and log mean "
        f"exp(-2 d²) of their distances, the uniformity, is {_span(last, 'uniformity', '{:.2f}')}."
    )
    if len(records) > 1:
        mean = [np.mean([record[f"knn/{name}"] for name in names_of(last)]) for record in (first, last)]
        text += f" From epoch {first['epoch']} on, kNN went from {mean[0]:.1f} to {mean[1]:.1f} % on average."
    return " ".join([text, *(f"**{sign}**" for sign in last["signs"])])


def to_stderr(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


@contextmanager
def watched(exp: Any, every: int = EVERY) -> Iterator[Watch | None]:
    """A block in which the stages of an `Experiment` are watched, lines going to stderr; `every` = 0: as without the block."""
    if not every:
        yield None
        return
    before, exp.on_epoch = exp.on_epoch, Watch(every, exp.clips.subjects)
    try:
        yield exp.on_epoch
    finally:
        exp.on_epoch = before
