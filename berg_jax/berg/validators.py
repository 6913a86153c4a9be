"""Checks of subjects, ROIs and masks, with the openings of the published package's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from ..errors import InvalidParameterError, ValidationError


class InvalidSelectionError(InvalidParameterError, ValidationError):
    """A ROI, a mask or a channel is invalid; the published package raises its own ``ValidationError`` for these."""


def validate_subject(subject: Any, valid_subjects: Sequence[int]) -> None:
    """Raise InvalidParameterError unless a subject's ID is one of the valid ones.

    Examples
    --------
    >>> validate_subject(2, [1, 2, 3])
    """
    if isinstance(subject, bool) or subject not in valid_subjects:
        raise InvalidParameterError(
            f"Subject must be one of {list(valid_subjects)}, got {subject}. "
            f"Give subject={valid_subjects[0]!r}, for example."
        )


def validate_subjects(subjects: Any, valid_subjects: Sequence[Any]) -> list[Any]:
    """Return a list of subjects for a subject's ID, a list of them, or ``"all"``.

    Raises
    ------
    InvalidParameterError
        A subject is none of the valid ones, or there is none.

    Examples
    --------
    >>> validate_subjects("all", [1, 2, 3])
    [1, 2, 3]
    """
    if isinstance(subjects, str) and subjects.lower() == "all":
        return list(valid_subjects)
    if not isinstance(subjects, int | str | list) or subjects == []:
        raise InvalidParameterError(f"subjects must be an ID, a list of IDs, or 'all', got {subjects!r}.")
    chosen = subjects if isinstance(subjects, list) else [subjects]
    for subject in chosen:
        validate_subject(subject, valid_subjects)
    return chosen


def validate_selection_keys(selection: Mapping[str, Any], valid_keys: Sequence[str]) -> None:
    """Raise InvalidParameterError unless all keys of a selection are valid.

    Examples
    --------
    >>> validate_selection_keys({"roi": "V1v"}, ["roi", "lh_vertices"])
    """
    for key in selection:
        if key not in valid_keys:
            raise InvalidParameterError(f"Invalid selection key: '{key}'. Valid keys are: {sorted(valid_keys)}")


def validate_channels(channels: Any, valid_channels: Sequence[str]) -> list[str]:
    """Return a list of channels, or raise InvalidSelectionError unless all are valid.

    Examples
    --------
    >>> validate_channels(["Oz"], ["Oz", "Pz"])
    ['Oz']
    """
    if not isinstance(channels, list):
        raise InvalidSelectionError(f"channels parameter must be a list, got {type(channels)}.")
    if invalid := [channel for channel in channels if channel not in valid_channels]:
        raise InvalidSelectionError(f"Invalid channel(s): {invalid}. Valid channels are: {list(valid_channels)}")
    return channels


def validate_binary_array(
    array: Any, expected_length: int | None, parameter_name: str = "binary array"
) -> Int[np.ndarray, " n"]:
    """Return a mask as an array, or raise InvalidSelectionError.

    Parameters
    ----------
    array
        List or array (n,) of 0 and 1, at least one of them 1.
    expected_length
        Number of elements; None where it is not known.
    parameter_name
        Name of the mask in messages.

    Examples
    --------
    >>> validate_binary_array([1, 0, 1], 3)
    array([1, 0, 1])
    """
    if not isinstance(array, list | np.ndarray):
        raise InvalidSelectionError(f"{parameter_name} must be a list or numpy array, got {type(array)}.")
    mask = np.asarray(array)
    if mask.ndim == 1 and expected_length is not None and len(mask) != expected_length:
        raise InvalidSelectionError(
            f"{parameter_name} must have exactly {expected_length} elements, got {len(mask)}."
        )
    if mask.ndim != 1 or not np.isin(mask, (0, 1)).all():
        raise InvalidSelectionError(
            f"{parameter_name} must be binary (contain only 0s and 1s): one for each vertex of the hemisphere."
        )
    if not mask.any():
        raise InvalidSelectionError(
            f"At least one element in {parameter_name} must be selected (contain at least one 1). Leave "
            f"{parameter_name} out to select the whole hemisphere."
        )
    return mask


def get_selected_indices(binary_array: Int[np.ndarray, " n"]) -> Int[np.ndarray, " selected"]:
    """Return the indices of a mask's ones.

    Examples
    --------
    >>> get_selected_indices(np.array([0, 1, 0, 1]))
    array([1, 3])
    """
    return np.flatnonzero(np.asarray(binary_array) == 1)


def validate_roi(roi: Any, valid_rois: Sequence[str]) -> list[str]:
    """Return a list of ROIs for a ROI or a list of them, or raise InvalidSelectionError unless all are valid.

    Examples
    --------
    >>> validate_roi("V1", ["V1", "V2"])
    ['V1']
    """
    names = roi if isinstance(roi, list | tuple) else [roi]
    if not names or any(not isinstance(name, str) or name not in valid_rois for name in names):
        raise InvalidSelectionError(f"Invalid ROI: '{roi}'. Valid ROIs are: {list(valid_rois)}")
    return list(names)
