"""Color scales of values, angles and names."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..errors import InvalidParameterError

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap

DIVERGING, SEQUENTIAL, CYCLIC = "RdBu_r", "viridis", "hsv"


def color_scale(
    values: Float[np.ndarray, " n"],
    limit: float | tuple[float, float] | None,
    colormap: str | Colormap | None,
    outliers: float = 1.0,
) -> ScalarMappable:
    """Return the color scale of values. Its colormap also says which ends of the color bar are arrows.

    A diverging scale has 0 in its middle, and is cut where one sign takes less than a quarter of the other's range.
    A scale of one sign begins at 0, unless half of it would be empty.

    Parameters
    ----------
    values
        The values that are shown.
    limit
        Magnitude of the strongest color, or both ends of the scale.
    colormap
        A colormap, or the name of one of matplotlib's.
    outliers
        Without a limit, the percentage of values that may lie beyond each end.

    Raises
    ------
    InvalidParameterError
        The limit is neither a positive number nor two ascending ones, or there is no such colormap.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = values[~np.isnan(values)]
    low, high = float(values.min()), float(values.max())
    least, most = _ends(values, limit, outliers)
    largest = max(-least, most)
    if colormap is None:
        # Reversed for negative values, so that 0 has the same color as with positive ones.
        colormap = DIVERGING if least < 0 < most else SEQUENTIAL if most > 0 else f"{SEQUENTIAL}_r"
    colormap = _colormap(colormap)
    if least < 0 < most and least != -most:
        colormap = _cut(colormap, (1 + least / largest) / 2, (1 + most / largest) / 2)
    colormap.colorbar_extend = ("neither", "min", "max", "both")[int(low < least) + 2 * int(high > most)]
    return ScalarMappable(Normalize(least, most), colormap)


def _ends(
    values: Float[np.ndarray, " n"], limit: float | tuple[float, float] | None, outliers: float
) -> tuple[float, float]:
    """Return the ends of the scale of these values."""
    low, high = float(values.min()), float(values.max())
    if isinstance(limit, tuple | list) and len(limit) == 2 and all(map(_is_finite, limit)) and limit[0] < limit[1]:
        return float(limit[0]), float(limit[1])
    if limit is None:
        # A few outliers must not wash out the rest, but if nearly all values are 0, the few others determine the
        # limit.
        largest = float(np.percentile(abs(values), 100 - outliers)) or float(abs(values).max()) or 1.0
    elif _is_finite(limit) and limit > 0:
        largest = float(limit)
    else:
        raise InvalidParameterError(
            f"limit must be a positive number, or the two ends of the scale, ascending; got {limit!r}."
        )
    if low < 0 < high:
        return (-largest, largest) if limit is not None else (-_side(-low, largest), _side(high, largest))
    inner = float(np.percentile(abs(values), outliers))
    # From 0 on, unless half of the scale would then be empty.
    start = inner if limit is None and largest / 2 < inner < largest else 0.0
    return (-largest, -start) if low < 0 else (start, largest)


def _side(reached: float, largest: float) -> float:
    """Return the end of one side of a diverging scale: the largest magnitude, or less where it reaches far less."""
    return reached if reached < largest / 4 else largest


def _is_finite(number: Any) -> bool:
    return isinstance(number, numbers.Real) and not isinstance(number, bool) and math.isfinite(number)


def _cut(colormap: Colormap, start: float, end: float) -> Colormap:
    """Return a part of a colormap, such as most of a diverging one, in which 0 keeps its color."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormap(np.linspace(start, end, 512)), name=colormap.name)


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
