"""Records of a sweep on disk: the specification, the images, and the outcome of every trial.

``sweep.json`` holds the specification. A chunk's images are written first, and then, in one file, its record: for
every trial its result, or the reason why it has none. Whatever a record names is therefore there, even after a crash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import BERGError, IntegrityError, InvalidParameterError, ModelNotFoundError, ResourceError
from ...files.disk import explained, remove_partial_files, write_whole
from .spec import Spec, describe_settings, read_spec, varying
from .trial import INPUTS, Trial

SPEC, RECORDS, IMAGES, CHECKPOINTS = "sweep.json", "records", "images", "checkpoints"
_SHOWN = 5  # failures that a message lists

Entry = dict[str, Any]


class Outcome(NamedTuple):
    """Outcome of a trial.

    Attributes
    ----------
    image
        The image; None if the trial failed.
    entry
        The trial's entry in the chunk's record.
    """

    image: UInt8[np.ndarray, "3 height width"] | None
    entry: dict[str, Any]


def begin(output: Path, spec: Spec) -> None:
    """Write a specification into a sweep's folder.

    The folder may hold the same sweep with fewer trials; trials that are done stay done.

    Raises
    ------
    InvalidParameterError
        The folder holds records of trials that are not in the specification.
    ResourceError
        The folder cannot be written.
    IntegrityError
        A record is damaged.
    """
    require_same(output, spec, entries(output))
    with explained("write", output):
        for folder in (output, output / RECORDS, output / IMAGES):
            folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"sweep": spec.raw, "trials": len(spec.trials)}, indent=1, ensure_ascii=False)
        write_whole(output / SPEC, f"{text}\n".encode())


def require_same(output: Path, spec: Spec, found: Mapping[str, Entry]) -> None:
    """Raise InvalidParameterError if a sweep's folder holds records of trials that are not in the specification."""
    others = set(found) - {trial.id for trial in spec.trials}
    if others:
        raise InvalidParameterError(
            f"{output} holds another sweep: {len(others)} trials that are recorded there, such as {min(others)}, are "
            "not in this specification. Give another folder."
        )


def read_begun(output: Path) -> Spec:
    """Read the specification that a sweep's folder holds.

    Raises
    ------
    ModelNotFoundError
        The folder holds no sweep.
    IntegrityError
        The specification is damaged.
    """
    path = output / SPEC
    if not path.exists():
        raise ModelNotFoundError(f"There is no sweep at {output}: {path} is missing.")
    try:
        return read_spec(path)
    except (ResourceError, InvalidParameterError) as error:
        raise IntegrityError(f"{path} is damaged: {error}. Give the specification again.") from error


def write_images(output: Path, images: Mapping[str, bytes]) -> None:
    """Write trials' images, given as the bytes of PNG files by the trials' ids."""
    with explained("write", output / IMAGES):
        for name, data in images.items():
            write_whole(output / IMAGES / f"{name}.png", data)


def record(output: Path, name: str, entries: Sequence[Entry], **facts: Any) -> None:
    """Write the record of a chunk, whose images must be on the disk already.

    Parameters
    ----------
    output
        The sweep's folder.
    name
        The chunk's name.
    entries
        Outcome of each trial.
    facts
        Facts that all these trials share.
    """
    text = json.dumps({**facts, "trials": list(entries)}, ensure_ascii=False, allow_nan=False)
    path = output / RECORDS / f"{name}.json"
    with explained("write", path):
        write_whole(path, text.encode())


def entries(output: Path, read: dict[str, int] | None = None) -> dict[str, Entry]:
    """Read the entries of all recorded trials by id, each with the facts of its chunk.

    If a trial has several entries, the newest counts.

    Parameters
    ----------
    output
        The sweep's folder.
    read
        Records that have been read before, which are left out; those that are read now are added.

    Raises
    ------
    IntegrityError
        A record is damaged.
    """
    found: dict[str, Entry] = {}
    read = {} if read is None else read
    for path in sorted((output / RECORDS).glob("*.json")):
        try:
            written = path.stat().st_mtime_ns
            if read.get(path.name) == written:
                continue
            chunk = json.loads(path.read_text(encoding="utf-8"))
            facts = {name: value for name, value in chunk.items() if name != "trials"}
            for entry in chunk["trials"]:
                known = found.get(entry["id"])
                if known is None or known["time"] <= facts["time"]:
                    found[entry["id"]] = {**facts, **entry, "failed": entry["error"] is not None}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"{path} is damaged: {error!r}. Remove it, and its trials are computed again."
            ) from error
        read[path.name] = written
    return found


def finished(found: Mapping[str, Entry], retry_failed: bool = False) -> set[str]:
    """Return the ids of the trials that need not be computed again."""
    return {name for name, entry in found.items() if not (retry_failed and entry["failed"])}


def checkpoint(output: Path, name: str) -> Path:
    """Return the file that holds the state of a chunk between two of its steps."""
    return output / CHECKPOINTS / f"{name}.npz"


def progress(output: Path, trials: Sequence[Trial]) -> set[tuple[str, int]]:
    """Return the files that the progress on these trials consists of, each with the time when it was written."""
    ids = {trial.id for trial in trials}
    files = [*(output / RECORDS).glob("*.json"), *(output / CHECKPOINTS).glob("*.npz")]
    # A chunk's name begins with the id of its first trial.
    return {(path.name, path.stat().st_mtime_ns) for path in files if path.name.partition("-")[0] in ids}


def remove_leftovers(output: Path) -> None:
    """Remove partial files, left by workers that were killed. Those of living workers stay."""
    for folder in (output, output / IMAGES, output / RECORDS, output / CHECKPOINTS):
        remove_partial_files(folder)


def status_text(output: Path, spec: Spec) -> str:
    """Return a few lines with the numbers of trials that are done, failed and left, and the reasons of failures."""
    ids, names = {trial.id for trial in spec.trials}, varying(spec)
    found = {name: entry for name, entry in entries(output).items() if name in ids}
    failed = [trial for trial in spec.trials if found.get(trial.id, {}).get("failed")]
    total, done = len(spec.trials), len(found) - len(failed)
    lines = [f"{output}: {done} of {total} trials done, {len(failed)} failed, {total - len(found)} left"]
    for trial in failed[:_SHOWN]:
        settings = ", ".join(describe_settings(trial.settings, names))
        lines.append(f"  {trial.id} failed ({settings}): {found[trial.id]['error']}")
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN} more, in sweep.parquet")
    return "\n".join(lines)


def success(
    trial: Trial,
    image: UInt8[np.ndarray, "3 height width"],
    responses: Float[np.ndarray, " vertices"],
    weights: Mapping[str, Float[np.ndarray, " vertices"]],
    natural: Mapping[str, Float[np.ndarray, " images"]],
    *,
    history: Sequence[float] | Float[np.ndarray, " steps"],
    **numbers: Any,
) -> Outcome:
    """Return the outcome of a trial that has an image, with its responses and further numbers."""
    from ..synthesis.judging.judge import percentile  # needs JAX, which reading records does not

    means = {name: float(responses @ own) for name, own in weights.items()}
    entry = {
        "id": trial.id,
        "settings": trial.settings,
        "inputs": _inputs(*(trial.settings[name] for name in INPUTS)),
        "error": None,
        "responses": means,
        "percentiles": {
            name: float(percentile(np.array([means[name]]), usual)[0]) for name, usual in natural.items()
        },
        "history": [round(float(x), 6) if np.isfinite(x) else None for x in history],
        "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
        **numbers,
    }
    return Outcome(image=image, entry=entry)


@cache  # as photographs themselves are
def _inputs(*paths: str | None) -> dict[str, str]:
    """Return fingerprints of the photographs that a trial starts from."""
    from ..synthesis.parametrizations.inputs import input_contents

    return input_contents(dict(zip(INPUTS, paths, strict=True)))


def failure(trial: Trial, error: Exception) -> Outcome:
    """Return the outcome of a trial that ended with an error."""
    message = str(error) if isinstance(error, BERGError) else f"{type(error).__name__}: {error}"
    return Outcome(image=None, entry={"id": trial.id, "settings": trial.settings, "error": message[:2000]})
