"""What a sweep has on disk, and what that says is done.

``sweep.json`` has the specification. A chunk's images are written first, then in one file its record: of every trial
of the chunk what came out, or why nothing did. So what a record names is there, whatever a crash left behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ResourceError
from ...files.disk import explained, write_whole
from .spec import Spec, read_spec, told, varying
from .trial import Trial

SPEC, RECORDS, IMAGES = "sweep.json", "records", "images"
_SHOWN = 5  # failures that a message lists

Entry = dict[str, Any]


def begin(output: Path, spec: Spec) -> None:
    """Have a folder hold this specification. More trials than it had are fine, and what is done stays done.

    Raises
    ------
    InvalidParameterError
        The folder holds records of trials that are not in the specification.
    ResourceError, IntegrityError
        It cannot be written; a record is damaged.
    """
    others = set(entries(output)) - {trial.id for trial in spec.trials}
    if others:
        raise InvalidParameterError(
            f"{output} holds another sweep: {len(others)} trials that are recorded there, such as {min(others)}, are "
            "not in this specification. Give another folder."
        )
    with explained("write", output):
        for folder in (output, output / RECORDS, output / IMAGES):
            folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"sweep": spec.raw, "trials": len(spec.trials)}, indent=1, ensure_ascii=False)
        write_whole(output / SPEC, f"{text}\n".encode())


def begun(output: Path) -> Spec:
    """The specification that a folder holds.

    Raises
    ------
    ModelNotFoundError
        There is no sweep.
    IntegrityError
        The file is damaged.
    """
    path = output / SPEC
    if not path.exists():
        raise ModelNotFoundError(f"There is no sweep at {output}: {path} is missing.")
    try:
        return read_spec(path)
    except (ResourceError, InvalidParameterError) as error:
        raise IntegrityError(f"{path} is damaged: {error}. Give the specification again.") from error


def write_images(output: Path, images: Mapping[str, bytes]) -> None:
    """Each trial's image, as a PNG file's bytes by its id."""
    with explained("write", output / IMAGES):
        for name, data in images.items():
            write_whole(output / IMAGES / f"{name}.png", data)


def record(output: Path, name: str, entries: Sequence[Entry], **facts: Any) -> None:
    """Vouch for the trials of a chunk, whose images must be on the disk."""
    text = json.dumps({**facts, "trials": list(entries)}, ensure_ascii=False, allow_nan=False)
    path = output / RECORDS / f"{name}.json"
    with explained("write", path):
        write_whole(path, text.encode())


def entries(output: Path) -> dict[str, Entry]:
    """Of each trial that is recorded what is, by its id, with its chunk's facts; the newest, if there are several.

    Raises
    ------
    IntegrityError
        A record is damaged.
    """
    found: dict[str, Entry] = {}
    for path in sorted((output / RECORDS).glob("*.json")):
        try:
            chunk = json.loads(path.read_text(encoding="utf-8"))
            facts = {name: value for name, value in chunk.items() if name != "trials"}
            for entry in chunk["trials"]:
                there = found.get(entry["id"])
                if there is None or there["time"] <= facts["time"]:
                    found[entry["id"]] = {**facts, **entry, "failed": entry["error"] is not None}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"{path} is damaged: {error!r}. Remove it, and its trials are computed again."
            ) from error
    return found


def finished(found: Mapping[str, Entry], retry_failed: bool = False) -> set[str]:
    """Ids of trials that need not be computed again."""
    return {name for name, entry in found.items() if not (retry_failed and entry["failed"])}


def remove_leftovers(output: Path, trials: Sequence[Trial]) -> None:
    """Remove what workers that were killed have left of these trials' files, which nobody else writes."""
    own = tuple(trial.id for trial in trials)
    for folder in (output / IMAGES, output / RECORDS):
        for path in folder.glob("*.partial"):
            if path.name.startswith(own):
                path.unlink(missing_ok=True)


def status_text(output: Path, spec: Spec) -> str:
    """How many trials are done, failed and left, and the reasons of failures, in a few lines."""
    own, names = {trial.id for trial in spec.trials}, varying(spec)
    found = {name: entry for name, entry in entries(output).items() if name in own}
    failed = [trial for trial in spec.trials if found.get(trial.id, {}).get("failed")]
    total, done = len(spec.trials), len(found) - len(failed)
    lines = [f"{output}: {done} of {total} trials done, {len(failed)} failed, {total - len(found)} left"]
    for trial in failed[:_SHOWN]:
        which = ", ".join(told(trial.settings, names))
        lines.append(f"  {trial.id} failed ({which}): {found[trial.id]['error']}")
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN} more, in sweep.parquet")
    return "\n".join(lines)
