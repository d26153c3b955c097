"""A run as it is compared: its last stage, loaded by its manifest without training anything, with features scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from skelmm_core import checkpoints, manifest, settings
from skelmm_core.clips import Clips
from skelmm_core.encoder import Branches
from skelmm_core.errors import CheckpointError, DataError
from skelmm_core.evaluation import complexity
from skelmm_core.evaluation.calibration import Calibration, calibration
from skelmm_core.evaluation.complexity import Complexity
from skelmm_core.evaluation.scores import Scores
from skelmm_core.experiment import Experiment
from skelmm_core.files import read_json
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.distill import Distillation

ROLES = {"pretrain": "teacher, stage 1", "exchange": "teacher", "distill": "student"}  # what a stage gives, the last stage last
READ = {"stage": str, "path": str, "preset": str, "smoke": bool, "settings": dict, "changes": dict, "written": str, "data": dict}
ADVICE = "name a folder that `skelmm run` or `skelmm train` wrote, or one stage in it, stages/NAME"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A stage and its scores. told: its manifest; epochs: that it trained; others: stages of the same kind in its run."""

    name: str
    folder: Path
    told: Mapping[str, Any]
    epochs: int
    others: int
    clips: Clips
    test: np.ndarray  # (N,) numbers of the test clips in the file
    protocol: str
    scores: Scores
    cost: Complexity
    letter: str = ""  # by which a page of several runs calls it

    @property
    def stage(self) -> str:
        return str(self.told["stage"])

    @property
    def role(self) -> str:
        return ROLES[self.stage]

    @cached_property
    def calibration(self) -> Calibration:
        return calibration(self.scores.linear.logits, self.scores.linear.labels)

    @property
    def right(self) -> np.ndarray:
        """(N,) whether the fused linear probe is right."""
        return np.asarray(self.scores.linear.predictions == self.scores.linear.labels)

    def differs_from(self, other: Loaded) -> str:
        """Why the test clips are not those of another run, or ""."""
        if self.clips.content != other.clips.content:
            return f"its clips are others ({self.clips.title}, content {self.clips.content[:12]} instead of {other.clips.content[:12]})"
        if not np.array_equal(self.test, other.test):
            return f"its protocol is {self.protocol} ({len(self.test)} test clips) instead of {other.protocol} ({len(other.test)})"
        return ""


def load(run: str | Path, name: str = "", device: str = "auto") -> Loaded:
    """The last stage of a run, or the stage whose folder `run` is; features are computed in float32.

    Raises `DataError` for a folder without a stage, one that isn't finished, and clips that are gone or others now; `CheckpointError` for
    weights that are torn or not those that the manifest tells of.
    """
    folder, told, others = find(run)
    stage, changes = told["stage"], told.get("changes", {})
    exp = experiment(folder, told, device)
    s = settings.narrow(exp.settings, stage, **changes)
    saved = checkpoints.newest(folder / "last.pt")
    epochs = _epochs(folder, stage, s, saved[1] if saved else None)
    assert saved is not None, "_epochs told where there is none"
    if saved[1]["identity"] != told["identity"]:
        raise CheckpointError(f"{saved[0]} was made with other settings or data than its {manifest.NAME} tells; train that stage again")
    branches = _branches(exp, stage, s, saved)
    scores = exp.score(branches)
    cost = complexity.measure(branches, len(exp.clips.class_names), s.frames, exp.train.joints.shape[-1])
    return Loaded(
        name or Path(run).resolve().name, folder, told, epochs, others, exp.clips, np.asarray(exp.split.test), exp.split.name, scores, cost
    )


def find(run: str | Path) -> tuple[Path, dict[str, Any], int]:
    """Folder and manifest of the stage that stands for a run, and how many others of that kind lie beside it.

    A student comes before a teacher; of several, one with the settings of the run or of its notebooks, else one that was not trained for
    the grid of ablations alone, else the one begun last.
    """
    run = Path(run)
    own = _manifest(run)
    if own.get("stage") in ROLES:
        return run, own, 0
    found = [(path.parent, told) for path in sorted(run.glob(f"stages/*/{manifest.NAME}")) if (told := _manifest(path.parent)).get("stage")]
    if not found:
        raise DataError(f"'{run}' holds no stage{'' if run.is_dir() else ' (there is no such folder)'}; {ADVICE}")
    last = max((told["stage"] for _, told in found), key=list(ROLES).index)
    same = [(folder, told) for folder, told in found if told["stage"] == last]
    grid, asked = _only_of_the_grid(run), [own.get("settings"), *_settings_of_notebooks(run)]

    def rank(one: tuple[Path, dict[str, Any]]) -> tuple[Any, ...]:
        folder, told = one
        return not told.get("changes"), told["settings"] in asked, folder.name not in grid, told["written"], folder.name

    folder, told = max(same, key=rank)
    return folder, told, len(same) - 1


def _settings_of_notebooks(run: Path) -> list[Any]:
    """The settings that a run's notebooks were given: of the cells of a grid they are the recipe's, which nothing was turned in."""
    return [told.get("settings") for path in sorted(run.glob(f"*/{manifest.NAME}")) if (told := _manifest(path.parent))]


def _only_of_the_grid(run: Path) -> set[str]:
    """Names of the stages that finished cells of `skelmm ablate` or notebook 06 measured, and no other notebook of the run told of: the
    recipe's own stages are cells, too, and only the notebooks that made them say so."""
    told = "".join(path.read_text(errors="replace") for path in run.glob("*/metrics.json") if path.parent.name != "06_ablations")
    return {name for path in run.glob("ablations/cell-*.json") if (name := _folder_of(path)) and name not in told}


def _folder_of(cell: Path) -> str:
    return str((read_json(cell) or {}).get("folder", ""))  # nothing of a torn one, which the grid computes anew


def experiment(folder: Path, told: Mapping[str, Any], device: str = "auto") -> Experiment:
    """Data and settings of a stage, as its manifest tells them; in float32, since nothing is trained."""
    out = folder.resolve().parent.parent if folder.resolve().parent.name == "stages" else folder
    exp = Experiment(told["path"], out, told["preset"], device, told["smoke"], **told["settings"] | {"precision": "32-true"})
    if exp.clips.content != told["data"]["content"]:
        raise DataError(
            f"'{exp.clips.path}' holds other clips than '{folder}' was trained with (content {exp.clips.content[:12]} instead of "
            f"{told['data']['content'][:12]}); put them back"
        )
    return exp


def names_of(runs: Sequence[str | Path]) -> list[str]:
    """The shortest ends of the runs' paths that tell them apart; the same run named twice has the same name."""
    parts = [Path(run).resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / manifest.NAME
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text())
        if "stage" in told:
            _check({"changes": {}} | told)
        return told if told.get("stage") in (None, *ROLES) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise DataError(f"'{path}' can't be read as the manifest of a run or stage ({problem!r}); {ADVICE}") from problem


def _check(told: Mapping[str, Any]) -> None:
    """Raises `KeyError` and `ValueError` for a stage's manifest that lacks something that is read of it, or has another kind of it."""
    told["identity"]
    for name, kind in READ.items():
        if not isinstance(told[name], kind):
            raise ValueError(f"'{name}' is not what a run writes")
    if not isinstance(told["data"]["content"], str):
        raise ValueError("'data.content' is not what a run writes")
    unknown = told["changes"].keys() - settings.field_types(settings.STAGES.get(told["stage"], settings.Distill)).keys()
    if unknown:
        raise ValueError(f"the stage {told['stage']} knows no setting '{min(unknown)}'")


def _epochs(folder: Path, stage: str, s: Any, saved: Mapping[str, Any] | None) -> int:
    """Epochs that a finished stage trained. Stage 1 may have ended where stage 2 took over."""
    ends = {"pretrain": (s.epochs, getattr(s, "exchange_epoch", 0)), "exchange": (s.epochs,), "distill": (getattr(s, "student_epochs", 0),)}
    done = saved["epoch"] if saved else 0
    if not saved or saved.get("steps") is not None or done not in ends[stage]:
        raise DataError(
            f"'{folder}' is not finished: {done} of {ends[stage][0]} epochs; give the command that trains it again, it goes on from there, "
            "or name another stage, stages/NAME"
        )
    return done


def _branches(exp: Experiment, stage: str, s: Any, saved: tuple[Path, Mapping[str, Any]]) -> Branches:
    """Encoders with the weights of a checkpoint: the teacher's query encoders, or the students."""
    path, content = saved
    model = Distillation(s, exp.train.skeleton, exp.untrained()) if stage == "distill" else Contrast(s, exp.train.skeleton)
    checkpoints.load_weights(model, content["model"], str(path))
    return cast(Branches, model.students if stage == "distill" else model.query)
