"""Figures of explanations: maps over their images, and where a region looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ...files.disk import explained
from ...model.images import FIELD
from ...surface.style import default_style
from .reading import Reading

_BRIGHTEST = 99.5  # percentile of a map's absolute values that has the full color


@default_style()
def draw_maps(
    image: Float[np.ndarray, "3 height width"],
    maps: Mapping[str, Float[np.ndarray, "height width"]],
    path: Path,
    *,
    title: str,
    note: str | None,
) -> None:
    """Draw an image, and each map over its grey version: red raises the objective, blue lowers it.

    Parameters
    ----------
    image
        Image in 0–255.
    maps
        Maps by name, each with a color scale of its own around 0.
    path
        Picture to write.
    title, note
        Text above and below the figure.
    """
    from matplotlib.figure import Figure

    count = 1 + len(maps)
    figure = Figure(figsize=(2.6 * count, 3.1), layout="constrained", dpi=150)
    figure.suptitle(title, fontsize=10)
    if note:
        figure.supxlabel(note, fontsize=8, color="0.4")
    axes = figure.subplots(1, count, squeeze=False)[0]
    shown = np.moveaxis(np.asarray(image), 0, -1) / 255
    axes[0].imshow(shown)
    axes[0].set_title("image", fontsize=9)
    for axis, (name, values) in zip(axes[1:], maps.items(), strict=True):
        most = max(float(np.percentile(np.abs(values), _BRIGHTEST)), 1e-12)
        strength = np.clip(np.abs(values) / most, 0, 1)
        axis.imshow(shown.mean(axis=2), cmap="gray", vmin=-0.5, vmax=1.5)
        drawn = axis.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.15 + 0.85 * strength)
        drawn.set_extent((-0.5, shown.shape[1] - 0.5, shown.shape[0] - 0.5, -0.5))
        axis.set_title(name, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    with explained("write", path):
        figure.savefig(path)


@default_style()
def draw_reading(found: Reading, path: Path, *, title: str, note: str | None) -> None:
    """Draw where vertices look in the visual field, and the share of each layer that they read.

    Parameters
    ----------
    found
        Places and layers.
    path
        Picture to write.
    title, note
        Text above and below the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained", dpi=150)
    figure.suptitle(title, fontsize=10)
    if note:
        figure.supxlabel(note, fontsize=8, color="0.4")
    place, layer = figure.subplots(1, 2)
    extent = (-FIELD, FIELD, -FIELD, FIELD)
    drawn = place.imshow(100 * found.look, cmap="magma", extent=extent, vmin=0)
    place.plot(0, 0, "+", color="white", ms=9)
    place.set_xlabel("x (degrees of visual angle)")
    place.set_ylabel("y (degrees)")
    figure.colorbar(drawn, ax=place, label="share of the readout (%)", shrink=0.85)
    layer.bar([str(number + 1) for number in found.layers], 100 * found.layer_share, color="0.4")
    layer.set_xlabel("transformer block")
    layer.set_ylabel("share of the readout (%)")
    with explained("write", path):
        figure.savefig(path)


@default_style()
def draw_curves(
    share: Float[np.ndarray, " points"],
    curves: Mapping[str, tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]],
    path: Path,
    *,
    unit: str,
    note: str | None,
    colors: Sequence[str] = ("tab:red", "tab:blue"),
) -> None:
    """Draw deletion and insertion curves, solid for the map's order and dashed for random orders.

    Parameters
    ----------
    share
        Share of the image that is deleted or inserted.
    curves
        For each kind the map's curve and the random one.
    path
        Picture to write.
    unit
        Label of the vertical axis.
    note
        Text below the figure.
    colors
        Color of each kind.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.8), layout="constrained", dpi=150)
    if note:
        figure.supxlabel(note, fontsize=8, color="0.4")
    axes = figure.subplots()
    for (name, (mapped, random)), color in zip(curves.items(), colors, strict=True):
        axes.plot(100 * share, mapped, color=color, label=f"{name}, most important first")
        axes.plot(100 * share, random, color=color, ls="--", label=f"{name}, random order")
    axes.set_xlabel("share of the image (%)")
    axes.set_ylabel(unit)
    axes.legend(fontsize=8, frameon=False)
    with explained("write", path):
        figure.savefig(path)
