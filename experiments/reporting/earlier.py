"""Earlier run in an experiment's folder: one of other settings or images is refused before work."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import IntegrityError, ResourceError
from ...files.disk import read_small, readable
from ...stream.store.changes import differences_of
from .command import PATH, Command
from .page import CONFIG

_SAME = ("output", "berg_dir", "batch_size")  # settings that change no result
_APART = (*_SAME, PATH, "start")  # and images, which are known by their contents


def require_writable(output: Path) -> None:
    """Raise ResourceError if a path is no folder, or cannot become one."""
    there = output
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise ResourceError(
            f"{there} is a file, so that {output} can be no folder of results. Choose another output."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ResourceError(
            f"{there} may not be written, so that results cannot go to {output}. Choose another output."
        )


def require_same_run(
    output: Path, command: Command, inputs: Mapping[str, str | Sequence[str]], identity: str
) -> None:
    """Raise an error if a folder cannot be written, or holds another experiment: other settings, images or weights.

    Parameters
    ----------
    output
        Folder of the experiment.
    command
        The command that is to run.
    inputs
        Fingerprints of the images, by the setting that gives their paths. The report's provenance records them as
        ``inputs``.
    identity
        Identity of the model: see :meth:`berg_jax.Subject.identity`.

    Raises
    ------
    ResourceError
        The folder belongs to another run; the message says what differs. Or it is no folder, or may not be written.
    IntegrityError
        The folder's ``config.json`` is damaged.
    """
    require_writable(output)
    path = output / CONFIG
    if not path.is_file():
        return
    with readable(path, IntegrityError, "Remove it, or give another folder."):
        config = json.loads(read_small(path))
        line, settings, provenance = str(config["command"]), dict(config["settings"]), dict(config["provenance"])
    differences = []
    if line.split()[1:2] != [command.name]:
        differences = [f"it is of {' '.join(line.split()[:2])}"]
    else:
        recorded = provenance.get("inputs")
        apart = _APART if isinstance(recorded, dict) else _SAME  # earlier versions recorded only paths
        now = {name: value for name, value in command.settings.items() if name not in apart}
        # An option that did not exist was as it is by default.
        differences = differences_of({**command.defaults, **settings}, now)
        if isinstance(recorded, dict):
            changed = [name for name in {**recorded, **inputs} if recorded.get(name) != inputs.get(name)]
            differences += [f"the images of {name} are others" for name in changed]
        if not differences and provenance.get("identity", identity) != identity:
            differences = ["the subject's weights or vertices are others"]
    if differences:
        raise ResourceError(
            f"{output} exists and belongs to another run: {'; '.join(differences)}. Choose another output, or remove "
            "it first."
        )
