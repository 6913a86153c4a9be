"""Figures of explanations: maps over their images, and where a region looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...model.images import FIELD
from ...surface.style import default_style
from ..reporting.figures import legend_below, new_figure, save_figure
from ..reporting.statistics import FEWEST, NO_INTERVAL, Interval, bootstrap, mean_interval, resample
from .reading import Reading

UNSIGNED = "smooth-grad"
UNITS = {
    "gradient-times-input": "z per pixel",
    "integrated-gradients": "z per pixel",
    UNSIGNED: "z per grey level",
    "occlusion": "fall of the response (z)",
    "places read out": "z per place",
}
_BRIGHTEST = 99.5  # percentile of a map's absolute values that has the full color


@default_style()
def draw_maps(
    image: Float[np.ndarray, "3 height width"],
    maps: Mapping[str, Float[np.ndarray, "height width"]],
    limits: Mapping[str, float],
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw an image, and each map over its grey version: red raises the objective, blue lowers it.

    Parameters
    ----------
    image
        Image in 0–255.
    maps
        Maps by name.
    limits
        Absolute value of each map that has the full color: see :func:`map_limits`.
    path
        The .png file; the .csv file beside it has the maps, a line for each pixel.
    title, subtitle, note
        Texts above and below the figure.
    """
    columns = 2
    rows = -(-(1 + len(maps)) // columns)
    figure = new_figure(1.75 * rows, title, subtitle, note)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    shown = np.clip(np.moveaxis(np.asarray(image), 0, -1) / 255, 0, 1)  # resizing may leave a rounding error
    panels[0].imshow(shown)
    panels[0].set_title("image")
    for panel, (name, values) in zip(panels[1:], maps.items(), strict=False):
        most = limits[name]
        strength = np.clip(np.abs(values) / most, 0, 1)
        panel.imshow(shown.mean(axis=2), cmap="gray", vmin=-0.5, vmax=1.5)
        signed = "RdBu_r" if name != UNSIGNED else "Reds"
        low = -most if name != UNSIGNED else 0
        drawn = panel.imshow(values, cmap=signed, vmin=low, vmax=most, alpha=0.15 + 0.85 * strength)
        drawn.set_extent((-0.5, shown.shape[1] - 0.5, shown.shape[0] - 0.5, -0.5))
        options = {
            "orientation": "horizontal",
            "fraction": 0.05,
            "pad": 0.03,
            "extend": "max" if low == 0 else "both",
        }
        bar = figure.colorbar(_opaque(drawn), ax=panel, **options)
        bar.set_label(UNITS.get(name, "z"))
        ends = [low, 0, most] if low else [0, most]
        bar.set_ticks(ends, labels=[f"{end:.2g}" for end in ends])
        panel.set_title(name)
    for panel in panels:
        panel.set_axis_off()
    places = np.indices(next(iter(maps.values())).shape).reshape(2, -1).tolist()
    cells = zip(*places, *(values.ravel().astype(float).tolist() for values in maps.values()), strict=True)
    save_figure(figure, path, ("row", "column", *maps), cells)


def painted(
    image: Float[np.ndarray, "3 height width"], values: Float[np.ndarray, "height width"]
) -> Float[np.ndarray, "3 height width"]:
    """Return a map painted over its grey image as one image in 0–255: red raises the objective, blue lowers it."""
    from matplotlib import colormaps

    most = map_limits({"": values[None]})[""]
    strength = np.clip(np.abs(values) / most, 0, 1)
    color = 255 * np.moveaxis(colormaps["RdBu_r"](0.5 + 0.5 * np.clip(values / most, -1, 1))[..., :3], -1, 0)
    share = 0.15 + 0.85 * strength[None]
    grey = 127.5 * (0.5 + np.asarray(image).mean(axis=0, keepdims=True) / 255)
    return share * color + (1 - share) * grey


def map_limits(maps: Mapping[str, Float[np.ndarray, "images height width"]]) -> dict[str, float]:
    """Return the absolute value of each kind of map that has the full color, for all images."""
    return {name: max(float(np.percentile(np.abs(values), _BRIGHTEST)), 1e-12) for name, values in maps.items()}


def _opaque(drawn: Any) -> Any:
    """Return the scale of an image that is partly transparent, without the transparency."""
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(drawn.norm, drawn.cmap)


@default_style()
def draw_reading(
    found: Reading,
    weights: Float[np.ndarray, " vertices"],
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw where vertices look in the visual field, and the share of each layer that they read.

    Parameters
    ----------
    found
        Places and layers.
    weights
        Weights of the vertices, over which the layers' shares have bootstrap intervals.
    path
        The .png file; the .csv file beside it has the numbers of both panels.
    title, subtitle, note
        Texts above and below the figure.
    """
    figure = new_figure(3.7, title, subtitle, note)
    place, layer = figure.subplots(2, 1, height_ratios=(1.6, 1))
    extent = (-FIELD, FIELD, -FIELD, FIELD)
    drawn = place.imshow(100 * found.look, cmap="magma", extent=extent, vmin=0)
    place.plot(0, 0, "+", color="white", ms=6)
    place.set_xlabel("x (degrees of visual angle)")
    place.set_ylabel("y (degrees)")
    figure.colorbar(drawn, ax=place, label="share of the readout (%)", shrink=0.9)
    names, share = [str(number + 1) for number in found.layers], 100 * found.layer_share
    ends = 100 * np.array(layer_intervals(found, weights)).T
    layer.bar(names, share, color="0.6")
    layer.errorbar(names, share, abs(ends - share), fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
    layer.set_xlabel("transformer block; bars: 95% intervals over vertices")
    layer.set_ylabel("share of the readout (%)")
    layer.spines[["top", "right"]].set_visible(False)
    cells = [("block", name, "", *map(float, row)) for name, *row in zip(names, share, *ends, strict=True)]
    grid = 100 * found.look
    cells += [("place", row, column, float(value), np.nan, np.nan) for (row, column), value in np.ndenumerate(grid)]
    save_figure(figure, path, ("panel", "block or row", "column", "percent", "low", "high"), cells)


def layer_intervals(found: Reading, weights: Float[np.ndarray, " vertices"]) -> list[Interval]:
    """Return the bootstrap interval over vertices of each layer's share."""
    size = np.abs(np.asarray(weights, np.float64))
    used = size > 0
    size, shares = size[used], found.layer_weights[used]
    resamples = resample(len(size))
    return [bootstrap(lambda drawn, own=own: (drawn @ (size * own)) / (drawn @ size), resamples) for own in shares.T]


@default_style()
def draw_curves(
    share: Float[np.ndarray, " points"],
    curves: Mapping[str, tuple[Float[np.ndarray, "images points"], Float[np.ndarray, "images points"]]],
    path: Path,
    *,
    unit: str,
    title: str,
    subtitle: str,
    note: str | None,
    colors: Sequence[str] = ("tab:red", "tab:blue"),
) -> None:
    """Draw deletion and insertion curves, solid for the map's order and dashed for random orders.

    Parameters
    ----------
    share
        Share of the image that is deleted or inserted.
    curves
        For each kind the curves of the map's order and of random ones, of which the means over images are drawn; of
        five or more images the map's with their intervals by Student's t.
    path
        The .png file; the .csv file beside it has the curves.
    unit
        Label of the vertical axis.
    title, subtitle, note
        Texts above and below the figure.
    colors
        Color of each kind.
    """
    figure = new_figure(2.6, title, subtitle, note)
    axes = figure.subplots()
    percent, cells = 100 * share, []
    for (name, (mapped, random)), color in zip(curves.items(), colors, strict=True):
        mean, usual = mapped.mean(axis=0), random.mean(axis=0)
        few = len(mapped) < FEWEST
        low, high = np.array([NO_INTERVAL if few else mean_interval(column) for column in mapped.T]).T
        axes.plot(percent, mean, color=color, label=f"{name}, most important first")
        axes.fill_between(percent, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(percent, usual, color=color, ls="--", label=f"{name}, random order")
        rows = zip(percent, mean, low, high, usual, strict=True)
        cells += [(name, *map(float, row)) for row in rows]
    axes.set_xlabel("share of the image (%)")
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(axes, 2)
    save_figure(figure, path, ("kind", "percent", "map's order", "low", "high", "random order"), cells)
