"""Curves of accuracy under damage: what is drawn is what was given, in the panel of its kind."""

from __future__ import annotations

import numpy as np
import pytest

from skelmm_core import drawing
from skelmm_core.errors import DataError
from skelmm_core.evaluation.damage import KINDS


def curves(seeds: int = 3) -> dict:
    draw = np.random.default_rng(0)

    def curve(kind: str) -> dict:
        return {level: draw.uniform(20, 90, seeds).tolist() for level in (0.0, *KINDS[kind].levels)}

    return {model: {kind: curve(kind) for kind in ("noise", "turn")} for model in ("teacher", "raw 1-NN")}


def test_a_panel_per_kind_with_means_bands_and_levels():
    given = curves()
    figure = drawing.damage_curves(given, "what damage does")
    assert [axes.get_xlabel() for axes in figure.axes] == ["noise of coordinates (cm)", "camera to the side (°)"]
    for axes, kind in zip(figure.axes, ("noise", "turn"), strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["none", *(f"{level:g}" for level in KINDS[kind].levels)]
        for line, by_kind in zip(axes.lines, given.values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), [np.mean(values) for values in by_kind[kind].values()])
        lower = axes.collections[0].get_paths()[0].vertices[:, 1].min()
        assert lower == pytest.approx(min(np.mean(v) - np.std(v, ddof=1) for v in given["teacher"][kind].values()))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["teacher", "raw 1-NN"]


def test_one_seed_has_no_band_and_empty_panels_are_gone():
    one = {"student": {kind: {level: [50.0] for level in KINDS[kind].levels} for kind in list(KINDS)[:4]}}
    figure = drawing.damage_curves(one)
    assert len(figure.axes) == 4 and not any(axes.collections for axes in figure.axes)


@pytest.mark.parametrize("wrong", [{}, {"teacher": {}}, {"teacher": {"rain": {0: [1.0]}}}, {"teacher": {"noise": {0: [float("nan")]}}},
                                   {"teacher": {"noise": {}}}])  # fmt: skip
def test_what_can_not_be_drawn_is_refused(wrong):
    with pytest.raises(DataError, match="finite values at the levels of known kinds"):
        drawing.damage_curves(wrong)
