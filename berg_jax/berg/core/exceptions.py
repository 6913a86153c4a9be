"""Exceptions under the published package's module path ``berg.core.exceptions``."""

from ...errors import (
    BERGError,
    InvalidParameterError,
    ModelLoadError,
    ModelNotFoundError,
    ResourceError,
    StimulusError,
)

__all__ = [
    "BERGError",
    "InvalidParameterError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ResourceError",
    "StimulusError",
]
