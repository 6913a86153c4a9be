"""Photographs from other packages, on which the package can be tried."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import ResourceError

_PHOTOGRAPHS = {
    "grace_hopper.jpg": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "china.jpg": ("sklearn", "datasets/images/china.jpg"),
    "flower.jpg": ("sklearn", "datasets/images/flower.jpg"),
}


def photographs() -> dict[str, Path]:
    """Return the paths of photographs that come with matplotlib and scikit-learn, by name.

    Neither package is imported.

    Raises
    ------
    ResourceError
        One of the packages is not installed.

    See Also
    --------
    images : Drawings of several kinds.

    Examples
    --------
    >>> sorted(photographs())
    ['china.jpg', 'flower.jpg', 'grace_hopper.jpg']
    """
    found = {}
    for name, (package, relative_path) in _PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec else None
        path = Path(folders[0]) / relative_path if folders else None
        if path is None or not path.is_file():
            raise ResourceError(f"{name} comes with {package}, which is not installed: pip install 'berg_jax[demo]'.")
        found[name] = path
    return found
