"""Responses on the cortical surface: pictures, and files that surface viewers read.

Pictures show fsaverage5 (10,242 vertices a hemisphere), whose surfaces come with nilearn, or the values' own finer
mesh where nilearn has fetched it before; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ..errors import InvalidParameterError
from ..files.disk import explained
from ..vertices import Vertices, check_vertices
from .colors import angle_scale, color_scale, name_scale
from .drawing import DPI, VIEWS, Halves, draw_frame, draw_legend, draw_rows
from .maps import GIFTI, read, save
from .meshes import SHOWN, require
from .page import html
from .spaces import resolution, to_fsaverage5, to_shown, whole_map

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["html", "plot", "read", "save", "to_fsaverage5", "write_gifti"]
PICTURES = (".pdf", ".png", ".svg")


def plot(
    values: Float[np.ndarray, " n"],
    vertices: Vertices | None = None,
    *,
    views: Sequence[str] = ("lateral", "ventral", "medial"),
    flat: bool = True,
    label: str = "response (z)",
    title: str | None = None,
    outlines: Mapping[str, Vertices] | None = None,
    limit: float | None = None,
    colormap: str | Colormap | None = None,
    wheel: bool = False,
    labels: Sequence[str] | None = None,
    note: str | None = None,
    output: str | Path | None = None,
) -> Figure:
    """Draw one value per vertex on the inflated and on the flattened cortex, the left hemisphere at left.

    Vertices without a value (NaN, or not among ``vertices``) stay grey: light gyri, dark sulci. The color scale
    goes from -limit to limit if values of both signs are shown, else from 0 to the one side.

    Parameters
    ----------
    values
        Without ``vertices`` one value for each vertex, (2 · hemisphere_size,), left hemisphere first; with
        ``vertices`` one for each of them, in their order. Of fsaverage6 and fsaverage7 all are shown where nilearn
        has these meshes in its data folder (``nilearn.datasets.fetch_surf_fsaverage`` fetches them), else see
        :func:`to_fsaverage5` for which are.
    vertices
        Which vertices the values are of, by default all.
    views
        Rows of inflated hemispheres, of ``lateral``, ``medial``, ``ventral``, ``dorsal``, ``posterior``,
        ``anterior``, and ``flat``.
    flat
        Whether a row of flattened hemispheres follows. The medial wall is cut out of them.
    label
        What the colors mean, with the unit.
    title
        Stands above the picture.
    outlines
        Regions whose borders are drawn, by name, such as ``{"V1": subject.vertices("V1")}``. A name stands at its
        region wherever most of it is seen and there is room, and in any case below the picture. Each has a color of
        its own; with ``wheel`` or ``labels``, which have many colors, all are black.
    limit
        The magnitude that has the strongest color, by default the 99th percentile of the magnitudes shown. Where
        stronger values are shown, they have the same color, and the color bar ends in an arrow.
    colormap
        A colormap, or the name of one of matplotlib's. By default one that fits the signs.
    wheel
        Values are angles in degrees, counterclockwise from the right. Colors go around, and the legend is a wheel.
    labels
        Values are numbers of these names, from 0. Each has a color of its own, and the legend names them.
    note
        Small print below the picture, such as ``"SYNTHETIC weights"``.
    output
        Where to save the picture: .png (1350 pixels wide), .pdf or .svg.

    Returns
    -------
    The figure; pyplot does not know it, so it needs no closing. Its first axes are the picture, in mm, its second
    ones the color bar.

    Raises
    ------
    InvalidParameterError
        An argument makes no sense, no value can be shown, or the mesh is none of fsaverage.
    ResourceError
        matplotlib or nilearn is not installed, or ``output`` cannot be written.
    """
    values, size = whole_map(values, vertices)
    rows = _rows(views, flat)
    if output is not None and Path(output).suffix.lower() not in PICTURES:
        raise InvalidParameterError(f"output must end in {', '.join(PICTURES)}, got {str(output)!r}.")
    require("nilearn")
    shown = to_shown(values, size)
    if np.isnan(shown).all():
        raise InvalidParameterError(
            f"There is nothing to show: {int((~np.isnan(values)).sum())} values are numbers, and none of them is at "
            f"one of the first {SHOWN} vertices of a hemisphere, which a picture shows. Pass values of more vertices."
        )
    regions = _regions(outlines, size)
    require("matplotlib")
    if wheel and labels is not None:
        raise InvalidParameterError("Values are angles (wheel) or numbers of names (labels), not both.")
    if wheel:
        scale = angle_scale(limit, colormap)
    elif labels is not None:
        scale = name_scale(values, labels, limit, colormap)
    else:
        scale = color_scale(np.concatenate(shown), limit, colormap)

    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    kind = "angles" if wheel else "names" if labels is not None else "values"
    small_print = " · ".join(filter(None, (note, resolution(size, len(shown[0])))))
    with rc_context({"text.parse_math": False}):  # names are names, whatever signs are in them
        bottom = draw_rows(axes, rows, shown, regions, scale, kind)
        bottom = draw_legend(axes, regions, bottom, kind)
        draw_frame(axes, bottom, scale, label, title or "", small_print, kind, labels or ())
    if output is not None:
        with explained("write", Path(output)):
            figure.savefig(output)
    return figure


def write_gifti(
    values: Float[np.ndarray, " n"], vertices: Vertices | None = None, *, path_prefix: str | Path
) -> tuple[Path, Path]:
    """Write ``<path_prefix>.lh.func.gii`` and ``<path_prefix>.rh.func.gii``, and return their paths.

    The same as ``save(values, f"{path_prefix}.func.gii", vertices)``: see :func:`save`.
    """
    left, right = save(values, f"{path_prefix}{GIFTI}", vertices)
    return left, right


def _rows(views: Sequence[str], flat: bool) -> list[str]:
    names = [*VIEWS, "flat"]
    known = isinstance(views, Sequence) and not isinstance(views, str) and all(view in names for view in views)
    if not known or not (views or flat):
        raise InvalidParameterError(f"views must be a list of {names}, empty only with flat=True, got {views!r}.")
    return [*views, "flat"] if flat and "flat" not in views else list(views)


def _regions(outlines: Mapping[str, Vertices] | None, size: int) -> dict[str, Halves]:
    """For each outlined region a mask of each hemisphere, as it is shown."""
    if not isinstance(outlines, Mapping | None):
        raise InvalidParameterError(f"outlines must be {{name: Vertices}}, got {type(outlines).__name__}.")
    masks = {}
    for name, vertices in (outlines or {}).items():
        check_vertices(vertices, size)
        mask = np.zeros(2 * size, bool)
        mask[vertices.global_indices] = True
        masks[str(name)] = to_shown(mask, size)
    return masks
