"""The certificate as a page to read, which needs nothing else."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .record import Certificate, Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#20639b", "#e07a3f", "#5c9e6c", "#8e6bb3", "#b0413e", "#6b7280")
_LIMIT = "#b0413e"
_LEAST = 1e-9  # what smaller errors, such as none, are drawn as


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
    pixels, caption = base64.b64encode(buffer.getvalue()).decode("ascii"), html.escape(caption)
    image = f'<img alt="{caption}" src="data:image/png;base64,{pixels}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


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
