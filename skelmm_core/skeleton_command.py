"""`skelmm skeleton`: a skeleton checked, as a table, with its maps and, if wanted, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skelmm_core import batches, modalities, skeletons
from skelmm_core.clips import Clips, open_clips
from skelmm_core.errors import DataError
from skelmm_core.skeletons import Skeleton

POSED = 200  # clips that a median pose is taken of


def show(name: str, clips: str | Path = "", figure: str | Path = "") -> str:
    """The table of a skeleton (see `skeletons.get`), checked against a clips file and drawn into a PNG file where these are named."""
    skeleton = skeletons.get(name)
    lines, pose = [table(skeleton)], None
    if clips:
        opened = open_clips(clips)
        pose = median_pose(opened, skeleton)
        lines += ["", lengths(opened, skeleton, pose)]
    if figure:
        from skelmm_core import drawing
        from skelmm_core.drawing.skeleton import skeleton_figure

        lines += ["", f"drawn into {drawing.save(skeleton_figure(skeleton, pose), figure)}"]
    return "\n".join(lines)


def table(skeleton: Skeleton) -> str:
    """Joints with number, name, side, bone parent and axis partner; what else is known of the skeleton below."""
    name = skeleton.joints
    head = ("", "joint", "side", "bone from", "axis with")
    rows = [
        (str(v), name[v], side, _other(name, skeleton.bone[v], v), _other(name, skeleton.axis[v], v))
        for v, side in enumerate(skeleton.sides())
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(5)]
    space = skeleton.dimensions == 3
    lines = [f"{skeleton.name}: {len(skeleton)} joints {'in space (x, y, z)' if space else 'in an image (x, y, confidence)'}", ""]
    for number, *words in (head, *rows):
        lines.append("  ".join([number.rjust(widths[0]), *(w.ljust(n) for w, n in zip(words, widths[1:], strict=True))]).rstrip())
    left, right = (name[j] for j in skeleton.shoulders)
    lines += ["", f"centre, which is put at the origin: {name[skeleton.centre]}; shoulders: {left}, {right}"]
    if space:
        lines.append(f"bone of the centre: the normal of the plane through {name[skeleton.spine]}, {left} and {right}")
    extra = {frozenset(e) for e in skeleton.edges} - {frozenset((v, p)) for v, p in enumerate(skeleton.bone)}
    links = ", ".join(" - ".join(name[j] for j in sorted(e)) for e in sorted(extra, key=sorted))
    lines += [f"links of the graph that are no bones: {links}"] if links else []
    to, of = skeletons.maps_of(skeleton)
    lines.append(f"maps: to {', '.join(to) or 'none'}; from {', '.join(of) or 'none'}")
    lines.append(f"modalities: {', '.join(modalities.names_for(skeleton))}")
    return "\n".join(lines)


def _other(names: tuple[str, ...], other: int, joint: int) -> str:
    return "-" if other == joint else f"{other} {names[other]}"


def median_pose(clips: Clips, skeleton: Skeleton) -> np.ndarray:
    """(V, 3) the median of where joints are in up to `POSED` clips, seen from the front; NaN for a joint that no frame shows.

    Clips of another skeleton are mapped first; `SettingsError` where no map leads from one to the other.
    """
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(POSED, len(clips))).astype(int))
    joints = batches.load(clips, chosen, 16, skeleton, "frame").joints[..., 0].permute(0, 2, 3, 1).flatten(0, 1).numpy()  # (F, V, 3)
    flat = skeleton.dimensions == 2
    shown: np.ndarray = joints[..., 2] > 0 if flat else (joints != 0).any(axis=(1, 2), keepdims=True)[..., 0]
    seen = np.broadcast_to(shown, joints.shape[:2])  # (F, V)
    pose = np.full((len(skeleton), 3), np.nan)
    for v in range(len(skeleton)):
        if seen[:, v].any():
            pose[v] = np.median(joints[seen[:, v], v], axis=0)
    if not np.isfinite(pose).any():
        raise DataError(f"'{clips.path}' shows no body in any frame of its first bodies; there is no pose to draw")
    return pose * (-1, 1, 0) if flat else pose


def lengths(clips: Clips, skeleton: Skeleton, pose: np.ndarray) -> str:
    """Whether left and right bones of the median pose are about as long as each other, as those of people are."""
    size = np.linalg.norm(pose - pose[list(skeleton.bone)], axis=1)
    lines = [f"median pose of {clips.title}, {len(clips)} clips:"]
    for one, other in skeleton.pairs:
        if max(size[one], size[other]) > 1.4 * min(size[one], size[other]) + 0.02:
            names = f"{skeleton.joints[one]} ({size[one]:.2f}) and {skeleton.joints[other]} ({size[other]:.2f})"
            lines.append(f"  warning: the bones of {names} differ in length: do joints and parents stand in the order of the data?")
    return "\n".join(lines if len(lines) > 1 else [f"{lines[0]} bones of left and right are alike"])
