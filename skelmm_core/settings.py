"""Settings of every stage as frozen dataclasses, and the presets that fill them.

The classes form a chain, as the stages do: what evaluates also pretrains, what distils knows the teacher's settings. So a
later stage can always name (and, when it is missing, make) the earlier stage that it builds on. The defaults are the
paper's setting as described; `PRESETS` holds the differences of the others. Values are plain JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from dataclasses import dataclass
from typing import Any, cast

from skelmm_core import distillation, modalities, skeletons
from skelmm_core.augmentation import Augmentation
from skelmm_core.errors import SettingsError, nearest
from skelmm_core.readout import Readout

SIX = ",".join(modalities.NAMES)
EXCHANGES = ("none", "ekem", "ikem", "ekem+ikem", "cmd", "cmd+ikem")
CHOICES: dict[str, tuple[str, ...]] = {
    "view": ("frame", "clip"),
    "bodies": ("all", "present"),
    "initialisation": ("published", "scaled"),
    "schedule": ("step", "cosine"),
    "keys": ("all", "published"),
    "whiten_for": ("all", "neighbours"),
    "probe_fit": ("sgd", "ridge"),
    "probe_fusion": ("joint", "late"),
    "exchange": EXCHANGES,
    "distillation": tuple(distillation.LOSSES),
    "teacher_mode": ("eval", "train"),
    "precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
}  # fmt: skip
SETS = {"modalities": modalities.check_names, "students": modalities.check_streams}
POSITIVE = (
    "epochs", "student_epochs", "batch", "queue", "lr", "temperature", "hidden", "features", "embedding", "topk",
    "distillation_weight", "probe_epochs", "probe_lr", "probe_batch", "neighbours", "segments",
)  # fmt: skip
RANGES: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**32 - 1), "frames": (3, None), "levels": (1, 3), "smooth": (0, 100), "trim": (0, 0.4),
    "exchange_from": (0, 1), "lr_drop": (0, 1), "probe_lr_drop": (0, 1), "warmup": (0, 1), "dropout": (0, 0.95),
    "crop_min": (0.05, 1), "probe_ridge": (1e-12, 1e6), "whiten_shrink": (0, 1), "key_momentum": (0, 1), "sgd_momentum": (0, 1),
}  # fmt: skip  # other numbers: 0 or more


@dataclass(frozen=True)
class Evaluate:
    """Input and frozen-feature evaluation, shared by everything."""

    seed: int = 0  # decides all random draws of the run
    protocol: str = ""  # train/test split, by name or expression; "": the clips file's own
    skeleton: str = "native"  # joints to work on: "native" or the name of a skeleton to map to
    frames: int = 50  # T, frames that every clip is resampled to
    smooth: float = 0.0  # Gaussian smoothing along time before that: standard deviation in recorded frames; published: none
    trim: float = 0.0  # share of a clip's whole way cut off at each end, so that nobody stands and waits; published: none
    view: str = "frame"  # normalisation of place and heading: "frame" by frame, as published, or once per "clip"
    segments: int = 1  # parts of a clip's time over which frozen features are averaged, beside the whole; published: the whole alone
    regions: bool = False  # frozen features averaged over trunk and limbs, too, each by itself; published: no
    levels: int = 1  # frozen features are of: 1 the encoder's output, 2 and 3 blocks before its last and first stride, too; published: 1
    whiten: int = 0  # principal components of each stream's frozen features that are kept, all of one variance; 0: features as they are
    whiten_shrink: float = 0.0  # whitening: added to each component's variance before that is divided out, in shares of the largest
    whiten_for: str = "all"  # who gets them whitened: "all", or "neighbours" alone, and linear probes all directions as they are
    probe_fit: str = "sgd"  # linear probe: "sgd", as published, or "ridge", regression on the classes, which ends at its optimum
    probe_ridge: float = (
        1e-3  # linear probe by ridge: penalty of squared weights, in shares of the features' summed variance; views want less
    )
    probe_epochs: int = 100  # linear probe: passes over the training clips
    probe_lr: float = 3.0  # linear probe: SGD learning rate; large because features are small
    probe_lr_drop: float = 0.8  # linear probe: share of the epochs after which lr falls to a tenth
    probe_batch: int = 128  # linear probe: clips per step
    probe_views: int = 0  # linear probe: augmented versions of each training clip to learn from beside the clip; published: none
    probe_standardise: bool = False  # linear probe: bring every feature to mean 0, deviation 1 on the training clips first; published: no
    probe_fusion: str = "joint"  # headline fusion: "joint" trains streams together on mean logits, as published; "late" each alone
    neighbours: int = 1  # kNN: how many training clips vote

    def __post_init__(self) -> None:
        _check(self)

    @property
    def readout(self) -> Readout:
        return Readout(self.segments, self.regions, self.levels)

    @property
    def whiten_all(self) -> int:
        """Components that are kept for linear probes, too; 0: they get features as they are."""
        return self.whiten if self.whiten_for == "all" else 0


@dataclass(frozen=True)
class Pretrain(Evaluate):
    """Stage 1: every modality alone, momentum contrast."""

    modalities: str = SIX  # comma-separated names
    epochs: int = 300  # teacher epochs in all, stage 1 and stage 2 together
    exchange_from: float = 0.5  # share of the epochs after which stage 2 may take over; stage 1 keeps a checkpoint there
    snapshots: int = 0  # checkpoints kept on the way through stage 1 and through stage 2, evenly, for maps that show it; change no weight
    batch: int = 128  # clips per step
    queue: int = 32768  # K, negatives per branch
    key_momentum: float = 0.999  # how slowly key encoders follow; short runs need a lower one
    temperature: float = 0.07  # of all contrastive losses
    lr: float = 0.1  # SGD learning rate
    schedule: str = "step"  # "step": a tenth after lr_drop; "cosine": falls to 0
    lr_drop: float = 250 / 300  # share of the epochs after which lr falls to a tenth
    warmup: float = 0.0  # share of the epochs over which lr rises linearly
    sgd_momentum: float = 0.9  # of the optimiser
    weight_decay: float = 1e-4  # of the optimiser
    hidden: int = 16  # base channels of the encoder
    features: int = 256  # width of the pooled feature
    embedding: int = 128  # D, width of the embedding
    dropout: float = 0.5  # inside the encoder's blocks
    bodies: str = "all"  # "all": empty second bodies are encoded too, as published; "present": they never enter
    initialisation: str = "published"  # "published": N(0, 0.02); "scaled": N(0, 2 / fan_in)
    copy_key: bool = True  # key encoders start as copies of the query encoders; published: own random weights
    unit_axis: bool = True  # rotation axis as unit vector; published: raw cross product
    fresh_augmentation: bool = True  # new draws every epoch; published: the same draws again
    crop_shift: int = 8  # frames mirrored at both ends before a random window of T is cut
    crop_min: float = 1.0  # smallest share of the clip kept by a random window that is stretched back to T
    warp: float = 0.0  # uneven speed: spread of the logarithm of the speed within a clip; published: none
    limbs: float = 0.0  # bones of other lengths: spread of the logarithm of each length; published: none
    shear: float = 0.5  # off-diagonals of the shear matrix, uniform in +-
    yaw: float = 0.0  # random turn about the vertical, uniform in +- radians
    offset: float = 0.0  # constant displacement per joint, standard deviation in metres
    precision: str = "auto"  # "auto": bf16-mixed where the hardware multiplies it fast, else 32-true

    @property
    def names(self) -> tuple[str, ...]:
        return modalities.check_names(n.strip() for n in self.modalities.split(","))

    @property
    def exchange_epoch(self) -> int:
        """Number of stage-1 epochs before stage 2."""
        return max(1, round(self.epochs * self.exchange_from)) if self.epochs > 1 else 1

    def on_the_way(self, begin: int, end: int) -> tuple[int, ...]:
        """Epochs between two, evenly, after which a checkpoint is kept: `snapshots` of them, or as many as there are."""
        parts = self.snapshots + 1
        return tuple(sorted({begin + (end - begin) * k // parts for k in range(1, parts)} - {begin, end}))

    def augmentation(self, skeleton: skeletons.Skeleton) -> Augmentation:
        """The random changes of clips of this skeleton that training sees."""
        return Augmentation(self.crop_shift, self.crop_min, self.warp, self.limbs, self.shear, self.yaw, self.offset, skeleton.dimensions,
                            skeleton)  # fmt: skip


@dataclass(frozen=True)
class Exchange(Pretrain):
    """Stage 2: branches exchange what they know, from `exchange_from` on."""

    exchange: str = "ekem+ikem"  # none | ekem | ikem | ekem+ikem | cmd | cmd+ikem
    topk: int = 1  # positives mined per partner branch
    keys: str = "all"  # key encoders that follow in stage 2; "published": motion, acceleration, angular velocity only


@dataclass(frozen=True)
class Distill(Exchange):
    """Stage 3: distillation of the teacher into students."""

    students: str = "joint,motion,bone"  # modalities that students see; "joint+motion+bone": one student with nine input channels
    student_epochs: int = 150  # passes of stage 3
    distillation: str = "relational"  # loss of stage 3: relational | info_nce | seed | cmd | kd | rkd | sp | pkt | crd | cosine | fitnet
    distillation_weight: float = 1.0  # factor on that loss: a step size of stage 3 alone, since lr is the teacher's, too
    teacher_mode: str = "eval"  # published: "train", dropout on and BN statistics drifting
    slipped_queue: bool = False  # published: angular velocity is compared with the bone's queue

    @property
    def student_names(self) -> tuple[str, ...]:
        return modalities.check_streams(n.strip() for n in self.students.split(","))


STAGES: dict[str, type[Evaluate]] = {"evaluate": Evaluate, "pretrain": Pretrain, "exchange": Exchange, "distill": Distill}

PRESETS: dict[str, dict[str, Any]] = {
    "described": {},  # the paper's setting as its text and figures describe it
    "published": dict(  # the published code, its slips included (each is a switch of its own)
        copy_key=False, unit_axis=False, fresh_augmentation=False, keys="published", teacher_mode="train", slipped_queue=True,
        precision="32-true",
    ),
    # Hundreds of clips, hundreds of steps, two CPU cores. Chosen on UTD-MHAD's training subjects, one of them held out. The queue is
    # shorter than an epoch, so that few of its keys are the query's own clip; weaker (0.1) and stronger (0.4) shear with cropping were
    # worse. Smoothing and one turn per clip keep the sensor's noise out of differences, so 16 frames do as well as 32 at half the cost;
    # the raw cross product is longer where the axis is clearer, where the unit axis of a straight limb is noise.
    "small": dict(
        frames=16, smooth=4.0, view="clip", epochs=120, student_epochs=100, batch=64, queue=256, key_momentum=0.99, temperature=0.1,
        lr=0.05, schedule="cosine", features=128, dropout=0.0, bodies="present", initialisation="scaled", unit_axis=False, crop_shift=0,
        crop_min=0.8, shear=0.25, yaw=0.2, offset=0.02, probe_standardise=True, probe_fusion="late", snapshots=3,
    ),
}  # fmt: skip
PRESETS["quick"] = PRESETS["small"] | dict(epochs=16, student_epochs=16, features=64, embedding=64)  # minutes on a laptop; `make run`
# `small` with still ends cut off, which stood where somebody waits, now longer, now shorter; with uneven speed and other limbs among the
# augmentations, which is how other people differ; features of parts of the time and of the body beside those of the whole, of three levels
# of the encoder, whitened for nearest neighbours with weak components held down; and linear classifiers fitted to their end on seventeen
# versions of each training clip. Compared on UTD-MHAD's training subjects, each held out in turn (`benchmarks/held_out.py`).
PRESETS["best"] = PRESETS["small"] | dict(
    trim=0.1, warp=0.3, limbs=0.2, segments=4, regions=True, levels=3, whiten=320, whiten_shrink=0.003, whiten_for="neighbours",
    probe_fit="ridge", probe_ridge=1e-7, probe_views=16,
)  # fmt: skip
SMOKE: dict[str, Any] = dict(  # a few seconds per stage, to see that everything runs; the figures mean nothing
    frames=16, epochs=2, student_epochs=1, batch=32, queue=64, hidden=4, features=32, embedding=16, dropout=0.0, probe_epochs=20,
    precision="32-true", crop_shift=2,
)  # fmt: skip


def resolve(stage: str, preset: str = "described", smoke: bool = False, **overrides: Any) -> Any:
    """The settings of a stage: class defaults, then the preset, then smoke sizes, then `overrides` that are not None.

    Raises `SettingsError` for an unknown stage, preset or key (with the nearest one), a wrong type or a value out of range.
    """
    if stage not in STAGES:
        raise SettingsError(f"unknown stage '{stage}'{nearest(stage, STAGES)}")
    if preset not in PRESETS:
        raise SettingsError(f"unknown preset '{preset}'{nearest(preset, PRESETS)}")
    known = field_types(STAGES[stage])
    values = {k: v for k, v in {**PRESETS[preset], **(SMOKE if smoke else {})}.items() if k in known}
    given = {k: v for k, v in overrides.items() if v is not None}
    unknown = [k for k in given if k not in known]
    if unknown:
        raise SettingsError(f"unknown setting '{unknown[0]}' of stage '{stage}'{nearest(unknown[0], known)}")
    return STAGES[stage](**{**values, **given})


def field_types(kind: type) -> dict[str, type]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def narrow(settings: Evaluate, stage: str, **changes: Any) -> Any:
    """The same values as the settings of an earlier stage, e.g. the `Pretrain` inside a `Distill`."""
    kind = STAGES[stage]
    return kind(**{**{f.name: getattr(settings, f.name) for f in dataclasses.fields(kind)}, **changes})


def training_fields(settings: Evaluate) -> dict[str, Any]:
    """The fields that decide what a training stage's weights are: not those of evaluation or of what is kept, nor the protocol, whose
    split counts."""
    others = {f.name for f in dataclasses.fields(Evaluate)} - {"seed", "skeleton", "frames", "smooth", "trim", "view"} | {"snapshots"}
    return {k: v for k, v in dataclasses.asdict(settings).items() if k not in others}


def digest(*parts: Any) -> str:
    """Ten hexadecimal digits that stand for JSON-able values; names folders of results."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def _check(settings: Evaluate) -> None:
    for name, kind in field_types(type(settings)).items():
        value = getattr(settings, name)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
            object.__setattr__(settings, name, value)
        if type(value) is not kind:
            raise SettingsError(f"setting '{name}' must be {kind.__name__}, found {type(value).__name__} {value!r}")
        if name in CHOICES and value not in CHOICES[name]:
            hint = nearest(str(value), CHOICES[name])
            raise SettingsError(f"setting '{name}' must be one of {', '.join(CHOICES[name])}; found '{value}'{hint}")
        if kind in (int, float):
            _check_range(name, cast(float, value))
        if name in SETS:  # one spelling for one set, since results are found by it
            object.__setattr__(settings, name, ",".join(SETS[name](n.strip() for n in str(value).split(","))))
    object.__setattr__(settings, "skeleton", skeletons.spelled(settings.skeleton))  # a file's content, since results are found by it
    if isinstance(settings, Pretrain) and settings.crop_shift > settings.frames:
        raise SettingsError(f"setting 'crop_shift' must not be above frames={settings.frames}, found {settings.crop_shift}")
    if isinstance(settings, Exchange) and settings.topk > settings.queue:
        raise SettingsError(f"setting 'topk' must not be above queue={settings.queue}, found {settings.topk}")


def _check_range(name: str, value: float) -> None:
    low, high = RANGES.get(name, (0, None))
    inside = math.isfinite(value) and value >= low and (high is None or value <= high)
    if not inside or (name in POSITIVE and value <= 0):
        wanted = "above 0" if name in POSITIVE else f"{low} or more" if high is None else f"between {low} and {high}"
        raise SettingsError(f"setting '{name}' must be {wanted} and finite, found {value!r}")
