"""Exceptions under the published package's module path ``berg.core.exceptions``."""

from ...errors import (  # noqa: F401, names for scripts
    BERGError,
    InvalidParameterError,
    ModelLoadError,
    ModelNotFoundError,
    ResourceError,
    StimulusError,
)
