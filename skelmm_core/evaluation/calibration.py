"""Whether a classifier is as sure as it is right: expected calibration error and the reliability curve behind it.

Clips are put into bins of equal width by their confidence, the probability of the predicted class; the error is the mean distance, in
points, of a bin's accuracy from its mean confidence, weighted by its clips (Naeini et al., AAAI 2015; Guo et al., ICML 2017, 15 bins).
It is never negative, so that of few clips is too large: by chance alone a bin of n clips is some 100 sqrt(p (1 - p) / n) points off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from skelmm_core.errors import DataError

BINS = 15


@dataclass(frozen=True, eq=False)
class Calibration:
    """error: expected calibration error in points; excess: mean confidence minus accuracy in points, above 0 where the classifier is surer
    than it is right. edges (B + 1,), clips (B,), and of each bin confidence and accuracy (B,), in percent; NaN in an empty bin.
    """

    error: float
    excess: float
    edges: np.ndarray
    clips: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def calibration(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Calibration:
    """Of logits (N, C), whose softmax over classes is the confidence, and true classes (N,).

    Bins are (0, 1/B], (1/B, 2/B], ..., so that a confidence on an edge belongs to the bin below it. Of equal logits the first class is the
    prediction, as in `metrics.ProbeResult`. Raises `DataError` for other shapes, no clip, logits that aren't finite, fewer than one bin.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not logits.size or not np.isfinite(logits).all() or bins < 1:
        raise DataError(
            "calibration needs finite logits (N, C) of at least one clip, N labels and a bin, "
            f"found {logits.shape}, {labels.shape} and {bins} bins"
        )
    confidence = softmax(logits, axis=1).max(axis=1)  # (N,)
    right = logits.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    clips = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        sure = 100 * np.bincount(place, confidence, bins) / clips
        true = 100 * np.bincount(place, right, bins) / clips
    error = float(np.nansum(clips * np.abs(true - sure)) / len(labels))
    return Calibration(error, 100 * float(confidence.mean() - right.mean()), 100 * edges, clips, sure, true)
