"""``certificate.json``: format, verdict, and recorded responses that another machine compares itself with."""

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
    """Number with the largest value that passes; NaN never passes.

    Attributes
    ----------
    name
        Name of what was measured, with its unit.
    value
        Value found.
    limit
        Largest value that passes.

    Examples
    --------
    >>> Check("largest difference (z)", 2e-5, limit=1e-4).passed
    True
    >>> Check("largest difference (z)", float("nan"), limit=1e-4).passed
    False
    """

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value is within its limit."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Certificate:
    """Record of a comparison of a converted model with PyTorch.

    ``certificate.json`` holds these fields and ``passed``.

    Attributes
    ----------
    subject
        The subject's number.
    origin
        Origin of the weights; "synthetic" if they were made up.
    layout
        Layout of the subject's files, "complement" or "overlay".
    rows
        Number of rows of each part.
    options
        Options of the conversion, and the network's shape.
    sources
        sha256 of each file converted from.
    converted
        sha256 of each file of the converted subject.
    reference
        Name of the reference, and the options that it was given.
    versions
        Versions of Python and of libraries.
    machine
        Platform, number of cores and devices.
    date
        Date and time, UTC.
    seconds
        Duration of the comparison.
    stimuli
        Side in pixels of each image, and sha256 of its pixels.
    checks
        Checks that decide.
    errors
        By device, precision and region: largest and 99.9th percentile absolute difference of responses (z units)
        and Pearson correlation, over images and vertices.
    selection_path
        Whether the published package's answers to a selection are those of its full answer, on these files.
    recorded
        The reference's responses to four images, for machines without PyTorch.
    notes
        Sentences on options that differ between the conversion and the reference.
    format_version
        Version of the format of ``certificate.json``.

    See Also
    --------
    berg_jax.experiments.certify : Make a certificate, with PyTorch.
    berg_jax.experiments.check_against : Compare another machine with a certificate, without PyTorch.
    berg_jax.experiments.certificate.read_certificate : Read a certificate that passed.
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
        """Result of the comparison, in a sentence."""
        equals = "equals" if self.passed else "does NOT equal"
        return (
            f"Subject {self.subject}: the converted model {equals} the PyTorch reference, {self.reference['name']}."
        )

    def summary(self) -> str:
        """Return the verdict and the checks as a few lines of text."""
        marks = {True: "ok    ", False: "FAILED"}
        lines = [f"  {marks[c.passed]} {c.value:8.2g}, at most {c.limit:g}: {c.name}" for c in self.checks]
        weights = ["  The weights are SYNTHETIC and predict nothing."] * self.synthetic
        return "\n".join([self.verdict, *lines, *weights, *(f"  {note}" for note in self.notes)])

    def to_json(self) -> str:
        """Return the certificate as JSON; numbers that are not finite become null."""
        fields = {"passed": self.passed, **asdict(self)}
        fields["checks"] = [asdict(check) | {"passed": check.passed} for check in self.checks]
        return json.dumps(_finite(fields), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """Return the certificate that a JSON text holds.

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
    """Read a certificate that passed.

    Parameters
    ----------
    path
        A ``certificate.json``.

    Returns
    -------
    Certificate
        The certificate.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError
        It is damaged, or did not pass.

    See Also
    --------
    berg_jax.experiments.certify : Make a certificate.
    berg_jax.experiments.check_against : Compare this machine with a certificate.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Give a certificate.json.")
    try:
        certificate = Certificate.from_json(read_small(path).decode("utf-8"))
    except Exception as error:  # JSON that is no certificate can raise anything
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
    """Return responses as text (base64 of little-endian float32), with hashes of them, the stimuli and the vertices.

    See Also
    --------
    recorded : Read them again.
    """
    values = responses.astype("<f4").tobytes()
    text = base64.b64encode(values).decode("ascii")
    return {**_hashes(stimuli, vertices), "responses_sha256": _sha256(values), "responses": text}


def recorded(
    path: Path, block: dict[str, Any], stimuli: Mapping[str, np.ndarray], vertices: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "stimuli n"]:
    """Return the responses that :func:`record` wrote.

    Parameters
    ----------
    path
        The certificate's file, which errors name.
    block
        The certificate's ``recorded`` field.
    stimuli, vertices
        Stimuli and vertices to which the responses must belong.

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
    """Return the sha256 of an image's pixels, channel by channel, row by row."""
    return _sha256(np.ascontiguousarray(image, np.uint8).tobytes())


def _sha256(values: bytes) -> str:
    return hashlib.sha256(values).hexdigest()
