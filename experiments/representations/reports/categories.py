"""Colors of categories of images in figures, and their legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...inputs.categories import ShownImages
from ...reporting.figures import legend_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = (0, 1, 2, 3, 4, 5, 6, 8, 9)  # of matplotlib's default ones, without grey
_UNKNOWN = "0.5"
_MOST = 27  # categories in a legend


def category_colors(shown: ShownImages) -> list[str]:
    """Return the color of each image's category, in the images' own order; grey where it is not known."""
    colors = _by_kind(shown)
    return [colors.get(category, _UNKNOWN) for category in shown.categories]


def category_legend(figure: Figure, shown: ShownImages) -> None:
    """Write which color is which category below a figure's title; nothing where none is known, or they are too many.

    The legend holds the title, since matplotlib's layout would draw one over the other.
    """
    colors = _by_kind(shown)
    if 0 < len(colors) <= _MOST:
        legend_names(figure, list(colors), list(colors.values()))


def _by_kind(shown: ShownImages) -> dict[str, str]:
    return {kind: f"C{_COLORS[place % len(_COLORS)]}" for place, kind in enumerate(shown.kinds)}
