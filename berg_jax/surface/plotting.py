"""Figures of responses on the cortical surface, and GIFTI files of them.

Figures show fsaverage5 (10,242 vertices per hemisphere), whose surfaces come with nilearn, or the values' own finer
mesh if nilearn has fetched it before. Nothing is downloaded.
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
from .drawing import Halves, draw_frame, draw_legend, draw_rows
from .maps import GIFTI, read, save
from .meshes import SHOWN, require
from .page import html
from .spaces import resolution, to_fsaverage5, to_shown, whole_map
from .style import DPI, default_style
from .views import FLAT, OCCIPITAL, VIEWS

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
    subtitle: str | None = None,
    outlines: Mapping[str, Vertices] | None = None,
    limit: float | tuple[float, float] | None = None,
    colormap: str | Colormap | None = None,
    wheel: bool = False,
    labels: Sequence[str] | None = None,
    note: str | None = None,
    output: str | Path | None = None,
) -> Figure:
    """Draw one value per vertex on the inflated and on the flattened cortex, with the left hemisphere on the left.

    Vertices without a value (NaN, or not among ``vertices``) are grey: light on gyri, dark in sulci. The color scale
    ranges from -limit to limit if values of both signs are shown, otherwise from 0 to one side; a range that would be
    empty over half of its length or more is cut, and colors keep their meaning. The picture is 89 mm wide, as a
    journal's column, with texts of 6 points and more.

    Parameters
    ----------
    values
        Without ``vertices``, one value for each vertex, (2 · hemisphere_size,), left hemisphere first. With
        ``vertices``, one value for each of them, in their order. All values on fsaverage6 and fsaverage7 are shown if
        nilearn has these meshes in its data folder (``nilearn.datasets.fetch_surf_fsaverage`` fetches them).
        Otherwise :func:`to_fsaverage5` says which values are shown.
    vertices
        Vertices of the values. The default is all vertices.
    views
        Rows of inflated hemispheres: ``lateral``, ``medial``, ``ventral``, ``dorsal``, ``posterior``, ``anterior``;
        ``occipital``, a close-up around V1 on the spherical surface, which shows V1 to hV4 whole; and ``flat``.
    flat
        Whether a row of flattened hemispheres follows, from which the medial wall is cut out.
    label
        Meaning of the colors, with the unit.
    title, subtitle
        Title above the picture, and a line below the title, such as the subject, the ROI and n.
    outlines
        Regions whose borders are drawn, by name, such as ``{"V1": subject.vertices("V1")}``. A region's name stands
        on or beside it in each view that shows most of it and has room, and always in the legend below the picture.
        Outlines are black with a white halo.
    limit
        Magnitude that has the strongest color. The default is the 99th percentile of the magnitudes shown. Stronger
        values have the same color, and the color bar then ends in an arrow. Two numbers are both ends of the scale,
        which maps that are compared can share.
    colormap
        A colormap, or the name of one of matplotlib's. The default depends on the signs of the values.
    wheel
        Whether the values are angles in degrees, counterclockwise from the right. Colors are then cyclic, and the
        legend is a wheel.
    labels
        Names whose numbers, from 0, the values are. Each name has its own color, and the legend lists them.
    note
        Small print below the picture, such as ``"SYNTHETIC weights"``.
    output
        The file in which the picture is saved: .png (1350 pixels wide), .pdf or .svg (89 mm wide).

    Returns
    -------
    The figure, which pyplot does not manage, so it need not be closed. Its first axes are the picture, in mm, its
    second ones the color bar.

    Raises
    ------
    InvalidParameterError
        An argument is invalid, no value can be shown, or the mesh is not one of fsaverage.
    ResourceError
        matplotlib or nilearn is not installed, or ``output`` cannot be written.

    See Also
    --------
    html : An interactive page.
    save : Files for other surface viewers.

    Examples
    --------
    >>> import berg_jax
    >>> subject = berg_jax.Subject("demo", 1)
    >>> vertices = subject.vertices("nsdgeneral")
    >>> ncsnr = np.concatenate([subject.metadata.ncsnr(hemisphere) for hemisphere in ("lh", "rh")])
    >>> figure = plot(ncsnr[vertices.global_indices], vertices, views=[], label="ncsnr")
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

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = "angles" if wheel else "names" if labels is not None else "values"
    small_print = " · ".join(filter(None, (note, resolution(size, len(shown[0])))))
    with default_style():
        figure = Figure(dpi=DPI)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        bottom = draw_rows(axes, rows, shown, regions, scale, kind)
        bottom = draw_legend(axes, regions, bottom)
        texts = label, title or "", subtitle or "", small_print
        draw_frame(axes, bottom, scale, *texts, kind, labels or ())
        if output is not None:
            with explained("write", Path(output)):
                figure.savefig(output)
    return figure


def write_gifti(
    values: Float[np.ndarray, " n"], vertices: Vertices | None = None, *, path_prefix: str | Path
) -> tuple[Path, Path]:
    """Write ``<path_prefix>.lh.func.gii`` and ``<path_prefix>.rh.func.gii``, and return their paths.

    This is the same as ``save(values, f"{path_prefix}.func.gii", vertices)``.

    See Also
    --------
    save : Write maps in several formats.
    """
    left, right = save(values, f"{path_prefix}{GIFTI}", vertices)
    return left, right


def _rows(views: Sequence[str], flat: bool) -> list[str]:
    names = [*VIEWS, OCCIPITAL, FLAT]
    known = isinstance(views, Sequence) and not isinstance(views, str) and all(view in names for view in views)
    if not known or not (views or flat):
        raise InvalidParameterError(f"views must be a list of {names}, empty only with flat=True, got {views!r}.")
    return [*views, FLAT] if flat and FLAT not in views else list(views)


def _regions(outlines: Mapping[str, Vertices] | None, size: int) -> dict[str, Halves]:
    """Return the masks of each outlined region for both hemispheres, on the mesh of the picture."""
    if not isinstance(outlines, Mapping | None):
        raise InvalidParameterError(f"outlines must be {{name: Vertices}}, got {type(outlines).__name__}.")
    masks = {}
    for name, vertices in (outlines or {}).items():
        check_vertices(vertices, size)
        mask = np.zeros(2 * size, bool)
        mask[vertices.global_indices] = True
        masks[str(name)] = to_shown(mask, size)
    return masks
