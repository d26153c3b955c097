"""What a clips file holds, as text."""

from __future__ import annotations

import numpy as np

from skelmm_core import protocols
from skelmm_core.clips import Clips
from skelmm_core.errors import ProtocolError


def summary(clips: Clips, protocol: str = "") -> str:
    """Counts, classes, subjects, views, lengths, and the sizes of splits; `protocol` names one, "" shows all that fit the file.

    Raises `ProtocolError` for a protocol that was asked for and does not fit.
    """
    lines = [*opening(clips), "", *_protocols(clips, protocol), "", "clips  class"]
    counts = np.bincount(clips.labels, minlength=len(clips.class_names))
    return "\n".join(
        lines + [f"{count:5d}  {label} {name}" for label, (count, name) in enumerate(zip(counts, clips.class_names, strict=True))]
    )


def opening(clips: Clips) -> list[str]:
    """What the file says of itself without its joints being read: title, counts, skeleton, lengths, columns, checksums."""
    unit = "metres" if clips.skeleton.dimensions == 3 else "image heights"
    return [
        f"{clips.path}: {clips.title}",
        f"clips       {len(clips)}, {int((clips.bodies == 2).sum())} of them with two bodies",
        f"skeleton    {clips.skeleton.name}, {len(clips.skeleton)} joints, {unit}",
        f"lengths     {clips.frames.min()} to {clips.frames.max()} frames, median {np.median(clips.frames):.0f}, "
        f"at {clips.frame_rate:g} Hz; {clips.frames.sum() / clips.frame_rate / 60:.0f} minutes in all",
        *(_column(name, clips.columns()[name]) for name in ("subject", "view", "setup", "repetition")),
        f"source      sha256 {clips.fingerprint}",
        f"content     sha256 {clips.content}",
    ]


def _column(name: str, values: np.ndarray) -> str:
    known = np.unique(values[values >= 0])
    if not len(known):
        return f"{name + 's':<12}unknown"
    listed = ", ".join(map(str, known[:12])) + (", …" if len(known) > 12 else "")
    unknown = int((values < 0).sum())
    return f"{name + 's':<12}{len(known)}: {listed}" + (f"; unknown for {unknown} clips" if unknown else "")


def _protocols(clips: Clips, protocol: str) -> list[str]:
    lines = ["train   test  protocol"]
    for name in [protocol] if protocol else dict.fromkeys([clips.protocol, *protocols.usual(clips)]):
        try:
            split = protocols.split(clips, name) if name else None
        except ProtocolError as problem:
            if protocol:
                raise
            if name == clips.protocol:
                lines.append(f"              {name} (its own): can't be used; {problem}")
            continue
        if split:
            lines.append(f"{len(split.train):5d}  {len(split.test):5d}  {name}{' (its own)' if name == clips.protocol else ''}")
    return lines if len(lines) > 1 else ["no usual protocol fits; give an expression with --protocol"]
