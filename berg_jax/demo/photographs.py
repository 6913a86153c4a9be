"""Pictures to try the package on."""

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
    """Photographs that come with matplotlib and scikit-learn, by name; neither package is imported.

    Raises
    ------
    ResourceError
        One of the packages is not installed.
    """
    found = {}
    for name, (package, place) in _PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        path = Path(spec.submodule_search_locations[0]) / place if spec and spec.submodule_search_locations else None
        if path is None or not path.is_file():
            raise ResourceError(f"{name} comes with {package}, which is not installed: pip install 'berg_jax[demo]'.")
        found[name] = path
    return found
