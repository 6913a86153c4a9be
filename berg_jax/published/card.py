"""The model card, which ``BERG.describe()`` returns and ``berg-jax describe`` prints."""

from __future__ import annotations

import importlib.resources
import textwrap
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


def card_page() -> str:
    """Return the card of ``MODEL_ID`` as a page for reading: description, images, responses, ROIs, references."""
    card = read_card()
    selection = card["parameters"]["selection"]["properties"]["roi"]["valid_values"]
    ids = card["parameters"]["subject"]["valid_values"]
    facts = {
        "Modality": f"{card['modality']}, {card['training_dataset']}",
        "Model": f"{card['model_type']}, by {card['creator']}",
        "Code": card["implementation"],
        "Subjects": f"{ids[0]} to {ids[-1]} as published; demo subjects 1 to 4 with --berg-dir demo",
        "Images": " ".join(card["input"]["constraints"]),
        "Responses": card["output"]["description"],
        "ROIs": ", ".join(selection),
        "Accuracy": card["performance"]["accuracy"],
    }
    lines = [card["model_id"], "", *card["description"].strip().splitlines(), ""]
    for name, text in facts.items():
        lines += textwrap.wrap(text, 100, initial_indent=f"{name + ':':<11}", subsequent_indent=" " * 11)
    return "\n".join([*lines, "", "References", *(f"  {reference}" for reference in card["references"])])


def card_text() -> str:
    """Return the card of ``MODEL_ID`` as text."""
    return yaml.safe_dump(read_card(), sort_keys=False, allow_unicode=True, width=100)
