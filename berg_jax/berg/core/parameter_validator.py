"""Validators under the published package's module path ``berg.core.parameter_validator``."""

from ...errors import ValidationError
from ..validators import (
    get_selected_indices,
    validate_binary_array,
    validate_channels,
    validate_roi,
    validate_selection_keys,
    validate_subject,
    validate_subjects,
)

__all__ = [
    "ValidationError",
    "get_selected_indices",
    "validate_binary_array",
    "validate_channels",
    "validate_roi",
    "validate_selection_keys",
    "validate_subject",
    "validate_subjects",
]
