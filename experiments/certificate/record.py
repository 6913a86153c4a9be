"""The certificate as a document: JSON that another machine can check itself against."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ...errors import ModelNotFoundError, ValidationError
from ...files.disk import read_small

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Check:
    """A number and what it may be at most; NaN never passes."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is within its limit."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Certificate:
    """What was compared, on what, and how it went. ``certificate.json`` holds these fields and ``passed``.

    Attributes
    ----------
    subject, origin, layout, rows, options
        As in the subject's description; ``origin`` tells synthetic weights.
    sources, converted
        sha256 of each file converted from, and of each file of the converted subject.
    reference
        What was compared with, and the numbers that it was given.
    versions, machine, date, seconds
        With what, where, when (UTC) and for how long.
    stimuli
        Side in pixels and sha256 of the pixels of each.
    checks
        What decides.
    errors
        By device, precision and region: largest and 99.9th percentile absolute difference of responses (z units)
        and Pearson correlation, over images and vertices.
    selection_path
        Whether the published package's answers to a selection are those of its full answer, on these files.
    recorded
        The reference's responses to four images, for machines without PyTorch.
    notes
        What else a reader should know.
    """

    subject: int
    origin: str
    layout: str
    rows: dict[str, int]
    options: dict[str, Any]
    sources: dict[str, str]
    converted: dict[str, str]
    reference: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    date: str
    seconds: float
    stimuli: dict[str, dict[str, Any]]
    checks: list[Check]
    errors: list[dict[str, Any]]
    selection_path: dict[str, Any]
    recorded: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    format_version: int = FORMAT_VERSION

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def synthetic(self) -> bool:
        """Whether the weights were made up by a generator."""
        return self.origin == "synthetic"

    @property
    def verdict(self) -> str:
        """How it went, in a sentence."""
        equals = "equals" if self.passed else "does NOT equal"
        return (
            f"Subject {self.subject}: the converted model {equals} the PyTorch reference, {self.reference['name']}."
        )

    def summary(self) -> str:
        """The verdict and the checks, as a few lines."""
        marks = {True: "ok    ", False: "FAILED"}
        lines = [f"  {marks[c.passed]} {c.value:8.2g}, at most {c.limit:g}: {c.name}" for c in self.checks]
        weights = ["  The weights are SYNTHETIC and predict nothing."] * self.synthetic
        return "\n".join([self.verdict, *lines, *weights, *(f"  {note}" for note in self.notes)])

    def to_json(self) -> str:
        """As text; numbers that are not finite become null."""
        fields = {"passed": self.passed, **asdict(self)}
        fields["checks"] = [asdict(check) | {"passed": check.passed} for check in self.checks]
        return json.dumps(_finite(fields), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """From text.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            The text is no certificate.
        """
        fields = json.loads(text)
        passed, version = fields.pop("passed"), fields["format_version"]
        if version != FORMAT_VERSION:
            raise ValueError(f"it is in format {version!r:.20}, this version of berg_jax reads {FORMAT_VERSION}")
        fields["checks"] = [
            Check(
                str(check["name"]),
                math.nan if check["value"] is None else float(check["value"]),
                float(check["limit"]),
            )
            for check in fields["checks"]
        ]
        certificate = cls(**fields)
        if passed is not certificate.passed:
            raise ValueError("its verdict is not what its checks say")
        kinds = {"subject": int, "sources": dict, "recorded": dict, "date": str, "errors": list, "notes": list}
        odd = [name for name, kind in kinds.items() if type(getattr(certificate, name)) is not kind]
        texts = (certificate.reference["name"], certificate.selection_path["text"])
        if odd or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"its {', '.join(odd) or 'reference or selection path'} is not of the expected type")
        return certificate


def read_certificate(path: Path) -> Certificate:
    """A certificate that passed.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError
        It is damaged, or did not pass.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Give a certificate.json.")
    try:
        certificate = Certificate.from_json(read_small(path).decode("utf-8"))
    except Exception as error:  # of what is no certificate, as many as there are things that JSON can hold
        raise ValidationError(f"{path} cannot be read as a certificate: {error!s:.200}. Get it again.") from error
    if not certificate.passed:
        failed = [check.name for check in certificate.checks if not check.passed]
        raise ValidationError(f"{path} did not pass ({'; '.join(failed)}), so it proves nothing. Get one that did.")
    return certificate


def record(
    stimuli: Mapping[str, np.ndarray],
    vertices: Int[np.ndarray, " n"],
    responses: Float[np.ndarray, "stimuli n"],
) -> dict[str, Any]:
    """Responses to stimuli as text (base64 of little-endian float32), with the hashes of all three."""
    values = responses.astype("<f4").tobytes()
    text = base64.b64encode(values).decode("ascii")
    return {**_hashes(stimuli, vertices), "responses_sha256": _sha256(values), "responses": text}


def recorded(
    path: Path, block: dict[str, Any], stimuli: Mapping[str, np.ndarray], vertices: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "stimuli n"]:
    """The responses that :func:`record` wrote.

    Raises
    ------
    ValidationError
        They are damaged, or were to other stimuli or vertices.
    """
    try:
        values = base64.b64decode(block["responses"], validate=True)
        if _sha256(values) != block["responses_sha256"]:
            raise ValueError("they are not the ones that were written")
        same = {key: block[key] for key in ("stimuli", "vertices", "vertices_sha256")} == _hashes(stimuli, vertices)
        responses = np.frombuffer(values, "<f4").reshape(len(block["stimuli"]), block["vertices"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValidationError(f"{path}: its recorded responses are damaged: {error!s:.200}. Get it again.") from error
    if not same:
        raise ValidationError(
            f"{path} recorded responses to other images or vertices than this version of berg_jax makes. Make the "
            "certificate again with this version."
        )
    return responses


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _hashes(stimuli: Mapping[str, np.ndarray], vertices: Int[np.ndarray, " n"]) -> dict[str, Any]:
    return {
        "stimuli": {name: pixel_hash(image) for name, image in stimuli.items()},
        "vertices": len(vertices),
        "vertices_sha256": _sha256(vertices.astype("<i8").tobytes()),
    }


def pixel_hash(image: np.ndarray) -> str:
    """The sha256 of an image's pixels, channel by channel, row by row."""
    return _sha256(np.ascontiguousarray(image, np.uint8).tobytes())


def _sha256(values: bytes) -> str:
    return hashlib.sha256(values).hexdigest()
