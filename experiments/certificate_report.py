"""The certificate as a document: JSON that another machine can check itself against, and a page to read."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from ..errors import ModelNotFoundError, ValidationError
from ..files import read_small

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 1
_COLORS = ("#20639b", "#e07a3f", "#5c9e6c", "#8e6bb3", "#b0413e", "#6b7280")
_LIMIT = "#b0413e"
_LEAST = 1e-9  # what smaller errors, such as none, are drawn as


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
    return {**_hashes(stimuli, vertices), "responses_sha256": _sha256(values), "responses": _text(values)}


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


def write_report(
    path: Path,
    certificate: Certificate,
    ours: Mapping[tuple[str, str], Float[np.ndarray, "stimuli n"]],
    theirs: Float[np.ndarray, "stimuli n"],
    limit: float,
) -> None:
    """Write the certificate as one self-contained HTML page.

    Parameters
    ----------
    path
        The file to write.
    certificate
        What to show.
    ours
        Our responses by device and precision; the first one decided.
    theirs
        The reference's.
    limit
        Largest difference of responses that passes, in z units.
    """
    c = certificate
    key = next(iter(ours))
    deciding = [row for row in c.errors if (row["device"], row["precision"]) == key]
    figures = [
        (_scatter(ours[key], theirs), "Every image and vertex: our response against the reference's, in z units."),
        (_histogram(ours, theirs, limit), "Size of the error; dashed: the largest that passes in float32."),
    ]
    if len(deciding) > 1:
        figures.append((_regions(deciding, limit), "Error by region: largest (filled) and 99.9th percentile (open)."))
    whole = [row for row in c.errors if row["region"] == deciding[0]["region"]]
    page = _PAGE.format(
        title=f"Certificate of subject {c.subject}",
        style=_STYLE,
        state="passed" if c.passed else "failed",
        word="Passed" if c.passed else "Failed",
        verdict=html.escape(c.verdict),
        synthetic="<p class=synthetic>Synthetic weights: they predict nothing about brains.</p>" * c.synthetic,
        date=html.escape(c.date.replace("T", " ").replace("+00:00", " UTC")),
        machine=html.escape(_machine(c)),
        notes="".join(f"<p class=note>{html.escape(note)}</p>" for note in c.notes),
        checks=_checks(c.checks),
        figures="".join(_figure(figure, caption) for figure, caption in figures),
        whole=_errors(whole, ("device", "precision")),
        regions=_details("Errors by region", _errors(deciding, ("region", "vertices"))) if len(deciding) > 1 else "",
        selection=html.escape(c.selection_path["text"]),
        facts=_details("What was compared, with what", _facts(c)),
        sources=_details("Files converted from, sha256", _pairs(c.sources)),
        converted=_details("Files of the converted subject, sha256", _pairs(c.converted)),
        stimuli=_details("Images, sha256 of their pixels", _stimuli(c.stimuli)),
    )
    path.write_text(page, encoding="utf-8")


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


def _text(values: bytes) -> str:
    return base64.b64encode(values).decode("ascii")


def _scatter(ours: np.ndarray, theirs: np.ndarray) -> Figure:
    figure, axes = _axes(4.8, 3.9)
    low, high = float(min(ours.min(), theirs.min())), float(max(ours.max(), theirs.max()))
    extent = (low, high, low, high) if low < high else (low - 1, high + 1, low - 1, high + 1)
    axes.plot(extent[:2], extent[:2], color="#9ca3af", linewidth=0.8, zorder=0)
    dots = axes.hexbin(
        theirs.ravel(), ours.ravel(), gridsize=70, bins="log", mincnt=1, extent=extent, cmap="viridis", linewidths=0.1
    )
    figure.colorbar(dots, ax=axes, label="responses", shrink=0.8)
    axes.set(xlabel="PyTorch reference (z)", ylabel="berg_jax (z)", aspect="equal")
    return figure


def _histogram(ours: Mapping[tuple[str, str], np.ndarray], theirs: np.ndarray, limit: float) -> Figure:
    figure, axes = _axes(4.8, 3.9)
    edges = np.linspace(np.log10(_LEAST), 1, 81)
    for index, ((device, precision), responses) in enumerate(ours.items()):
        sizes = np.log10(np.clip(np.abs(responses - theirs), _LEAST, 10)).ravel()
        share = np.histogram(sizes, edges)[0] / sizes.size
        style = "-" if index == 0 else (index, (4, 1 + index))  # dashes, so that curves that coincide are seen
        color = _COLORS[index % len(_COLORS)]
        if index == 0:
            axes.stairs(100 * share, edges, fill=True, color=color, alpha=0.2)
        axes.stairs(100 * share, edges, color=color, linestyle=style, linewidth=1.5, label=f"{precision}, {device}")
    axes.axvline(np.log10(limit), color=_LIMIT, linestyle="--", linewidth=1)
    axes.set(xlabel="difference of responses (z)", ylabel="% of responses", xlim=(edges[0], 0.5), ylim=(0, None))
    ticks = range(-9, 1, 2)
    axes.set_xticks(ticks, [f"$10^{{{tick}}}$" if tick > -9 else "≤ $10^{-9}$" for tick in ticks])
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _regions(rows: Sequence[Mapping[str, Any]], limit: float) -> Figure:
    figure, axes = _axes(4.8, 1 + 0.19 * len(rows))
    places = np.arange(len(rows))[::-1]
    low, high = ([row[name] for row in rows] for name in ("p999", "largest"))
    axes.hlines(places, low, high, color="#a9c5dd", linewidth=3)
    axes.plot(low, places, "o", color="white", markeredgecolor=_COLORS[0], markersize=5)
    axes.plot(high, places, "o", color=_COLORS[0], markersize=5)
    axes.axvline(limit, color=_LIMIT, linestyle="--", linewidth=1)
    axes.set_yticks(places, [row["region"] for row in rows], fontsize=8)
    axes.grid(axis="y", color="#eef0f2")
    axes.set_axisbelow(True)
    axes.set(xscale="log", xlabel="difference of responses (z)", ylim=(-0.8, len(rows) - 0.2))
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _figure(figure: Figure, caption: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    source, caption = f"data:image/png;base64,{_text(buffer.getvalue())}", html.escape(caption)
    return f'<figure><img alt="{caption}" src="{source}"><figcaption>{caption}</figcaption></figure>'


def _checks(checks: Sequence[Check]) -> str:
    rows = [
        f"<tr class={'ok' if check.passed else 'bad'}><td>{'✓' if check.passed else '✗'}</td>"
        f"<td>{html.escape(check.name)}</td>"
        f"<td class=n>{_number(check.value)}</td><td class=n>{_number(check.limit)}</td></tr>"
        for check in checks
    ]
    return _table(("", "check", "found", "at most"), rows)


def _errors(rows: Sequence[Mapping[str, Any]], first: tuple[str, str]) -> str:
    lines = []
    for row in rows:
        cells = [
            f"<td{' class=n' if name == 'vertices' else ''}>{html.escape(str(row[name]))}</td>" for name in first
        ]
        numbers = (row["largest"], row["p999"], max(1 - row["correlation"], 0))
        cells += [f"<td class=n>{_number(value)}</td>" for value in numbers]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table((*first, "largest (z)", "99.9th percentile (z)", "1 − correlation"), lines)


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<div class=wide><table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _pairs(pairs: Mapping[str, Any]) -> str:
    rows = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in pairs.items())
    return f"<dl>{rows}</dl>"


def _details(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def _facts(c: Certificate) -> str:
    parts = ", ".join(f"{name} {count:,} rows" for name, count in c.rows.items())
    given = {name: value for name, value in c.reference.items() if name != "name" and value is not None}
    facts = {
        "weights": f"{c.origin}; {c.layout}: {parts}",
        "converted with": ", ".join(f"{name} {value}" for name, value in c.options.items() if name != "network"),
        "reference": c.reference["name"] + "".join(f", {name} {value}" for name, value in given.items()),
        "versions": ", ".join(f"{name} {version}" for name, version in c.versions.items()),
        "machine": f"{c.machine['platform']}, {c.machine['cores']} cores",
        "time": f"{c.seconds:.0f} s",
    }
    return _pairs(facts)


def _stimuli(stimuli: Mapping[str, Mapping[str, Any]]) -> str:
    return _pairs({f"{name}, {image['side']} px": image["sha256"] for name, image in stimuli.items()})


def _machine(c: Certificate) -> str:
    return ", ".join(device["kind"] for device in c.machine["devices"])


def _number(value: float) -> str:
    """Two digits, with a power of ten where that is shorter to read."""
    if not math.isfinite(value):
        return "not a number"
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    mantissa = mantissa.removesuffix(".0")
    power = f"10<sup>{int(exponent)}</sup>".replace("-", "−")
    return power if mantissa == "1" else f"{mantissa} × {power}"


_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1.2rem 4rem; background: #fff; color: #1f2937;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header { border-left: .5rem solid; border-radius: .5rem; padding: 1.1rem 1.4rem; margin-bottom: 1.8rem; }
header.passed { background: #edf7f0; border-color: #3f8f58; }
header.failed { background: #fdf0ee; border-color: #b0413e; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; } .passed h1 { color: #2f6f44; } .failed h1 { color: #97332f; }
header p { margin: .35rem 0 0; } .small { color: #6b7280; font-size: .88rem; }
.synthetic { display: inline-block; background: #fff3cd; border-radius: .3rem; padding: .1rem .6rem;
  font-weight: 600; }
.note { border-left: .25rem solid #e0a83f; padding-left: .8rem; }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { padding: .38rem .7rem .38rem 0; text-align: left; border-bottom: 1px solid #e5e7eb; vertical-align: top; }
sup { line-height: 0; font-size: .75em; }
th { color: #6b7280; font-weight: 500; } td.n { white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.ok td:first-child { color: #3f8f58; font-weight: 700; } tr.bad { background: #fdf0ee; }
tr.bad td:first-child, tr.bad td.n { color: #b0413e; font-weight: 700; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem 1.6rem;
  align-items: start; }
@media (min-width: 54rem) { figure:nth-child(3) { grid-column: 2; grid-row: 1 / span 2; } }
figure { margin: 0; } img { width: 100%; height: auto; } figcaption { color: #6b7280; font-size: .88rem; }
details { border-top: 1px solid #e5e7eb; padding: .55rem 0; } summary { cursor: pointer; font-weight: 500; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .2rem 1.2rem; font-size: .85rem; }
dt { color: #6b7280; overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header class={state}>
<h1>{word}</h1>
<p>{verdict}</p>
{synthetic}
<p class=small>{date} · {machine}</p>
</header>
{notes}
<h2>Checks</h2>
{checks}
<h2>Responses</h2>
<div class=figures>{figures}</div>
<h2>Errors by device and precision</h2>
{whole}
<p class=small>float32 decides; the other precisions are for speed.</p>
<h2>Selections in the published package</h2>
<p>{selection}</p>
<h2>Details</h2>
{regions}{facts}{sources}{converted}{stimuli}
</body>
</html>
"""
