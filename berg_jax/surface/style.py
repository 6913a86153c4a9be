"""Matplotlib's default settings while a figure is drawn and saved, whatever the user's are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .meshes import require


@contextlib.contextmanager
def default_style(math: bool = False) -> Iterator[None]:
    """Draw and save figures under matplotlib's default settings, without those of a matplotlibrc or a style in use.

    Sizes, colors and texts are chosen for these settings: under others, white names could stand on white, TeX could
    be missing, or a cropped picture would have another size.

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

    with matplotlib.style.context("default"), matplotlib.rc_context({"text.parse_math": math}):
        yield
