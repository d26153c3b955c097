"""The training loop of all stages: epochs of steps, with logging, checkpoints to go on from, and callbacks.

Every random draw is a function of (seed, epoch, step), so a run that was interrupted at any step and started again computes the same
as one that was not. Any device that Lightning Fabric knows, and any number of processes (see `processes`): augmentation, batch
statistics, losses, gradients and queues are those of the joined batch, only dropout is drawn anew in each.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch.optim import Optimizer
from tqdm import tqdm

from skelmm_core import batches as data
from skelmm_core import checkpoints, manifest, memory, modalities, norm, processes
from skelmm_core.batches import Batches
from skelmm_core.errors import CheckpointError, SettingsError, TrainingError
from skelmm_core.files import alone, sweep
from skelmm_core.progress import Progress
from skelmm_core.settings import Pretrain
from skelmm_core.stages.records import Row as Row
from skelmm_core.stages.records import tensorboard, write_csv
from skelmm_core.stages.step import Model, Step
from skelmm_core.stopping import Stopping

Named = dict[str, torch.nn.Parameter]
JOINED = 0  # the last number in the key of draws that are the joined batch's, whoever draws


@dataclass
class Place:
    """How far a run has come: epochs done, a row for each that this stage did; steps done of the next one, and the seconds they took."""

    epoch: int
    rows: list[Row] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0

    def at_end_of(self, epoch: int) -> bool:
        return self.epoch == epoch and not self.steps


@dataclass
class Loop:
    """How one stage runs.

    model: called with (query, key, **call) it gives a `Step`; `call_at(epoch)` gives the keyword arguments.
    epochs: total; the learning rate schedule spans them. start: epochs that another stage has done before. stop: end
        after so many epochs, to be continued another time.
    before: called in the first process where something is left to train, e.g. to look whether the data are whole.
    keep: epochs after which a checkpoint of its own is kept, as ``epoch-NNNN.pt``.
    on_step, on_epoch: called in the first process, which alone writes, too; if `on_epoch` has a method `begin`, that is called with
        the loop and the number of epochs done before the first step.
    """

    fabric: Fabric
    model: Model
    settings: Pretrain
    batches: Batches
    folder: Path
    title: str
    epochs: int
    start: int = 0
    stop: int | None = None
    call: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    before: Callable[[], None] | None = None
    keep: tuple[int, ...] = ()
    save_every: float = 30.0  # seconds between checkpoints, after any step; the last one is always saved
    on_step: Callable[[Row], None] | None = None
    on_epoch: Callable[[int, list[Row]], None] | None = None
    found: bool = field(default=False, init=False)  # after `run`: all epochs had been done before
    code: set[str] = field(default_factory=set, init=False)  # after `run`: digests of the training code that had a part in it
    stopping: Stopping = field(default_factory=Stopping, init=False)
    _agreed: bool = field(default=False, init=False)  # that all processes end after this step
    _torn: bool = field(default=False, init=False)  # last.pt is, and the one before it must not make way for it

    def run(self, momentum: dict[str, torch.Tensor] | None = None) -> list[Row]:
        """Train until `stop`, or `epochs`, going on from ``last.pt`` if there is one. Returns one row per epoch (also in ``log.csv``).

        SIGINT and SIGTERM end it after the step, with a checkpoint (see `Stopping`).
        Raises `TrainingError` for a loss that is not finite (naming epoch, step and branch) or a batch too large for the device,
        `SettingsError` for a batch that can't be shared evenly among the processes, `DataError` while others train in the same folder.
        """
        if not processes.first_makes(self.fabric, self._is_gone):
            return self._run(momentum)
        home, self.folder = self.folder, self.folder / f"again-{self.stop:04d}"
        try:
            rows = self._run(momentum)
            processes.first_makes(self.fabric, lambda: self._put_back(home))
        finally:
            self.folder = home
        return rows

    def _run(self, momentum: dict[str, torch.Tensor] | None) -> list[Row]:
        s, fabric, stop = self.settings, self.fabric, self.stop or self.epochs
        with memory.enough(f"{self.title} on {fabric.device}", "lower queue or hidden"):
            self.model.to(fabric.device)
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        optimiser = torch.optim.SGD(trained.values(), lr=s.lr, momentum=s.sgd_momentum, weight_decay=s.weight_decay, foreach=True)
        restore_momentum(optimiser, trained, momentum or {})
        at = self._resume(optimiser, trained)
        self.found = at.at_end_of(stop)
        if self.found:
            processes.first_makes(fabric, lambda: self._keep_again(stop))
            return at.rows
        self._check_shares()
        with ExitStack() as held:
            processes.first_makes(fabric, lambda: held.enter_context(alone(self.folder, "training")))
            processes.first_makes(fabric, lambda: sweep(self.folder))
            at = self._resume(optimiser, trained)  # where another one was at it until now
            if not at.at_end_of(stop):
                if self.before:
                    processes.first_makes(fabric, self.before)
                self.code.add(manifest.training_code())
                self._train(optimiser, trained, at, stop)
        return at.rows

    def _is_gone(self) -> bool:
        """Whether training has gone past the epoch to stop at and that checkpoint is gone or torn: it is then trained again beside it."""
        last = self.folder / "last.pt"
        if self.stop is None or self.stop not in self.keep:
            return False
        found = checkpoints.newest(last)
        past = found is not None and (found[1]["epoch"], found[1].get("steps") is not None) > (self.stop, False)
        gone = past and checkpoints.taken(self.folder / f"epoch-{self.stop:04d}.pt") is None
        if gone:
            print(f"{self.folder} has no checkpoint of epoch {self.stop} any more; it is trained again up to there", file=sys.stderr)
        return gone

    def _put_back(self, home: Path) -> None:
        name = f"epoch-{self.stop:04d}.pt"
        os.replace(self.folder / name, home / name)
        shutil.rmtree(self.folder)

    def _train(self, optimiser: Optimizer, trained: Named, at: Place, stop: int) -> None:
        s, fabric = self.settings, self.fabric
        model, optimiser = fabric.setup(self.model, optimiser)
        model.train()
        per_epoch = len(data.order(len(self.batches), s.batch, s.seed, 0))
        first = fabric.is_global_zero
        done = at.epoch * per_epoch + len(at.steps)
        bar = tqdm(total=(stop - self.start) * per_epoch, initial=done - self.start * per_epoch, desc=self.title, unit="step",
                   mininterval=1, disable=None if first else True)  # fmt: skip
        progress = Progress(self.title, bar, per_epoch, done, stop, self.epochs, getattr(self.on_epoch, "step", None))
        begin = getattr(self.on_epoch, "begin", None)
        if first and begin:
            begin(self, at.epoch)
        saved = time.monotonic()
        writer: AbstractContextManager[Any] = tensorboard(self.folder / "tensorboard", at.epoch) if first else nullcontext()
        with bar, writer as board, norm.joined(self.model, fabric.world_size), self.stopping:
            while at.epoch < stop:
                began = time.monotonic() - at.seconds
                for number, chosen in enumerate(data.order(len(self.batches), s.batch, s.seed, at.epoch)):
                    lr = learning_rate(s, (at.epoch + number / per_epoch) / self.epochs)
                    if number < len(at.steps):
                        continue
                    for group in optimiser.param_groups:
                        group["lr"] = lr
                    step = self.step(model, optimiser, chosen, at.epoch, number)
                    at.steps.append(step)
                    at.seconds = time.monotonic() - began
                    if first:
                        progress.step(step.losses.sum())
                    if first and self.on_step:
                        self.on_step(self._row(at.epoch, [step], lr, 0.0))
                    if self._agreed if fabric.world_size > 1 else self.stopping.asked:
                        self._stop(optimiser, trained, at)
                    if first and number + 1 < per_epoch and time.monotonic() - saved > self.save_every:
                        self._save("last.pt", optimiser, trained, at)
                        saved = time.monotonic()
                at.epoch += 1
                at.rows.append(self._row(at.epoch, at.steps, lr, at.seconds))
                at.steps, at.seconds = [], 0.0
                if not first:
                    continue
                for key, value in at.rows[-1].items():
                    board(key, value, at.epoch)
                bar.set_postfix_str(f"epoch {at.epoch}/{self.epochs} loss {at.rows[-1]['loss']:.3f}", refresh=False)
                if self.on_epoch:
                    self.on_epoch(at.epoch, at.rows)
                if at.epoch in self.keep:
                    self._save(f"epoch-{at.epoch:04d}.pt", optimiser, trained, at)
                if at.epoch == stop or time.monotonic() - saved > self.save_every:
                    self._save("last.pt", optimiser, trained, at)
                    saved = time.monotonic()

    def _stop(self, optimiser: Optimizer, trained: Named, at: Place) -> None:
        if self.fabric.is_global_zero:
            self._save("last.pt", optimiser, trained, at)
        self.fabric.barrier()  # whoever ends first has all others ended
        self.stopping.end(f"{self.title}: a checkpoint was written after epoch {at.epoch + 1}, step {len(at.steps)}")

    def step(self, model: torch.nn.Module, optimiser: Optimizer, chosen: torch.Tensor, epoch: int, number: int) -> Step:
        """One step of the rows `chosen` (N,), the same in all processes, each of which takes its share of them: augmentation, modalities,
        losses, gradients, optimiser, queues. What it gives is detached, and the mean over all processes."""
        s, fabric = self.settings, self.fabric
        own = processes.share(fabric, len(chosen))
        drawn, device = epoch if s.fresh_augmentation else 0, self.batches.joints.device
        with memory.enough(f"{self.title} on {device} at batch={s.batch}", "lower batch, frames or queue"):
            clips = self.batches.select(chosen.to(device))
            augment = s.augmentation(clips.skeleton)
            views = []
            for stream in (data.QUERY, data.KEY):
                joints, frames = augment(clips.joints, clips.frames, data.generator(device, s.seed, drawn, number, stream, JOINED))
                joints, frames = joints[own], frames[own]
                views.append(modalities.compute(joints, frames, clips.skeleton, s.names, "described" if s.unit_axis else "published"))
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(int(data.generator("cpu", s.seed, epoch, number, data.DROPOUT, fabric.global_rank).initial_seed()))
                step: Step = model(*views, **self.call)
            total, told = step.losses.sum(), self._told(step)
            if not torch.isfinite(told.losses.sum()):
                raise TrainingError(self._not_finite(told, epoch, number, clips))
            optimiser.zero_grad()
            fabric.backward(total)
            optimiser.step()
            self.model.enqueue(tuple(processes.gathered(fabric, keys) for keys in step.keys))
        return told

    def _told(self, step: Step) -> Step:
        """A step's numbers without keys or gradient, the mean over all processes: where one's are not finite, all see it, and where one
        was asked to stop, all were."""
        losses, positive, negative = step.losses.detach(), step.positive, step.negative
        if self.fabric.world_size > 1:
            asked = torch.full_like(losses, float(self.stopping.asked or 0))
            total = cast(torch.Tensor, self.fabric.all_reduce(torch.stack((losses, positive, negative, asked))))
            losses, positive, negative, asked = total.unbind()
            self._agreed = bool(asked.any())
        return Step(losses, positive, negative, ())

    def _check_shares(self) -> None:
        count, size = self.fabric.world_size, min(self.settings.batch, len(self.batches))
        if size % count:
            few = f" (there are only {size} clips)" if size < self.settings.batch else ""
            raise SettingsError(
                f"{self.title}: {count} processes share each batch evenly, but batch={self.settings.batch}{few} gives {size / count:.2f} "
                f"clips to each; choose a batch that {count} divides, e.g. {max(1, size // count) * count}, or another number of processes"
            )

    def _not_finite(self, step: Step, epoch: int, number: int, clips: Batches) -> str:
        wrong = [n for n, value in zip(self.model.names, step.losses.tolist(), strict=True) if not math.isfinite(value)]
        return self._ill(f"the loss of {', '.join(wrong)}", epoch, number, clips)

    def _check_weights(self, trained: Named, at: Place) -> None:
        """Raises `TrainingError` where a weight is not finite, as after a gradient that was not while the loss was: no checkpoint holds
        that. Asked where one is written; at every step it took 2 % of the time."""
        wrong = [name for name, weight in trained.items() if not torch.isfinite(weight).all()]
        if wrong:
            few = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} others" if len(wrong) > 3 else "")
            per_epoch = len(data.order(len(self.batches), self.settings.batch, self.settings.seed, 0))
            epoch, number = (at.epoch, len(at.steps) - 1) if at.steps else (at.epoch - 1, per_epoch - 1)
            raise TrainingError(self._ill(f"the weight {few}", epoch, number, self.batches))

    def _ill(self, what: str, epoch: int, number: int, clips: Batches) -> str:
        kept = f"The last checkpoint in {self.folder} is unharmed. " if (self.folder / "last.pt").exists() else ""
        where = f"{self.title}: {what} is not finite at epoch {epoch + 1}, step {number + 1}. {kept}"
        ill = clips.index[~torch.isfinite(clips.joints).flatten(1).all(1)].tolist()
        if ill:
            listed = ", ".join(map(str, ill[:5])) + (", …" if len(ill) > 5 else "")
            return f"{where}The clips file is damaged: coordinates of clip {listed} (counted from 0) are not finite; prepare it again."
        return f"{where}Try a lower lr (now {self.settings.lr}), precision=32-true, or look for extreme coordinates."

    def _row(self, epoch: int, steps: list[Step], lr: float, seconds: float) -> Row:
        row: Row = {"epoch": epoch, "lr": lr, "seconds": seconds, "loss": float(sum(s.losses.sum() for s in steps)) / len(steps)}
        for what in ("losses", "positive", "negative"):
            mean = torch.stack([getattr(s, what) for s in steps]).mean(0)
            row.update({f"{what.removesuffix('es')}/{name}": float(v) for name, v in zip(self.model.names, mean, strict=True)})
        return row

    def _save(self, name: str, optimiser: Optimizer, trained: Named, at: Place) -> None:
        self._check_weights(trained, at)
        parts = [torch.stack((s.losses, s.positive, s.negative)) for s in at.steps]  # each (3, B)
        content = {
            "model": self.model.state_dict(), "momentum": momentum_of(optimiser, trained), "epoch": at.epoch, "rows": at.rows,
            "steps": torch.stack(parts).cpu() if parts else None, "seconds": at.seconds, "identity": self.identity,
            "code": sorted(self.code),
        }  # fmt: skip
        last = name == "last.pt"
        if at.rows:  # before the checkpoint: where that says that all is done, the log must be there
            write_csv(self.folder / "log.csv", at.rows)
        checkpoints.save(self.folder / name, content, keep=last and not self._torn)
        self._torn = self._torn and not last

    def _keep_again(self, epoch: int) -> None:
        """Write a kept checkpoint that has gone or is torn, where the newest checkpoint is of the same moment."""
        path = self.folder / f"epoch-{epoch:04d}.pt"
        if epoch in self.keep and (found := checkpoints.newest(self.folder / "last.pt")):
            saved = found[1]
            if saved["epoch"] == epoch and saved.get("steps") is None and checkpoints.taken(path) is None:
                checkpoints.save(path, saved)

    def _resume(self, optimiser: Optimizer, trained: Named) -> Place:
        found = processes.first_makes(self.fabric, self._saved)
        if not found:
            return Place(self.start)
        path, saved = found
        checkpoints.load_weights(self.model, saved["model"], str(path))
        restore_momentum(optimiser, trained, saved["momentum"])
        self.code.update(saved.get("code", ["unknown"]))
        parts = saved.get("steps")
        steps = [] if parts is None else [Step(part[0], part[1], part[2], ()) for part in parts.to(self.fabric.device)]
        return Place(saved["epoch"], saved["rows"], steps, saved.get("seconds", 0.0))

    def _saved(self) -> tuple[Path, dict[str, Any]] | None:
        """The checkpoint to go on from, and where it lies, if there is one."""
        last = self.folder / "last.pt"
        found = checkpoints.newest(last)
        if not found:
            return None
        path, saved = found
        self._torn = path != last and last.exists()
        if self.stop and (saved["epoch"], saved.get("steps") is not None) > (self.stop, False):
            path = self.folder / f"epoch-{self.stop:04d}.pt"
            if not path.exists():
                raise CheckpointError(
                    f"{self.folder} holds {saved['epoch']} epochs and no checkpoint of epoch {self.stop}; delete the folder to train anew"
                )
            saved = checkpoints.load(path)
        if saved["identity"] != self.identity:
            raise CheckpointError(f"{path} was made with other settings or data than asked for now; choose another output folder")
        return path, saved


def learning_rate(s: Pretrain, progress: float) -> float:
    """Learning rate at a share of all epochs in [0, 1)."""
    if progress < s.warmup:
        return s.lr * progress / s.warmup
    if s.schedule == "cosine":
        return s.lr * 0.5 * (1 + math.cos(math.pi * (progress - s.warmup) / (1 - s.warmup)))
    return s.lr * (0.1 if progress >= s.lr_drop - 1e-9 else 1.0)


def momentum_of(optimiser: Optimizer, named: Named) -> dict[str, torch.Tensor]:
    """SGD's momentum buffers by parameter name, so that a later stage with other heads can take over those that it shares."""
    state = {id(p): v for p, v in optimiser.state.items()}
    found = {name: state.get(id(p), {}).get("momentum_buffer") for name, p in named.items()}
    return {name: buffer for name, buffer in found.items() if buffer is not None}


def restore_momentum(optimiser: Optimizer, named: Named, momentum: dict[str, torch.Tensor]) -> None:
    for name, parameter in named.items():
        if name in momentum and momentum[name].shape == parameter.shape:
            optimiser.state[parameter]["momentum_buffer"] = momentum[name].to(parameter.device).clone()
