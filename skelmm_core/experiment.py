"""One experiment: a data set, a protocol and settings, and everything that is made from them, made when first asked for.

Each stage's result lives in a folder named after what decides it, ``<out>/stages/<stage>-<digest>``: settings, data and
the stage that it builds on. A finished stage is found again, an interrupted one goes on, and nothing is ever overwritten
by a run with other settings. Where several processes share the work (see `processes`) all call the same methods, and the first one writes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric

from skelmm_core import batches, checkpoints, clips, manifest, memory, modalities, processes, protocols, settings, skeletons
from skelmm_core.batches import Batches
from skelmm_core.distillation import IN_BATCH
from skelmm_core.encoder import Branches
from skelmm_core.errors import SettingsError
from skelmm_core.evaluation import features
from skelmm_core.evaluation.linear import lighter
from skelmm_core.evaluation.scores import Scores, score
from skelmm_core.evaluation.views import Viewed
from skelmm_core.evaluation.whitening import whitened
from skelmm_core.files import replacing
from skelmm_core.launch import launched
from skelmm_core.readout import WHOLE, Readout
from skelmm_core.settings import Distill
from skelmm_core.stages.contrast import Contrast, encoders, shape_of, take_over
from skelmm_core.stages.distill import Distillation
from skelmm_core.stages.loop import Loop, Row
from skelmm_core.stages.step import Model

SAMPLE = "sample"


@dataclass(frozen=True)
class Trained:
    """A finished stage: its model, one log row per epoch, its folder, whether it was found rather than trained now, and the digests
    of the training code that had a part in it or in the stages that it builds on (`manifest.training_code`)."""

    model: Model
    rows: list[Row]
    folder: Path
    found: bool
    code: frozenset[str]

    @property
    def seconds(self) -> float:
        return sum(row["seconds"] for row in self.rows)

    @property
    def by_other_code(self) -> bool:
        """Whether other training code than today's had a part in it."""
        return self.code != {manifest.training_code()}


class Experiment:
    """Data, settings and stages under one output folder.

    Args:
        data: a clips file, or ``"sample"`` for the built-in generated motion (made in `out` when it is not there).
        out: folder for everything that is made.
        preset, smoke, overrides: as in `settings.resolve("distill", ...)`; overrides that are None count as not given. A precision of
            "auto" is resolved here, so that `settings` and the stages' folders tell in which one was trained.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        on_step, on_epoch: callbacks of the training loops, for live plots.
    """

    def __init__(self, data: str | Path = SAMPLE, out: str | Path = "outputs/run", preset: str = "described", device: str = "auto",
                 smoke: bool = False, on_step: Callable[[Row], None] | None = None,
                 on_epoch: Callable[[int, list[Row]], None] | None = None, **overrides: Any):  # fmt: skip
        if not isinstance(smoke, bool):
            raise SettingsError(f"smoke must be True or False, found {type(smoke).__name__} {smoke!r}")
        self.data, self.out, self.preset, self.smoke = str(data), Path(out), preset, smoke
        given: Distill = settings.resolve("distill", preset, smoke, **overrides)
        device = choose_device(device)
        self.settings = dataclasses.replace(given, precision=choose_precision(device, given.precision))
        self.fabric = make_fabric(device, self.settings.precision)
        self.on_step, self.on_epoch = on_step, on_epoch
        self.by_other_code: list[Path] = []  # folders of stages that another version of the code had a part in

    def again(self, data: str | Path | None = None, **changes: Any) -> Experiment:
        """The same experiment with other clips or settings; clips that are loaded are shared, unless what is changed decides them."""
        same: dict[str, Any] = dict(preset=self.preset, device=str(self.fabric.device), smoke=self.smoke, on_step=self.on_step,
                                    on_epoch=self.on_epoch)  # fmt: skip
        other = Experiment(data or self.data, self.out, **same, **(dataclasses.asdict(self.settings) | changes))
        if data is None and not set(changes) & {"protocol", "skeleton", "frames", "smooth", "trim", "view"}:
            other.__dict__.update({name: self.__dict__[name] for name in ("clips", "split", "train", "test") if name in self.__dict__})
        return other

    @cached_property
    def clips(self) -> clips.Clips:
        return clips.open_clips(self._sample() if self.data == SAMPLE else self.data)

    @cached_property
    def split(self) -> protocols.Split:
        return protocols.split(self.clips, self.settings.protocol)

    @cached_property
    def train(self) -> Batches:
        return self._load(self.split.train)

    @cached_property
    def test(self) -> Batches:
        return self._load(self.split.test)

    @property
    def chance(self) -> float:
        """Percent of the test clips that are of their most frequent class: what knowing nothing gives."""
        counts = torch.bincount(self.test.labels)
        return 100.0 * float(counts.max() / counts.sum())

    def check(self, stage: str = "pretrain") -> None:
        """Raises for data, a protocol, a skeleton or settings that `stage` (with those before it) can't use, before anything is trained."""
        skeleton = self.clips.skeleton
        if self.settings.skeleton != "native":
            skeleton = skeletons.get(self.settings.skeleton)
            skeletons.mapping(self.clips.skeleton, skeleton)
        if stage != "evaluate":  # which trains nothing
            modalities.check_meaning(self.settings.names, skeleton)
        protocols.split(self.clips, self.settings.protocol)
        if stage in ("exchange", "distill"):
            _check_exchange(self.settings)
        if stage == "distill":
            self._check_students()

    def _check_students(self) -> None:
        s = self.settings
        unseen = [name for name in modalities.parts_of(s.student_names) if name not in s.names]
        if unseen:
            raise SettingsError(f"students={s.students} asks for {', '.join(unseen)}, which the teacher's modalities={s.modalities} lack")
        if self.fabric.world_size > 1 and s.distillation in IN_BATCH:
            raise SettingsError(
                f"distillation={s.distillation} compares the clips of a batch with each other, of which {self.fabric.world_size} processes "
                "have a share each: start one process, or choose another distillation"
            )

    def pretrain(self, until: int | None = None) -> Trained:
        """Stage 1: each modality alone; `until` stops after so many epochs."""
        s = settings.narrow(self.settings, "pretrain")
        keep = (*s.on_the_way(0, s.exchange_epoch), s.exchange_epoch)
        return self._stage("pretrain", s, lambda: Contrast(s, self.train.skeleton), s.epochs, stop=until, keep=keep)

    def exchange(self, **changes: Any) -> Trained:
        """Stage 2, from stage 1's checkpoint at `exchange_epoch` on; `changes` to the settings, e.g. ``modalities="joint,bone"``."""
        s = settings.narrow(self.settings, "exchange", **changes)
        _check_exchange(s)
        parent = self.pretrain_folder() / f"epoch-{s.exchange_epoch:04d}.pt"
        saved = processes.first_makes(self.fabric, lambda: checkpoints.taken(parent))
        if saved is None:
            self.pretrain(until=s.exchange_epoch)
            saved = processes.first_makes(self.fabric, lambda: checkpoints.load(parent))
        momentum: dict[str, torch.Tensor] = {}
        code: set[str] = set()

        def build() -> Contrast:
            model = Contrast(s, self.train.skeleton)
            take_over(model, saved["model"], self.settings.names)
            momentum.update(saved["momentum"])
            code.update(saved.get("code", ["unknown"]))
            return model

        call = {"exchange": s.exchange}
        identity = {"parent": self.pretrain_folder().name}
        return self._stage("exchange", s, build, s.epochs, start=s.exchange_epoch, keep=s.on_the_way(s.exchange_epoch, s.epochs), call=call,
                           momentum=momentum, identity=identity, code=code, changes=changes)  # fmt: skip

    def distill(self) -> Trained:
        """Stage 3: students from the teacher that `exchange()` gives."""
        s = self.settings
        self._check_students()
        teacher = self.exchange()
        model = cast(Contrast, teacher.model)
        return self._stage("distill", s, lambda: Distillation(s, self.train.skeleton, model.query), s.student_epochs,
                           identity={"parent": teacher.folder.name}, code=teacher.code)  # fmt: skip

    def untrained(self, streams: Iterable[str] | None = None) -> Branches:
        """The query encoders as stage 1 starts them (of the modalities, or of other streams): what every trained result must beat."""
        s, names = self.settings, self.settings.names if streams is None else tuple(streams)
        return encoders(s, self.train.skeleton, names, "query", shape_of(s)).to(self.fabric.device)

    def features(self, branches: Branches) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Frozen features of train and test clips in float32, name -> (N, F) on the CPU, read out as `segments`, `regions`, `levels`
        and `whiten` say; for neighbours alone they are whitened later (`evaluation.whitening.for_neighbours`).

        Those of the training clips have `probe_views` augmented versions with them (`evaluation.views`)."""
        s = self.settings
        return whitened(self.labelled(branches), self.extracted(branches, self.test, s.readout), s.whiten_all, s.whiten_shrink)

    def labelled(self, branches: Branches) -> dict[str, torch.Tensor]:
        """Frozen features of the training clips before whitening, and of their `probe_views` augmented versions with them."""
        s, train = self.settings, self.train
        own = self.extracted(branches, train, s.readout)
        if not s.probe_views:
            return own
        augment = s.augmentation(train.skeleton)
        views = []
        for number in range(s.probe_views):
            rng = batches.generator(train.joints.device, s.seed, zlib.crc32(b"probe view"), number)
            with memory.enough(f"versions of {len(train)} training clips on {train.joints.device}", "set probe_views=0, or lower frames"):
                joints, frames = augment(train.joints, train.frames, rng)
            views.append(self.extracted(branches, dataclasses.replace(train, joints=joints, frames=frames), s.readout))
        return Viewed(own, views)

    def embeddings(self, branches: Branches) -> dict[str, torch.Tensor]:
        """What the projection heads make of the test clips, name -> (N, D) on the CPU."""
        return features.embeddings(branches, self.extracted(branches, self.test))

    def extracted(self, branches: Branches, part: Batches, read: Readout = WHOLE) -> dict[str, torch.Tensor]:
        """Frozen features of some clips as `features.extract` gives them, on the CPU."""
        device = self.fabric.device
        with memory.enough(f"features of {len(part)} clips on {device}", f"lower frames{' or use device=cpu' * (device.type != 'cpu')}"):
            found = features.extract(branches.to(device), part, self.settings.unit_axis, read=read)
            return {name: f.float().cpu() for name, f in found.items()}

    def score(
        self, branches: Branches | tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]], names: Iterable[str] | None = None
    ) -> Scores:
        """Linear probes and kNN of branches (or of features that were extracted before), train split -> test split."""
        train, test = branches if isinstance(branches, tuple) else self.features(branches)
        s, labels = self.settings, (self.train.labels.cpu(), self.test.labels.cpu())
        with memory.enough(f"linear probes and kNN at probe_batch={s.probe_batch}, probe_views={s.probe_views}", lighter(s)):
            return score(train, labels[0], test, labels[1], len(self.clips.class_names), s, names)

    def pretrain_folder(self) -> Path:
        return self._folder("pretrain", self._identity("pretrain", settings.narrow(self.settings, "pretrain"), {}))

    def _identity(self, stage: str, s: settings.Evaluate, more: dict[str, Any]) -> dict[str, Any]:
        source = {"content": self.clips.content, "protocol": self.split.name, "clips": len(self.split.train)}
        return {"stage": stage, "settings": settings.training_fields(s), "data": source, **more}

    def _folder(self, stage: str, identity: dict[str, Any]) -> Path:
        return self.out / "stages" / f"{stage}-{settings.digest(identity)}"

    def _stage(self, stage: str, s: settings.Pretrain, build: Callable[[], Model], epochs: int, *, start: int = 0,
               stop: int | None = None, keep: tuple[int, ...] = (), call: dict[str, Any] | None = None,
               momentum: dict[str, torch.Tensor] | None = None, identity: dict[str, Any] | None = None,
               code: Set[str] = frozenset(), changes: dict[str, Any] | None = None) -> Trained:  # fmt: skip
        identity = self._identity(stage, s, identity or {})
        folder = self._folder(stage, identity)
        processes.same(self.fabric, folder.name, "settings and data")
        processes.first_makes(self.fabric, lambda: self._describe(folder, stage, identity, changes or {}))
        loop = Loop(
            self.fabric, build(), s, self.train, folder, title=_title(stage, s), epochs=epochs, start=start, stop=stop,
            call=call or {}, identity=identity, keep=keep, on_step=self.on_step, on_epoch=self.on_epoch,
            before=lambda: self._begin(folder),
        )  # fmt: skip
        loop.code |= code
        rows = loop.run(momentum)
        loop.model.eval()
        trained = Trained(loop.model, rows, folder, loop.found, frozenset(loop.code))
        if not trained.found and self.fabric.is_global_zero:
            ended = datetime.now(UTC).isoformat(timespec="seconds")
            manifest.add(folder, epochs=len(rows), ended=ended, seconds=round(trained.seconds, 1))
        if trained.by_other_code:
            self.by_other_code.append(folder)
        if trained.by_other_code and self.fabric.is_global_zero:
            warnings.warn(f"{folder} was trained, wholly or in part, by another version of the code; delete it to train anew", stacklevel=3)
        return trained

    def facts(self) -> dict[str, Any]:
        """What decides the results of this experiment, and where its data lie: for manifests."""
        return {
            "preset": self.preset, "smoke": self.smoke, "seed": self.settings.seed, "device": str(self.fabric.device),
            "settings": dataclasses.asdict(self.settings),
            "data": {
                "title": self.clips.title, "content": self.clips.content, "fingerprint": self.clips.fingerprint, "clips": len(self.clips),
                "generated": self.clips.generated, "protocol": self.split.name, "train": len(self.split.train),
                "test": len(self.split.test),
            },
        }  # fmt: skip

    def _begin(self, folder: Path) -> None:
        self.clips.check_content()
        manifest.begin(folder)

    def _describe(self, folder: Path, stage: str, identity: dict[str, Any], changes: dict[str, Any]) -> None:
        if not (folder / "settings.json").exists():
            with replacing(folder / "settings.json") as file:
                file.write(json.dumps(identity, indent=1).encode())
        if not manifest.there_or_set_aside(folder / manifest.NAME):
            path = self.data if self.data == SAMPLE else str(Path(self.data).resolve())
            manifest.write(folder, {"stage": stage, "changes": changes, "identity": identity, **self.facts()}, path=path)

    def _load(self, rows: np.ndarray) -> Batches:
        s, device = self.settings, self.fabric.device
        self.clips.check_content()
        with memory.enough(f"{len(rows)} clips on {device}", "lower frames, or choose a protocol that trains with fewer clips"):
            return batches.load(self.clips, rows, s.frames, s.skeleton, s.view, device, smooth=s.smooth, trim=s.trim)

    def _sample(self) -> Path:
        from skelmm_core.sources import sample

        path = self.out / "clips" / f"generated_motion{'_smoke' if self.smoke else ''}_{sample.VERSION}.clips"

        def make() -> Path:
            if not path.exists():
                clips.write(path, sample.read(**(sample.SMOKE if self.smoke else {})))
            return path

        return processes.first_makes(self.fabric, make)


def _check_exchange(s: settings.Exchange) -> None:
    if not s.exchange_epoch < s.epochs:
        raise SettingsError(f"no epoch is left for exchange: epochs={s.epochs}, exchange_from={s.exchange_from}; raise epochs")
    if len(s.names) < 2 and s.exchange != "none":
        raise SettingsError(f"exchange '{s.exchange}' needs at least two modalities, found {s.modalities}")


def choose_device(device: str) -> str:
    """``"cuda:1"`` of ``"cuda:1"``, and what this machine has for ``"auto"``; anything that it lacks raises `SettingsError`."""
    check_device(device)
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(number or 0) >= there:
        raise SettingsError(f"device '{device}' was asked for, but this machine has {there} device(s) of that kind; use device=cpu or auto")
    return f"{kind}:{number}" if number else kind


def check_device(device: str) -> None:
    """Raises `SettingsError` for what is no device on any machine."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise SettingsError(f"device must be auto, cpu, cuda or cuda:N, found '{device}'")


def choose_precision(device: str, precision: str) -> str:
    """The precision that ``"auto"`` stands for on a device: bf16 autocast where the hardware multiplies bfloat16 fast."""
    kind = device.partition(":")[0]
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if kind == "cuda" else kind == "cpu" and torch.cpu._is_avx512_bf16_supported()
        precision = "bf16-mixed" if fast else "32-true"
    if precision == "16-mixed" and kind == "cpu":
        raise SettingsError("precision=16-mixed needs a GPU; on the CPU use bf16-mixed or 32-true")
    return precision


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric on a device and in a precision, either of which may be "auto"; for all processes, where several were started together."""
    found = launched()
    if found.count > 1 and ":" in device:
        raise SettingsError(f"device '{device}' is one for {found.count} processes; use device=cuda, or start one process")
    device = choose_device(device)
    precision = choose_precision(device, precision)
    kind, _, number = device.partition(":")
    with _unsaid("lightning_fabric.utilities.rank_zero"):  # a line about its precision for every Fabric; settings tell it
        if found.count > 1:
            return processes.fabric(kind, precision, found)
        return Fabric(accelerator=kind, devices=[int(number)] if number else 1, precision=cast(Any, precision))


@contextmanager
def _unsaid(logger: str) -> Iterator[None]:
    """Nothing below a warning is logged by this logger inside, nor its hint, wherever Slurm is installed, to start everything by srun."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The .srun. command is available")
            yield
    finally:
        log.setLevel(before)


def _title(stage: str, s: settings.Pretrain) -> str:
    """What a progress line is headed with."""
    return f"{stage} {len(s.names)} modalities" + (f" -> {cast(Distill, s).students}" if stage == "distill" else "")
