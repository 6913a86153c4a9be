"""Hierarchy of ROIs along a network's layers: which layer each is most like, and whether their orders agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....errors import InvalidParameterError
from ....files.csv_tables import write_table
from ....surface.style import default_style
from ...reporting.figures import save_figure
from ...reporting.page import Picture, Section, Table
from ..hierarchy import Hierarchy, layer_hierarchy
from .study import Part, Study

PICTURE = "layers.png"
COLORS = "viridis"  # from the first layer to the last


def check_layers(rois: int, layers: int) -> None:
    """Raise InvalidParameterError unless there are ROIs and layers enough for an order."""
    if layers == 1 or (layers and rois < 2):
        raise InvalidParameterError(
            f"A hierarchy needs two layers and two ROIs at least, got {layers} and {rois}. Give --layer again and "
            "again, from the first layer to the last, or --features for one."
        )


def layers_section(study: Study) -> Part:
    """Find the layer that each ROI is most like; draw correlations over layers and the best layers' positions."""
    layers = {name: study.targets[name] for name in study.layers}
    regions = {roi: study.of_region(roi) for roi in study.rois}
    found = layer_hierarchy(regions, layers, measure=study.measure)
    _write(study, found)
    path = study.output / PICTURE
    _draw(study, found, path)
    order = "not defined, as all are most like one layer" if np.isnan(found.order) else f"{found.order:.3f}"
    caption = (
        f"{study.measure.similarity} of each ROI with each layer, the largest marked; and the position of the layer "
        "that is most alike, from 1, with its 95% interval over resamples of the images. Correlation of the ROIs' "
        f"given order with these positions: {order} (95%: {found.over_images})."
    )
    rows = [
        [row.region, row.layer, row.position + 1, _positions(row.positions), row.correlation, study.images]
        for row in found.regions
    ]
    table = Table(
        f"Layer that each ROI is most like; {study.said}; 95% intervals over images",
        ("ROI", "layer", "position", "95% of position", "similarity", "images"),
        rows,
    )
    numbers = {
        "layers": list(study.layers),
        "ROIs": [{**row._asdict(), "positions": list(row.positions)} for row in found.regions],
        "order": found.order,
        "over_images": list(found.over_images),
        "similarities": found.correlations,
    }
    lines = [
        f"Layers, from 1 to {len(layers)}; correlation of the ROIs' order with them: {order} ({found.over_images})"
    ]
    lines += [
        f"  {row.region:<14}{row.layer:<16}{row.correlation:>7.3f}   layer {row.position + 1} ({ends})"
        for row, ends in zip(found.regions, (_positions(row.positions) for row in found.regions), strict=True)
    ]
    picture = Picture(path, caption, {"images": study.images, "layers": len(layers)})
    return Part(Section("Hierarchy of layers", [picture, table]), numbers, lines)


def _positions(ends: tuple[float, float]) -> str:
    low, high = ends
    return "–" if np.isnan(low) else f"{low + 1:g} to {high + 1:g}"


def _write(study: Study, found: Hierarchy) -> None:
    columns = ("roi", "layer", "position", "low", "high", "images", *(f"similarity_{name}" for name in study.layers))
    rows = [
        (row.region, row.layer, row.position + 1, *(end + 1 for end in row.positions), study.images, *values)
        for row, values in zip(found.regions, found.correlations, strict=True)
    ]
    write_table(study.output / "layers.csv", columns, rows)


@default_style()
def _draw(study: Study, found: Hierarchy, path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    count, rois = len(study.layers), len(found.regions)
    figure = Figure(figsize=(7.2, max(3.6, 1.4 + 0.26 * rois)), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    colors = matplotlib.colormaps["plasma"](np.linspace(0, 0.9, rois))
    places = np.arange(1, count + 1)
    for row, values, color in zip(found.regions, found.correlations, colors, strict=True):
        left.plot(places, values, "-", color=color, lw=1.2, label=row.region)
        left.plot(row.position + 1, row.correlation, "o", color=color, ms=5)
    left.axhline(0, color="0.6", lw=0.8)
    short = max(map(len, study.layers)) * count <= 60
    left.set_xticks(places, study.layers, rotation=0 if short else 30, ha="center" if short else "right", fontsize=8)
    left.set_xlabel("layer")
    left.set_ylabel(study.measure.similarity)
    for place, (row, color) in enumerate(zip(found.regions, colors, strict=True)):
        right.plot([end + 1 for end in row.positions], [place] * 2, "-", color=color, lw=1.6)
        right.plot(row.position + 1, place, "o", color=color, ms=5)
    right.set_yticks(range(rois), [row.region for row in found.regions], fontsize=8)
    right.invert_yaxis()
    right.set_xlim(0.5, count + 0.5)
    right.set_xticks(places if count <= 12 else np.unique(np.linspace(1, count, 8).round().astype(int)))
    right.set_xlabel("position of the layer most alike")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"ROIs along layers, {study.said}", fontsize=10)
    if study.note:
        figure.supxlabel(study.note, fontsize=7.5, color="0.4")
    save_figure(figure, path)
