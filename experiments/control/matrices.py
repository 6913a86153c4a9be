"""Both regions' matrices: responses of their vertices to the chosen images, and dissimilarities of a chosen set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import squareform

from ...stream.sources.image_files import Source
from ...surface.style import default_style
from ...vertices import Vertices
from ..reporting.figures import new_figure, save_figure
from ..reporting.pictures import shared_limits
from ..reporting.thumbnails import amid, paste, read_thumbnails
from ..representations.dissimilarity import dissimilarities
from ..representations.reports.arrangement import clustered, leaf_order

RESPONSES, DISSIMILARITIES = "responses.png", "dissimilarities.png"
_ALONG = 8  # thumbnails along a matrix, at most
_ROW = 0.028  # inches of an image's row


@default_style()
def draw_responses(
    responses: Float[np.ndarray, "images vertices"],
    regions: Mapping[str, np.ndarray],
    vertices: Vertices,
    chosen: Mapping[str, Int[np.ndarray, " n"]],
    source: Source,
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw each vertex's response to each chosen image less its mean over all images, a matrix for each region.

    Rows are images, goal by goal; columns are a region's vertices by their mean response to the first goal's images.

    Parameters
    ----------
    responses
        Responses to all images, z units.
    regions
        Weights of both regions over the vertices, by name; their vertices are those whose weight is not 0.
    vertices
        The vertices.
    chosen
        Indices of the images chosen for each goal.
    source
        The images.
    path
        The .png file; the .csv file beside it has the numbers.
    title, subtitle, note
        Texts above and below the figure.
    """
    kept = {goal: indices for goal, indices in chosen.items() if len(indices)}
    rows = np.concatenate([*kept.values(), np.zeros(0, int)]).astype(int)
    away = responses[rows] - np.nanmean(responses, axis=0, dtype=np.float64)
    figure = new_figure(max(_ROW * len(rows), 1.1) + 0.75, title, subtitle, note)
    widths = [float((weights != 0).sum()) ** 0.5 for weights in regions.values()]
    panels = figure.subplots(1, len(regions), sharey=True, width_ratios=widths, squeeze=False)[0]
    limits = shared_limits(away)
    most = max(abs(limits[0]), abs(limits[1]))
    names = _vertex_names(vertices)
    table: list[tuple[Any, ...]] = []
    goals = [goal for goal, indices in kept.items() for _ in indices]
    image = None
    for axes, (roi, weights) in zip(panels, regions.items(), strict=True):
        inside = np.flatnonzero(weights)
        order = inside[np.argsort(-away[: len(next(iter(kept.values())))][:, inside].mean(0), kind="stable")]
        options = {"cmap": "RdBu_r", "vmin": -most, "vmax": most, "aspect": "auto", "interpolation": "nearest"}
        image = axes.imshow(away[:, order], **options)
        axes.set_title(f"{roi} (n = {len(order):,} vertices)", pad=3)
        axes.set(xticks=[], yticks=[], xlabel="vertices")
        axes.spines[:].set_visible(False)
        table += [
            (goal, source.ids[row], roi, *names[vertex], float(value))
            for goal, row, values in zip(goals, rows, away[:, order], strict=True)
            for vertex, value in zip(order, values, strict=True)
        ]
    ends = np.cumsum([0, *(len(indices) for indices in kept.values())])
    for axes in panels:
        for end in ends[1:-1]:
            axes.axhline(end - 0.5, color="black", lw=0.6)
    panels[0].set_yticks((ends[:-1] + ends[1:] - 1) / 2, [goal.replace(", ", ",\n") for goal in kept])
    for axes in panels:
        axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=list(panels), orientation="horizontal", shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("response − mean over all images (z)")
    columns = ("goal", "image", "roi", "hemisphere", "vertex", "response")
    save_figure(figure, path, columns, table)


@default_style()
def draw_dissimilarities(
    responses: Float[np.ndarray, "images vertices"],
    regions: Mapping[str, np.ndarray],
    chosen: Mapping[str, Int[np.ndarray, " n"]],
    source: Source,
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw both regions' dissimilarity matrices of each chosen set, a row of two for each goal.

    The images of a set are in the order of the first region's hierarchical clustering, in both matrices.

    Parameters
    ----------
    responses, regions, chosen, source, path, title, subtitle, note
        See :func:`draw_responses`.
    """
    figure = new_figure(1.72 * len(chosen) + 0.6, title, subtitle, note)
    panels = figure.subplots(len(chosen), len(regions), squeeze=False)
    drawn = []
    for goal, indices in chosen.items():
        pairs = {roi: dissimilarities(responses[indices][:, weights != 0]) for roi, weights in regions.items()}
        order = leaf_order(clustered(np.nan_to_num(next(iter(pairs.values())))))
        drawn.append(
            (
                goal,
                indices[order],
                {roi: squareform(p, checks=False)[np.ix_(order, order)] for roi, p in pairs.items()},
            )
        )
    high = max(float(np.nanmax(matrix)) for _, _, matrices in drawn for matrix in matrices.values())
    table: list[tuple[Any, ...]] = []
    image = None
    for row, (goal, indices, matrices) in zip(panels, drawn, strict=True):
        places = amid(len(indices), _ALONG)
        thumbnails = read_thumbnails(source, indices[places])
        r = np.corrcoef(*(matrix[np.triu_indices(len(indices), 1)] for matrix in matrices.values()))[0, 1]
        size = 0.85 * len(indices) / max(len(places), 6)
        for axes, (roi, matrix) in zip(row, matrices.items(), strict=True):
            image = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=high, interpolation="nearest")
            paste(axes, thumbnails, np.column_stack([np.full(len(places), -0.5 - 0.6 * size), places]), (size, size))
            below = np.full(len(places), len(indices) - 0.5 + 0.6 * size)
            paste(axes, thumbnails, np.column_stack([places, below]), (size, size))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_title(roi if axes is not row[0] else f"{goal} (r = {r:.2f}): {roi}", pad=3)
            names = [source.ids[index] for index in indices]
            table += [
                (goal, roi, names[i], names[j], float(matrix[i, j]))
                for i, j in zip(*np.triu_indices(len(indices), 1), strict=True)
            ]
    bar = figure.colorbar(image, ax=list(panels.ravel()), orientation="horizontal", shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("dissimilarity, 1 − r (no unit)")
    save_figure(figure, path, ("goal", "roi", "image", "other", "dissimilarity"), table)


def _vertex_names(vertices: Vertices) -> list[tuple[str, int]]:
    """Return the hemisphere and the index of each vertex, in the columns' order."""
    return [("lh", int(index)) for index in vertices.lh] + [("rh", int(index)) for index in vertices.rh]
