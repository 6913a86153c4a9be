"""Colors of maps and outlines: their scale, and the wheel of angles."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.legend import Legend
from scipy.ndimage import distance_transform_edt

from berg_jax import surface
from berg_jax.errors import InvalidParameterError
from berg_jax.surface import colors
from berg_jax.vertices import Vertices

from .pictures import LATERAL, ONES, SIZE, colored, coordinates, halves, pixels

EMPTY = np.array([], np.int64)


def cap(hemisphere: str, point: tuple[float, float, float], number: int) -> np.ndarray:
    """The vertices nearest to a point on or around the cortex."""
    return np.argsort(np.linalg.norm(coordinates(hemisphere) - point, axis=1))[:number]


@pytest.mark.parametrize(
    ("low", "high", "limits", "extend"),
    [(-1, 3, (-1, 1), "both"), (0, 3, (0, 1), "max"), (-3, 0, (-1, 0), "min"), (1, 3, (0, 1), "max")],
)
def test_the_scale_follows_the_signs(low: float, high: float, limits: tuple, extend: str) -> None:
    """On 2 · 10,242 values from low to high; the ends of the scale are given in 99th percentiles."""
    values = np.random.default_rng(0).uniform(low, high, 2 * SIZE)
    percentile = np.sort(abs(values))[int(0.99 * 2 * SIZE)]
    figure = surface.plot(values, **LATERAL, label="r")
    bar = figure.axes[1]._colorbar
    np.testing.assert_allclose((bar.vmin, bar.vmax), np.array(limits) * percentile, rtol=1e-3)
    assert bar.extend == (extend if low != -1 else "max")
    assert figure.axes[1].get_xlabel() == "r"
    zero = {0: 0.5 if low == -1 else 0.0, 1: 1.0}[int(bar.vmax == 0)]
    assert bar.norm(0) == zero
    signed = colors.DIVERGING if low == -1 else colors.SEQUENTIAL
    at_zero = matplotlib.colormaps[signed](0.5 if low == -1 else 0.0)
    assert bar.cmap(bar.norm(0)) == at_zero


def test_the_limit() -> None:
    values = np.random.default_rng(0).normal(size=2 * SIZE)
    values[5] = 1e6
    assert surface.plot(values, **LATERAL).axes[1]._colorbar.vmax < 3
    bar = surface.plot(values, **LATERAL, limit=2e6, colormap="turbo").axes[1]._colorbar
    assert (bar.vmin, bar.vmax, bar.extend, bar.cmap.name) == (-2e6, 2e6, "neither", "turbo")
    sparse = np.zeros(2 * SIZE)
    assert surface.plot(sparse, **LATERAL).axes[1]._colorbar.vmax == 1
    sparse[7] = 0.25
    assert surface.plot(sparse, **LATERAL).axes[1]._colorbar.vmax == 0.25


def test_outlines_run_along_the_border_of_their_region() -> None:
    """Where a black outline runs, the border of the same region is when it is painted."""
    region = Vertices(cap("lh", (-70, -30, 0), 250), EMPTY, SIZE)
    options: dict[str, Any] = {"views": ("lateral", "medial"), "flat": False}
    yellow = {"limit": 1, "colormap": "Wistia_r"}
    painted = colored(halves(pixels(surface.plot(np.ones(250), region, **options, **yellow)))[0])
    one = Vertices([region.lh[0]], [], SIZE)  # which is within the region
    drawn = surface.plot([1], one, **options, **yellow, outlines={"MT": region, "none": Vertices([], [], SIZE)})
    names = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert names == ["MT, none (none)"]
    for text in list(drawn.axes[0].texts):  # the region's name is black, too
        if text.get_text() == "MT":
            text.remove()
    black = (halves(pixels(drawn))[0][: len(painted)] < 40).all(-1)
    black[:60] = False  # "left hemisphere"
    border = painted & (distance_transform_edt(painted) < 1.5)
    assert black.sum() > 500
    assert distance_transform_edt(~border)[black].max() < 9
    assert distance_transform_edt(~black)[border].max() < 9


@pytest.mark.parametrize("options", [{}, {"wheel": True}, {"labels": ["faces", "places"]}], ids=str)
def test_outlines_are_black_with_a_white_halo(options: dict[str, Any]) -> None:
    """No color of a map can be mistaken for an outline: each is drawn twice, wide in white and then thin in black."""
    many = {f"region {n}": Vertices(cap("lh", (-70, 40 - 8 * n, 0), 20), [], SIZE) for n in range(12)}
    axes = surface.plot(ONES, **LATERAL, outlines=many, **options).axes[0]
    drawn = [one for one in axes.collections if isinstance(one, LineCollection) and len(one.get_segments())]
    assert len(drawn) == 2
    halo, line = sorted(drawn, key=lambda one: one.zorder)
    assert (to_hex(halo.get_color()[0]), to_hex(line.get_color()[0])) == ("#ffffff", "#000000")
    assert halo.get_linewidth()[0] > line.get_linewidth()[0] + 0.5
    np.testing.assert_array_equal(np.stack(halo.get_segments()), np.stack(line.get_segments()))


@pytest.mark.parametrize(("low", "high"), [(-0.2, 2.0), (-2.0, 0.2), (1.5, 2.0), (-2.0, -1.5)])
def test_no_scale_is_half_empty(low: float, high: float) -> None:
    scale = colors.color_scale(np.linspace(low, high, 2 * SIZE), None, None)
    least, most = scale.get_clim()
    assert min(high, most) - max(low, least) > 0.9 * (most - least)
    if low < 0 < high:  # 0 keeps its color, and a step of color is as large on both sides
        whole = matplotlib.colormaps[colors.DIVERGING]
        for value in (0.0, low, high / 2):
            np.testing.assert_allclose(scale.to_rgba(value), whole(0.5 + value / (2 * max(-least, most))), atol=0.02)


def test_compared_maps_can_share_both_ends() -> None:
    for values in (np.linspace(0, 1, 99), np.linspace(-9, 9, 99)):
        scale = colors.color_scale(values, (-2, 2), None)
        assert (*scale.get_clim(), scale.cmap.name) == (-2, 2, colors.DIVERGING)
        assert scale.cmap.colorbar_extend == ("both" if values[-1] == 9 else "neither")


def test_outlines_and_labels_share_no_colors() -> None:
    regions = {name: Vertices([n], [n], SIZE) for n, name in enumerate(("V1", "FFA-1", "PPA"))}
    axes = surface.plot(ONES, **LATERAL, outlines=regions, labels=["faces", "places"]).axes[0]
    legends = [child for child in axes.get_children() if isinstance(child, Legend)]
    said = [[text.get_text() for text in legend.get_texts()] for legend in legends]
    assert sorted(said) == [["V1, FFA-1, PPA"], ["faces", "places"]]
    lines = [line.get_color() for legend in legends for line in legend.get_lines()]
    assert lines == ["black"]


def test_outlines_on_a_wheel_are_black() -> None:
    regions = {name: Vertices([n], [n], SIZE) for n, name in enumerate(("V1", "V2"))}
    (legend,) = (
        child
        for axes in surface.plot(ONES, **LATERAL, outlines=regions, wheel=True).axes
        for child in axes.get_children()
        if isinstance(child, Legend)
    )
    assert [text.get_text() for text in legend.get_texts()] == ["V1, V2"]
    assert [line.get_color() for line in legend.get_lines()] == ["black"]


def test_angles_go_around() -> None:
    """Between 175° and −175° lies 180°: the colors at both sides of it are near it, and none is of 0°."""
    points = coordinates("rh")
    values = np.full(2 * SIZE, np.nan)
    values[SIZE:] = np.where(points[:, 1] > 0, 175.0, -175.0)
    colormap = ListedColormap(["#00ff00"] * 30 + ["#ff0000"] * 60 + ["#00ff00"] * 30)
    figure = surface.plot(values, **LATERAL, wheel=True, colormap=colormap)
    brain = pixels(figure)
    assert (colored(brain) & (brain[..., 1] > brain[..., 0])).sum() > 10_000
    assert not (colored(brain) & (brain[..., 0] > brain[..., 1])).any()


def test_the_wheel_stands_as_the_visual_field() -> None:
    """Up is up and right is right: a quadrant's color is found in its quadrant of the wheel."""
    colormap = ListedColormap(["#ff0000", "#00ff00", "#0000ff", "#ffff00"])  # from −180°: lower left, lower right, …
    figure = surface.plot(np.zeros(2 * SIZE), **LATERAL, wheel=True, colormap=colormap)
    (drawn,) = figure.axes[1].images
    disc, corner = drawn.get_array(), {(0, 0): "r", (0, 1): "g", (1, 1): "b", (1, 0): "y"}
    wanted = {"r": (1, 0, 0), "g": (0, 1, 0), "b": (0, 0, 1), "y": (1, 1, 0)}
    assert drawn.origin == "lower"
    for (up, right), name in corner.items():
        np.testing.assert_allclose(disc[60 + 80 * up, 60 + 80 * right, :3], wanted[name])
    places = {text.get_text(): text.get_position() for text in figure.axes[1].texts}
    assert places["up"][1] > 1
    assert places["left"][0] < -1
    with pytest.raises(InvalidParameterError, match="no limit"):
        surface.plot(np.zeros(2 * SIZE), **LATERAL, wheel=True, limit=3)
