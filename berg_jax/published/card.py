"""Model cards: what ``BERG.describe()`` and ``BERG.list_models()`` read, and ``berg-jax describe`` prints."""

from __future__ import annotations

import importlib.resources
from typing import Any

import yaml

MODEL_ID = "fmri-nsd_fsaverage-huze"


def read_card() -> dict[str, Any]:
    """The card of ``MODEL_ID``."""
    text = (importlib.resources.files(__package__) / f"{MODEL_ID}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def card_text() -> str:
    """The card of ``MODEL_ID`` to print."""
    return yaml.safe_dump(read_card(), sort_keys=False, allow_unicode=True, width=100)
