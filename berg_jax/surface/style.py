"""Style of figures: a journal column wide, with no text below 6 points; and matplotlib's defaults for the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .meshes import require

WIDTH, DPI = 89 / 25.4, 1350 / (89 / 25.4)  # inches, and dots an inch for a picture of 1350 pixels
SMALLEST = 6.0  # size of a figure's smallest text in points
_STYLE = {
    "font.size": 6.5,
    "axes.titlesize": 7,
    "axes.labelsize": 6.5,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": SMALLEST,
    "figure.titlesize": 8,
    "figure.dpi": DPI,
    "savefig.dpi": "figure",
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "axes.labelpad": 2,
    "lines.linewidth": 1,
    "patch.linewidth": 0.6,
    "pdf.fonttype": 42,  # texts stay texts
}


@contextlib.contextmanager
def default_style(math: bool = False) -> Iterator[None]:
    """Draw and save figures under one style, without the settings of a matplotlibrc or of a style in use.

    A figure is as wide as a journal's column, 89 mm, with texts of 6 to 8 points, so that it can be read at that
    width, at twice that width, and on a phone. Under other settings white names could stand on white, TeX could be
    missing, or a cropped picture would have another size.

    Parameters
    ----------
    math
        Whether dollar signs enclose formulas; names hold them as signs.

    Raises
    ------
    ResourceError
        matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib
    >>> with matplotlib.rc_context({"figure.facecolor": "black"}), default_style():
    ...     matplotlib.rcParams["figure.facecolor"]
    'white'
    """
    require("matplotlib")
    import matplotlib.style

    with matplotlib.style.context("default"), matplotlib.rc_context({**_STYLE, "text.parse_math": math}):
        yield
