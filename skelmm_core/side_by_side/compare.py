"""What tells runs apart: settings, accuracies by class and subject, and the clips on which they disagree. Arrays in, arrays out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from skelmm_core.evaluation.metrics import Mistake, most_confused
from skelmm_core.settings import Evaluate
from skelmm_core.side_by_side.load import Loaded


class Subject(NamedTuple):
    """A performer of test clips, how many, and the percent of them that is right."""

    number: int
    clips: int
    accuracy: float


class Pair(NamedTuple):
    """A clip that was taken for another class, and one of that class that was recognised (None where there is none): rows of the test
    part."""

    mistake: Mistake
    wrong: int
    model: int | None


def comparable(runs: Sequence[Loaded]) -> tuple[list[Loaded], dict[str, str]]:
    """The runs with the first one's test clips, itself among them, and why each of the others is not."""
    reasons = {run.name: run.differs_from(runs[0]) for run in runs}
    return [run for run in runs if not reasons[run.name]], {name: reason for name, reason in reasons.items() if reason}


def differences(runs: Sequence[Loaded]) -> list[tuple[str, list[Any]]]:
    """What was not the same in all runs: name and value in each, None where a run has no such thing. Of one run: all of it."""
    facts = [dict(_facts(run)) for run in runs]
    names = dict.fromkeys(name for found in facts for name in found)
    rows = [(name, [found.get(name) for found in facts]) for name in names]
    return [(name, values) for name, values in rows if len(runs) == 1 or any(v != values[0] for v in values)]


def _facts(run: Loaded) -> Iterator[tuple[str, Any]]:
    told = run.told
    yield "stage", run.stage
    yield "epochs trained", run.epochs
    evaluation = {f.name for f in dataclasses.fields(Evaluate)} - {"protocol"}
    known = {name: value for name, value in told["settings"].items() if name in evaluation}
    yield from (known | told["identity"]["settings"]).items()
    yield "builds on", told["identity"].get("parent")
    yield "data", run.clips.title
    yield "data (content)", run.clips.content[:12]
    yield "protocol", run.protocol
    yield "clips that train", told["data"]["train"]
    yield "clips that test", len(run.test)
    git = told.get("git") or {}
    yield "commit", f"{git['commit'][:12]}{'' if git.get('clean') else ', changed'}" if git.get("commit") else None
    yield from ((f"version of {name}", version) for name, version in (told.get("versions") or {}).items())
    yield "trained on", told.get("device")


def disagreements(runs: Sequence[Loaded]) -> np.ndarray:
    """(n,) rows of the test part for which the runs don't all say the same; first those that some have right and some wrong."""
    said = np.stack([run.scores.linear.predictions for run in runs])  # (R, N)
    right = np.stack([run.right for run in runs])
    rows = np.flatnonzero((said != said[0]).any(axis=0))
    divided = right[:, rows].any(axis=0)
    return rows[np.argsort(~divided, kind="stable")]


def by_subject(run: Loaded) -> list[Subject]:
    """Performers of the test clips, the hardest first; those that are not known are left out."""
    who = np.asarray(run.clips.subjects)[run.test]
    found = [(int(number), run.right[who == number]) for number in np.unique(who[who >= 0])]
    subjects = [Subject(number, len(right), 100.0 * float(right.mean())) for number, right in found]
    return sorted(subjects, key=lambda s: (s.accuracy, s.number))


def worst_pairs(run: Loaded, count: int) -> list[Pair]:
    """The most confused classes, each with the clip that the probe was surest about, and the surest one of the class it was taken for."""
    probe = run.scores.linear
    margin = np.sort(probe.logits, axis=1)[:, -1] - probe.logits.mean(axis=1)  # (N,)
    pairs = []
    for mistake in most_confused(probe.confusion, count):
        wrong = np.flatnonzero((probe.labels == mistake.truth) & (probe.predictions == mistake.prediction))
        good = np.flatnonzero((probe.labels == mistake.prediction) & run.right)
        pairs.append(Pair(mistake, int(wrong[margin[wrong].argmax()]), int(good[margin[good].argmax()]) if len(good) else None))
    return pairs
