"""The model card, which ``BERG.describe()`` returns and ``berg-jax describe`` prints."""

from __future__ import annotations

import importlib.resources
from typing import Any

import yaml

MODEL_ID = "fmri-nsd_fsaverage-huze"


def read_card() -> dict[str, Any]:
    """Return the card of ``MODEL_ID`` as nested dicts.

    See Also
    --------
    card_text : The card as text.

    Examples
    --------
    >>> read_card()["parameters"]["subject"]["valid_values"]
    [1, 2, 3, 4, 5, 6, 7, 8]
    """
    text = (importlib.resources.files(__package__) / f"{MODEL_ID}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def card_text() -> str:
    """Return the card of ``MODEL_ID`` as text."""
    return yaml.safe_dump(read_card(), sort_keys=False, allow_unicode=True, width=100)
