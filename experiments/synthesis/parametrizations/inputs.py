"""Contents of the photographs and baselines that a synthesis starts from, by which a later run knows them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ....errors import InvalidParameterError, ModelNotFoundError
from ....stream.sources.open import open_source
from ....stream.store.responses import open_responses
from .photographs import is_photograph, read_photograph

_log = logging.getLogger(__name__)


def input_contents(paths: Mapping[str, str | Path | None]) -> dict[str, str]:
    """Return fingerprints of the contents of what is given, by name; None stands for what is not given."""
    return {name: _contents(str(path)) for name, path in paths.items() if path is not None}


def check_inputs(recorded: Mapping[str, str] | None, paths: Mapping[str, str | Path | None], where: object) -> None:
    """Raise InvalidParameterError if the contents of a path have changed since they were recorded.

    Parameters
    ----------
    recorded
        Fingerprints as :func:`input_contents` returned them; None in results of version 0.1.0, which cannot be told.
    paths
        Paths of what is given now. Those where nothing is any more are left out.
    where
        Results that were made of them, for the message.
    """
    given = {name: path for name, path in paths.items() if path is not None and Path(path).exists()}
    if recorded is None:
        if given:
            _log.warning("%s does not record the contents of %s: whether they changed is unknown.", where, set(given))
        return
    changed = [name for name, now in input_contents(given).items() if recorded.get(name, now) != now]
    if changed:
        paths_changed = ", ".join(f"{name} ({given[name]})" for name in changed)
        raise InvalidParameterError(
            f"{where} was made of other contents of {paths_changed}, which have changed since. Give another folder."
        )


def _contents(path: str) -> str:
    if is_photograph(path):
        return read_photograph(path).fingerprint
    try:
        stored = open_responses(path)
    except ModelNotFoundError:
        return open_source(path, fit="crop").fingerprint
    return f"{stored.attributes.get('run', {}).get('images')} {stored.attributes.get('identity')}"
