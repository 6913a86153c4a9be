"""Validators under the published package's module path ``berg.core.parameter_validator``."""

from ...errors import ValidationError  # noqa: F401, a name for scripts
from ..validators import (  # noqa: F401, names for scripts
    get_selected_indices,
    validate_binary_array,
    validate_channels,
    validate_roi,
    validate_selection_keys,
    validate_subject,
    validate_subjects,
)
