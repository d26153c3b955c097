"""Checkpoints of CrosSCLR, AimCLR and IKEM: one layout, read strictly (`layout`).

`load(path)` tells the kind and sizes of a file from its keys and shapes and gives the encoders, momentum encoders, heads,
queues and students in our own modules, so that `model.query["motion"](x)` is `(feature, embedding)`. `to_contrast` and
`to_distillation` go on training from it. Read with `weights_only`: nothing in a file is executed.

What such a file does not hold, and the caller must know: dropout, temperature, and what the encoders were fed.
`Published.inputs` computes the last as each family's code does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from skelmm_core import modalities, settings, skeletons
from skelmm_core.encoder import Block, Branches, Encoder, EncoderShape
from skelmm_core.errors import CheckpointError
from skelmm_core.layout import LETTER, SUFFIX, Reader, read_state
from skelmm_core.queues import Queues
from skelmm_core.settings import Distill, Pretrain
from skelmm_core.skeletons import Skeleton
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.distill import Distillation

# Bone table of CrosSCLR, AimCLR and IKEM's three-modality net: hand tips and thumbs differ from ours, the centre has no bone.
PLAIN_BONE = (*skeletons.NTU25.bone[:21], 22, 7, 24, 11)


@dataclass(frozen=True)
class Published:
    """What a published checkpoint holds; parts that it lacks are empty or None.

    Attributes:
        kind: "single", "two-view (CrosSCLR)", "three-view (CrosSCLR/AimCLR)", "IKEM teacher" or "IKEM student"; with
            ", linear evaluation" where a classifier stands in for the embedding head and nothing else was kept.
        shape: sizes of the query encoders (of the students, in a file without query encoders).
        query, key, students: encoders by modality. heads: IKEM's predictors of the joint key by modality.
        queues: (S, D, K) in the order of `query`. teacher_queue: (S*D, K). pointer, teacher_pointer: next slot of each.
    """

    path: Path
    kind: str
    skeleton: Skeleton
    shape: EncoderShape
    query: Branches
    key: Branches
    students: Branches
    heads: nn.ModuleDict
    queues: Tensor | None
    teacher_queue: Tensor | None
    pointer: int
    teacher_pointer: int

    @property
    def names(self) -> tuple[str, ...]:
        """Modalities of the query encoders, in the table's order."""
        return tuple(self.query)

    @torch.no_grad()
    def inputs(self, joints: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """What this checkpoint's encoders were trained on, from (N, 3, T, V, M) coordinates and (N,) true lengths.

        IKEM: our modalities, preset "published". CrosSCLR and AimCLR: plain differences of neighbouring frames whatever
        the true length, and on NTU joints another bone table, in which the centre has no bone. IKEM's three-modality net
        has that bone table too. (Read from the CrosSCLR and AimCLR repositories, net/crossclr_3views.py and processor/pretrain_aimclr.py.)
        """
        names = modalities.check_names((*self.query, *self.students))
        if not self.kind.startswith("IKEM"):
            frames = torch.full_like(frames, joints.shape[2])
        plain = set(self.query) <= {"joint", "motion", "bone"} and not self.students
        skeleton = replace(self.skeleton, bone=PLAIN_BONE) if plain and self.skeleton.name == "ntu25" else self.skeleton
        inputs = modalities.compute(joints, frames, skeleton, names, preset="published")
        if plain and "bone" in inputs:
            inputs["bone"][:, :, :, skeleton.centre] = 0
        return inputs


def load(path: str | Path, skeleton: Skeleton | str = "ntu25", dropout: float = 0.5, modality: str = "joint") -> Published:
    """Read a checkpoint in the published layout; sizes come from the shapes of its tensors.

    Args:
        skeleton: the skeleton it was trained on. Joint count and graph links must agree; the weights of the graph are taken as stored.
        dropout: of the encoders in train mode; the published recipe uses 0.5.
        modality: what a file with a single encoder was trained on, which the file does not say.

    Raises `CheckpointError` for a file that is missing, torn, not in this layout, made for another skeleton, or whose
    keys are not exactly the expected ones with the expected shapes.
    """
    path, skeleton = Path(path), skeletons.get(skeleton)
    (modality,) = modalities.check_names(modality)
    reader = Reader(path, read_state(path), skeleton, dropout)
    query, key = (reader.branches({n: f"encoder_{role}{s}." for n, s in SUFFIX.items()}) for role in "qk")
    students = reader.branches({n: f"encoder_student_{letter}." for n, letter in LETTER.items()})
    if not query and not students:
        raise CheckpointError(
            f"{path} holds no 'encoder_q…' or 'encoder_student_…', so it is not in the published layout of CrosSCLR, AimCLR or IKEM; "
            f"it begins with {sorted(reader.state)[:3]}; runs of skelmm are read by `skelmm_core.checkpoints.load`"
        )
    if key and set(key) != set(query):
        raise CheckpointError(f"{path} has key encoders of {sorted(key)} beside query encoders of {sorted(query)}; expected the same")
    names, shape = tuple(query), next(iter((query or students).values())).shape
    joint = len(names) * shape.embedding
    heads = nn.ModuleDict({n: reader.layers(f"mlp2{LETTER[n]}.", shape.features, joint) for n in names if reader.has(f"mlp2{LETTER[n]}.")})
    queues, pointer = reader.queues([SUFFIX[n] for n in names], shape.embedding)
    teacher_queue, teacher_pointer = reader.queues(["_teacher"], joint)
    reader.finish()
    kind = _kind(names, bool(heads), bool(students))
    if not key and queues is None and isinstance(next(iter((students or query).values())).head, nn.Linear):
        kind += ", linear evaluation"
    if kind.startswith("single"):
        query, key = (Branches(dict(zip([modality], branches.values(), strict=False))) for branches in (query, key))
    key.requires_grad_(False)
    for part in (query, key, students, heads):  # ready to be asked; `to_contrast` and `to_distillation` train copies
        part.eval()
    teacher_queue = None if teacher_queue is None else teacher_queue[0]
    return Published(path, kind, skeleton, shape, query, key, students, heads, queues, teacher_queue, pointer, teacher_pointer)


def settings_of(model: Published, stage: str, preset: str = "published", **changes: Any) -> Any:
    """Settings of a stage with the modalities, sizes and queue length of the file; `changes` go on top."""
    first = next(iter((model.query or model.students).values()))
    stored = {**_sizes(model.shape), "modalities": ",".join(model.names), "dropout": first.shape.dropout}
    if model.queues is not None:
        stored["queue"] = model.queues.shape[-1]
    if model.students and stage == "distill":
        stored["students"] = ",".join(model.students)
    return settings.resolve(stage, preset, **{**stored, **changes})


def to_contrast(model: Published, own: Pretrain) -> Contrast:
    """The stage 1 and 2 model with the checkpoint's weights: query and key encoders, IKEM heads, queues and pointer.

    Parts that the file lacks start as settings `own` say (key encoders: copies of the query encoders). CrosSCLR's views share
    the last layers of their heads; here each goes on with its own. Raises `CheckpointError` where `own` has other
    modalities, sizes or queue length than the file.
    """
    _agree(model, own)
    stage = Contrast(own, model.skeleton)
    for name, encoder in model.query.items():
        stage.query[name] = _adopt(encoder, own)
        stage.key[name] = _adopt(model.key[name] if model.key else encoder, own).requires_grad_(False)
    for name, head in model.heads.items():
        stage.heads[name] = copy.deepcopy(head)
    _fill(stage.queues, model.queues, model.pointer)
    return stage


def to_distillation(model: Published, own: Distill) -> Distillation:
    """The stage 3 model with the checkpoint's query encoders as teacher and, where the file has them, students and queues.

    Raises `CheckpointError` where `own` has other modalities, sizes or queue length than the file.
    """
    _agree(model, own)
    stage = Distillation(own, model.skeleton, Branches({name: _adopt(encoder, own) for name, encoder in model.query.items()}))
    for name, encoder in model.students.items():
        stage.students[name] = _adopt(encoder, own)
    if model.teacher_queue is not None:
        _fill(stage.queues, model.queues, model.pointer)
        _fill(stage.joint_queue, model.teacher_queue, model.teacher_pointer)
    return stage


def _sizes(shape: EncoderShape) -> dict[str, int]:
    return {"hidden": shape.hidden, "features": shape.features, "embedding": shape.embedding}


def _agree(model: Published, own: Pretrain) -> None:
    """Settings must have what the file has; otherwise weights would silently be dropped or mixed."""
    found = {**_sizes(model.shape), "modalities": ",".join(model.names)}
    asked = {**{name: getattr(own, name) for name in _sizes(model.shape)}, "modalities": ",".join(own.names)}
    if model.queues is not None:
        found["queue"], asked["queue"] = model.queues.shape[-1], own.queue
    if model.students and isinstance(own, Distill):
        found["students"], asked["students"] = ",".join(model.students), ",".join(own.student_names)
    wrong = [f"{name} {found[name]!r} instead of {asked[name]!r}" for name in found if found[name] != asked[name]]
    if wrong:
        raise CheckpointError(f"{model.path} has {'; '.join(wrong)}; `published.settings_of(model, stage)` gives settings that fit")


def _adopt(encoder: Encoder, own: Pretrain) -> Encoder:
    """A copy that keeps weights and drops out and treats bodies as settings `own` say."""
    encoder = copy.deepcopy(encoder)
    encoder.shape = replace(encoder.shape, dropout=own.dropout, bodies=own.bodies)
    for block in cast(Iterable[Block], encoder.blocks):
        block.dropout = 0.0 if block.first else own.dropout
    return encoder


def _fill(queues: Queues, data: Tensor | None, pointer: int) -> None:
    if data is not None:
        queues.data.copy_(data)
        queues.pointer.fill_(pointer)


def _kind(names: tuple[str, ...], heads: bool, students: bool) -> str:
    if students:
        return "IKEM student"
    if heads or not set(names) <= {"joint", "motion", "bone"}:
        return "IKEM teacher"
    return {1: "single", 2: "two-view (CrosSCLR)", 3: "three-view (CrosSCLR/AimCLR)"}[len(names)]
