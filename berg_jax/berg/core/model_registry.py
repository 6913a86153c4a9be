"""Classes of models by their ids, under the published package's module path ``berg.core.model_registry``."""

from __future__ import annotations

from ...published.card import MODEL_ID
from ..model import BERGModel


def get_available_models() -> list[str]:
    """Return the ids of the models that need no other package.

    Examples
    --------
    >>> get_available_models()
    ['fmri-nsd_fsaverage-huze']
    """
    return [MODEL_ID]


def get_model_class(model_id: str) -> type[BERGModel]:
    """Return the class of a model.

    Raises
    ------
    ValueError
        There is no such model.

    Examples
    --------
    >>> get_model_class("fmri-nsd_fsaverage-huze").get_model_id()
    'fmri-nsd_fsaverage-huze'
    """
    if model_id != MODEL_ID:
        raise ValueError(f"Model '{model_id}' not found in registry. Models here: {[MODEL_ID]}.")
    return BERGModel
