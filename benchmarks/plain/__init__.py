"""The slow oracle: the whole method once more, as plainly as it can be written, to compare the fast path with and to time it against.

Eager float32, branch by branch and pair by pair: encoders run one after another, both bodies always, empty ones too, every matrix of
logits is written, and clips are augmented one at a time in numpy. Formulas, tables and names are the published implementation's (arXiv
2309.12009); nothing is taken from skelmm_core, so that the two can be held against each other.

Clips are (N, 3, T, V, M): metres, T frames, V=25 joints of NTU RGB+D, M=2 bodies. S modalities, K queue length, D embedding.
`frames` (N,) are the true lengths that recordings had before they were resized to T.

    trainer = plain.build(stage=2, modalities=6, preset="published")
    for clips, frames in trainer.loader(recorded, batch=128):
        losses = trainer.step(clips, frames)

    python -m benchmarks.plain --batch 8 --queue 1024      seconds per step of the three stages
"""

from benchmarks.plain.clips import prepare
from benchmarks.plain.tables import NAMES
from benchmarks.plain.trainer import PRESETS, Trainer, build

__all__ = ["NAMES", "PRESETS", "Trainer", "build", "prepare"]
