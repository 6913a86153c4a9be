"""Figures of a fit: what the legend says is what is drawn, and they stand alone as the others do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from berg_jax.experiments.fitting.outputs import figures
from berg_jax.experiments.fitting.outputs.figures import draw_curve, draw_rois, draw_training
from berg_jax.experiments.reporting.statistics import NO_INTERVAL, Interval
from berg_jax.surface.style import SMALLEST, WIDTH

TEXTS: dict[str, Any] = {"title": "Test r", "subtitle": "subject 9 · V1 · n = 5 test images", "note": "SYNTHETIC"}
MEDIANS = {
    name: {"r": r, "r_donor": 0.6, "noise_ceiling": ceiling}
    for name, r, ceiling in (("V1", 0.7, 0.6), ("PPA", 0.8, 0.7))
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    kept: list[Figure] = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, *_: kept.append(figure))
    return kept


def stands_alone(figure: Figure) -> None:
    assert figure.get_size_inches()[0] == pytest.approx(WIDTH)
    assert TEXTS["subtitle"] in figure.get_suptitle()
    assert figure.get_supxlabel() == "SYNTHETIC"
    for axes in figure.axes:
        texts = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
        assert all(text.get_fontsize() >= SMALLEST for text in texts)
        legend = axes.get_legend()
        if legend is not None:
            figure.draw_without_rendering()
            box = legend.get_window_extent()
            assert box.y1 < axes.get_window_extent().y0
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("bounded", [True, False])
def test_the_legend_of_rois_is_as_the_plot(bounded: bool, drawn: list[Figure]) -> None:
    """Intervals lie, ceilings stand, in the plot as in the legend; where no interval is, none is in it, nor room."""
    ends = Interval(0.6, 0.9) if bounded else NO_INTERVAL
    draw_rois(MEDIANS, {name: {"r": ends} for name in MEDIANS}, 0.01, Path("rois.png"), **TEXTS)
    (figure,) = drawn
    stands_alone(figure)
    (axes,) = figure.axes
    legend = axes.get_legend()
    keys = dict(zip((text.get_text() for text in legend.get_texts()), legend.legend_handles, strict=True))
    names = {"this fit", "donor's own prediction", "noise ceiling", "shuffled images, all vertices"}
    assert set(keys) == names | ({"95% interval over images"} if bounded else set())
    for name in ("noise ceiling", "shuffled images, all vertices"):
        assert (keys[name].get_marker(), keys[name].get_linestyle()) == ("|", "None")
    if bounded:
        assert keys["95% interval over images"].get_linestyle() == "-"
    assert axes.get_xlim()[0] > -0.1
    ceilings = [line for line in axes.lines if len(set(line.get_xdata())) == 1 and len(line.get_ydata()) == 2]
    assert np.sqrt(0.6) in [line.get_xdata()[0] for line in ceilings]


def test_curves_stand_alone(drawn: list[Figure]) -> None:
    curve = [{"images": n, "r": r, "quarter": r - 0.1, "three quarters": r + 0.1} for n, r in ((20, 0.5), (39, 0.6))]
    draw_curve(curve, 0.8, 0.55, Path("learning_curve.png"), **TEXTS)
    record = {"loss": [1.0, 0.5], "validation_r": [0.1, 0.2, 0.3], "members": [1, 2]}
    draw_training({"part1": record, "part2": record}, Path("training.png"), **TEXTS)
    for figure in drawn:
        stands_alone(figure)
    assert len(drawn) == 2
