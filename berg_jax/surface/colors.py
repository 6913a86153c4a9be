"""Color scales of values, angles and names."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ..errors import InvalidParameterError

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap

DIVERGING, SEQUENTIAL, CYCLIC = "RdBu_r", "viridis", "hsv"


def color_scale(
    values: Float[np.ndarray, " n"], limit: float | None, colormap: str | Colormap | None
) -> ScalarMappable:
    """Return the color scale of values. Its colormap also says which ends of the color bar are arrows.

    Raises
    ------
    InvalidParameterError
        The limit is not a positive number, or there is no such colormap.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = values[~np.isnan(values)]
    if limit is None:
        # A few outliers must not wash out the rest, but if nearly all values are 0, the few others determine the
        # limit.
        limit = float(np.percentile(abs(values), 99)) or float(abs(values).max()) or 1.0
    elif isinstance(limit, bool) or not isinstance(limit, numbers.Real) or not 0 < limit < math.inf:
        raise InvalidParameterError(f"limit must be a positive number, got {limit!r}.")
    limit = float(limit)
    low, high = values.min(), values.max()
    least, most = (-limit if low < 0 else 0), (limit if high > 0 or low == 0 else 0)
    if colormap is None:
        # Reversed for negative values, so that 0 has the same color as with positive ones.
        colormap = DIVERGING if least < 0 < most else SEQUENTIAL if most > 0 else f"{SEQUENTIAL}_r"
    colormap = _colormap(colormap)
    colormap.colorbar_extend = ("neither", "min", "max", "both")[int(low < least) + 2 * int(high > most)]
    return ScalarMappable(Normalize(least, most), colormap)


def angle_scale(limit: float | None, colormap: str | Colormap | None) -> ScalarMappable:
    """Return the color scale of angles, from −180° to 180°.

    Raises
    ------
    InvalidParameterError
        A limit is given, or there is no such colormap.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if limit is not None:
        raise InvalidParameterError("A wheel of angles has no limit. Leave it out.")
    return ScalarMappable(Normalize(-180, 180), _colormap(CYCLIC if colormap is None else colormap))


def name_scale(
    values: Float[np.ndarray, " n"], names: Sequence[str], limit: float | None, colormap: str | Colormap | None
) -> ScalarMappable:
    """Return the color scale of names, whose values are their numbers from 0.

    Raises
    ------
    InvalidParameterError
        A value is not the number of a name, a limit is given, or there is no such colormap.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    numbers_used, count = values[~np.isnan(values)], len(names)
    if limit is not None or not count or not np.isin(numbers_used, np.arange(count)).all():
        wrong = numbers_used[~np.isin(numbers_used, np.arange(count))]
        raise InvalidParameterError(
            f"With labels, values are whole numbers from 0 to {count - 1} or NaN, and there is no limit; got "
            f"{wrong[0] if len(wrong) else limit} and {count} labels."
        )
    default = "tab10" if count <= 10 else "tab20" if count <= 20 else "turbo"
    chosen = _colormap(default if colormap is None else colormap)
    listed = isinstance(chosen, ListedColormap) and chosen.N < 256
    colors = chosen(np.arange(count) % chosen.N) if listed else chosen(np.linspace(0, 1, count))
    return ScalarMappable(Normalize(-0.5, count - 0.5), ListedColormap(colors))


def _colormap(colormap: str | Colormap) -> Colormap:
    """Return a copy of a colormap, or of the colormap of this name."""
    import matplotlib
    from matplotlib.colors import Colormap

    if isinstance(colormap, str) and colormap in matplotlib.colormaps:
        colormap = matplotlib.colormaps[colormap]
    if not isinstance(colormap, Colormap):
        raise InvalidParameterError(
            f"colormap must be a matplotlib colormap, or the name of one such as {DIVERGING!r}, got {colormap!r:.80}."
        )
    return colormap.copy()
