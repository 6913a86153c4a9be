"""The fMRI encoding model fmri-nsd_fsaverage-huze in JAX: images → responses of cortical vertices.

The public names are imported when they are first used, so that importing the package is instant and needs
neither JAX nor PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .berg import BERG
    from .errors import (
        BERGError,
        IntegrityError,
        Interrupted,
        InvalidParameterError,
        ModelLoadError,
        ModelNotFoundError,
        ResourceError,
        StimulusError,
        UnsafeFileError,
        ValidationError,
    )
    from .gradients import value_and_pixel_gradient
    from .model import EncodingModel
    from .rois import Vertices
    from .stacking import stack
    from .stream.responses import open_responses
    from .subject import Subject, load

__version__ = "0.1.0"

_HOMES = {
    "BERG": "berg",
    "EncodingModel": "model",
    "Subject": "subject",
    "Vertices": "rois",
    "load": "subject",
    "open_responses": "stream.responses",
    "stack": "stacking",
    "value_and_pixel_gradient": "gradients",
    **dict.fromkeys(
        (
            "BERGError",
            "IntegrityError",
            "Interrupted",
            "InvalidParameterError",
            "ModelLoadError",
            "ModelNotFoundError",
            "ResourceError",
            "StimulusError",
            "UnsafeFileError",
            "ValidationError",
        ),
        "errors",
    ),
}

__all__ = [
    "BERG",
    "BERGError",
    "EncodingModel",
    "IntegrityError",
    "Interrupted",
    "InvalidParameterError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ResourceError",
    "StimulusError",
    "Subject",
    "UnsafeFileError",
    "ValidationError",
    "Vertices",
    "load",
    "open_responses",
    "stack",
    "value_and_pixel_gradient",
]


_MODULES = ("demo", "surface")  # to be used as berg_jax.surface.plot without an import of their own


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
