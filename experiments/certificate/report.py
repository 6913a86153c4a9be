"""Report of a certificate: verdict, checks with their limits, errors by region, and files compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..reporting.figures import about
from ..reporting.page import Pairs, Picture, Section, SideBySide, Table
from ..reporting.page import write_report as write_page
from ..reporting.results import SYNTHETIC
from .figures import Words, draw_histogram, draw_regions, draw_scatter
from .record import Certificate

_PROVENANCE = ("subject", "origin", "layout", "rows", "reference", "versions", "date", "seconds")


def write_report(
    folder: Path,
    certificate: Certificate,
    ours: Mapping[tuple[str, str], Float[np.ndarray, "stimuli n"]],
    theirs: Float[np.ndarray, "stimuli n"],
    limit: float,
    *,
    command: str,
    settings: Mapping[str, Any],
) -> Path:
    """Write the certificate's ``report.html``, its figures and ``config.json``.

    Parameters
    ----------
    folder
        The folder to write.
    certificate
        The certificate to show.
    ours
        Our responses (z units) by device and precision; the first one decided.
    theirs
        The reference's responses (z units).
    limit
        Largest difference of responses that passes, in z units.
    command, settings
        The command that repeats the comparison, and its settings by name.

    Returns
    -------
    Path
        The page's path.

    Raises
    ------
    ResourceError
        The files cannot be written.
    """
    decisive = next(iter(ours))
    by_region = [row for row in certificate.errors if (row["device"], row["precision"]) == decisive]
    notes = [Section("Notes", certificate.notes)] if certificate.notes else []
    sections = [
        *notes,
        Section("Checks", [_checks(certificate)]),
        Section("Responses", [_figures(folder, by_region, ours, theirs, limit, _words(certificate, theirs))]),
        Section("Errors", _errors(certificate, by_region)),
        Section("Selections in the published package", [certificate.selection_path["text"]]),
        Section("Files and images", _hashes(certificate)),
    ]
    devices = ", ".join(device["kind"] for device in certificate.machine["devices"])
    date = certificate.date.replace("T", " ").replace("+00:00", " UTC")
    return write_page(
        folder,
        f"Certificate of subject {certificate.subject}",
        sections,
        lead=f"{certificate.verdict}\n{date} · {devices}",
        command=command,
        settings=settings,
        provenance=_provenance(certificate),
        synthetic=certificate.synthetic,
        passed=certificate.passed,
    )


def _checks(certificate: Certificate) -> Table:
    rows = [
        (check.name, check.value if math.isfinite(check.value) else "not a number", check.limit)
        for check in certificate.checks
    ]
    passed = [check.passed for check in certificate.checks]
    return Table("Values and their limits", ("check", "found", "at most"), rows, passed)


def _figures(
    folder: Path,
    by_region: Sequence[Mapping[str, Any]],
    ours: Mapping[tuple[str, str], np.ndarray],
    theirs: np.ndarray,
    limit: float,
    words: Words,
) -> SideBySide:
    scatter, histogram, regions = (folder / f"{name}.png" for name in ("responses", "errors", "regions"))
    draw_scatter(next(iter(ours.values())), theirs, scatter, words)
    draw_histogram(ours, theirs, limit, histogram, words)
    pictures = [
        Picture(scatter, "Responses to every image at every vertex: berg_jax against the reference, in z units."),
        Picture(histogram, "Histogram of the errors; dashed: the largest error that passes in float32."),
    ]
    if len(by_region) > 1:
        draw_regions(by_region, limit, regions, words)
        caption = "Error by region: largest (filled) and 99.9th percentile (open); dashed: the largest that passes."
        pictures.append(Picture(regions, caption))
    return SideBySide(pictures)


def _words(certificate: Certificate, theirs: Float[np.ndarray, "stimuli n"]) -> Words:
    images, vertices = theirs.shape
    subtitle = about([certificate.subject], None, images=images, vertices=vertices)
    return Words(subtitle, SYNTHETIC if certificate.synthetic else None)


def _errors(certificate: Certificate, by_region: Sequence[Mapping[str, Any]]) -> list[Table | str]:
    everywhere = [row for row in certificate.errors if row["region"] == by_region[0]["region"]]
    parts: list[Table | str] = [
        _error_table("By device and precision", ("device", "precision"), everywhere),
        "float32 decides; the other precisions are for speed.",
    ]
    if len(by_region) > 1:
        parts.append(_error_table("By region", ("region", "vertices"), by_region, folded=True))
    return parts


def _error_table(
    caption: str, names: tuple[str, str], errors: Sequence[Mapping[str, Any]], folded: bool = False
) -> Table:
    columns = (*names, "largest (z)", "99.9th percentile (z)", "1 − correlation")
    rows = []
    for row in errors:
        uncorrelated = max(1 - row["correlation"], 0.0)  # rounding can make a correlation larger than 1
        rows.append((*(row[name] for name in names), row["largest"], row["p999"], uncorrelated))
    return Table(caption, columns, rows, folded=folded)


def _hashes(certificate: Certificate) -> list[Pairs]:
    images = {f"{name}, {image['side']} px": image["sha256"] for name, image in certificate.stimuli.items()}
    return [
        Pairs("Files converted from, sha256", certificate.sources),
        Pairs("Files of the converted subject, sha256", certificate.converted),
        Pairs("Images, sha256 of their pixels", images),
    ]


def _provenance(certificate: Certificate) -> dict[str, Any]:
    """Return the certificate's fields that say what was compared, with what, and where."""
    machine = certificate.machine
    devices = [f"{device['platform']} {device['kind']}" for device in machine["devices"]]
    options = {name: value for name, value in certificate.options.items() if name != "network"}
    return {
        **{name: getattr(certificate, name) for name in _PROVENANCE},
        "conversion": options,
        "machine": {**machine, "devices": devices},
    }
