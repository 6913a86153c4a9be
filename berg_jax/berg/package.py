"""Models of the published package BERG: ids that are not ours are handed to it, where it is installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import ModelNotFoundError
from ..published.card import MODEL_ID

PACKAGE = "berg"


def published_berg(berg_dir: str | Path) -> Any | None:
    """Return the published package's ``BERG`` of a BERG directory, or None where the package is not installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    interface = getattr(importlib.import_module(PACKAGE), "BERG", None)  # another package may have this name
    return None if interface is None else interface(berg_dir=str(berg_dir))


def require_published_berg(berg_dir: str | Path, model_id: str) -> Any:
    """Return the published package's ``BERG``, which may know a model that is not ours.

    Raises
    ------
    ModelNotFoundError
        The package is not installed.
    """
    published = published_berg(berg_dir)
    if published is None:
        raise ModelNotFoundError(
            f"Model '{model_id}' not found in registry. Models here: {[MODEL_ID]}. BERG's other models are loaded by "
            f"the published package, which is not installed here: install {PACKAGE}, and they can be loaded by their "
            "ids, too."
        )
    return published


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the published package's errors as ours of the same name, so that a script catches one kind."""
    try:
        yield
    except Exception as error:
        kind = type(error)
        ours = getattr(errors, kind.__name__, None)
        if ours is None or kind.__module__.split(".")[0] != PACKAGE:
            raise
        raise ours(str(error)) from error
