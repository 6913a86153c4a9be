"""What an experiment found, as a page: figures, numbers, settings, and what made them.

The page is one file that needs no other, runs no script, and fits a phone. Beside it lies ``config.json``, with what
it takes to repeat the experiment.
"""

from __future__ import annotations

import base64
import io
import json
import math
import string
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ...errors import InvalidParameterError
from ...files.disk import explained, write_whole
from .command import plain

PAGE, CONFIG = "report.html", "config.json"
_TYPES, _QUALITY = (".png", ".jpg", ".jpeg", ".webp"), 92
_MANY = 6  # columns


class Picture(NamedTuple):
    """A picture's file, what it shows, and the settings that made it, by name."""

    path: Path
    caption: str
    settings: Mapping[str, Any] = {}


class Gallery(NamedTuple):
    """Small pictures' files beside each other, each with lines of text; what they show, and what made them."""

    tiles: Sequence[tuple[Path, Sequence[str]]]
    caption: str
    settings: Mapping[str, Any] = {}


class Table(NamedTuple):
    """Numbers and names: a title, what is in the columns, and rows of as many cells."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Section(NamedTuple):
    """A part of a page: pictures, galleries, tables, and texts, each a paragraph."""

    title: str
    parts: Sequence[Picture | Gallery | Table | str]


def write_report(
    folder: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    lead: str,
    command: str,
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
    synthetic: bool,
) -> Path:
    """Write ``report.html`` and ``config.json`` into an experiment's folder, and return the page's path.

    Parameters
    ----------
    folder
        The folder.
    title, lead
        What was done, and what came out, in a sentence or two.
    sections
        What is shown. Pictures are embedded.
    command, settings
        The command that repeats the experiment, and all its settings: see
        :func:`~berg_jax.experiments.reporting.command.command_line`.
    provenance
        What made the result, such as :func:`~berg_jax.experiments.reporting.results.provenance`, by subject where
        there are several; may be nested.
    synthetic
        Whether weights were made up. The page then says so first.

    Raises
    ------
    InvalidParameterError
        A table's row has not as many cells as the table has columns, or a picture's name does not say its type.
    ResourceError
        A picture cannot be read, or the files cannot be written.
    """
    folder = Path(folder)
    config = {"experiment": title, "command": command, "settings": settings, "provenance": provenance}
    page = _PAGE.substitute(
        title=escape(title),
        warning=_WARNING if synthetic else "",
        lead=_paragraphs(lead),
        sections="".join(_section(section) for section in sections),
        command=escape(command),
        settings=_pairs(settings),
        provenance=_pairs(provenance),
    )
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG, (json.dumps(plain(config), indent=2, ensure_ascii=False) + "\n").encode())
        write_whole(folder / PAGE, page.encode())
    return folder / PAGE


def _section(section: Section) -> str:
    parts = []
    for part in section.parts:
        if isinstance(part, str):
            parts.append(_paragraphs(part))
        else:
            parts.append(_AS_HTML[type(part)](part))
    return f"<section><h2>{escape(section.title)}</h2>{''.join(parts)}</section>\n"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())


def _figure(picture: Picture) -> str:
    # A checkbox, because it needs no script, makes the picture large where a screen is small.
    image = _image(picture.path, picture.caption)
    shown = f'<label class=wide><input type=checkbox aria-label="Enlarge">{image}</label>'
    return f"<figure>{shown}{_told(picture.caption, [Path(picture.path).name], picture.settings)}</figure>"


def _gallery(gallery: Gallery) -> str:
    tiles = []
    for path, lines in gallery.tiles:
        text = "".join(f"<small>{escape(line)}</small>" for line in lines)
        tiles.append(f"<div>{_image(path, ', '.join([Path(path).name, *lines]))}{text}</div>")
    return f"<figure><div class=gallery>{''.join(tiles)}</div>{_told(gallery.caption, [], gallery.settings)}</figure>"


def _told(caption: str, words: Sequence[str], settings: Mapping[str, Any]) -> str:
    made = [f"{name}: {_text(value)}" for name, value in settings.items() if value is not None]
    return f"<figcaption>{escape(caption)}<small>{escape(' · '.join([*words, *made]))}</small></figcaption>"


def _image(path: str | Path, shows: str) -> str:
    path = Path(path)
    if path.suffix.lower() not in _TYPES:
        raise InvalidParameterError(f"A report shows {', '.join(_TYPES)}, got {str(path)!r}.")
    return f'<img src="{_embedded(path)}" alt="{escape(shows)}">'


def _embedded(path: Path) -> str:
    """The picture as a URL, with a fifth of a brain's bytes as PNG, and no difference to be seen."""
    memory = io.BytesIO()
    with explained("read", path):
        data = path.read_bytes()
    kind = path.suffix[1:].lower().replace("jpg", "jpeg")
    with Image.open(io.BytesIO(data)) as image:
        image.save(memory, "WEBP", quality=_QUALITY)
    if memory.tell() < len(data):
        data, kind = memory.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _table(table: Table) -> str:
    if wrong := [row for row in table.rows if len(row) != len(table.columns)]:
        raise InvalidParameterError(
            f"The table {table.caption!r} has {len(table.columns)} columns, and a row of {len(wrong[0])} cells."
        )
    numbers = [all(_is_number(row[index]) for row in table.rows) for index in range(len(table.columns))]
    head = "".join(
        f"<th scope=col{' class=number' * number}>{escape(str(column))}</th>"
        for column, number in zip(table.columns, numbers, strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    many = " class=many" * (len(table.columns) > _MANY)  # on a phone such a table is moved, and so need not be narrow
    body = f"<table{many}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<h3>{escape(table.caption)}</h3><div class=wide>{body}</div>"


def _cell(value: Any) -> str:
    return f"<td{' class=number' * _is_number(value)}>{escape(_text(value, decimals=3))}</td>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


_AS_HTML: Mapping[type, Callable[[Any], str]] = {Picture: _figure, Gallery: _gallery, Table: _table}


def _pairs(pairs: Mapping[str, Any]) -> str:
    """Names and values, of those that have one; what is nested lies in lists within."""
    items = []
    for name, value in pairs.items():
        if value is None:
            continue
        body = _pairs(value) if isinstance(value, Mapping) and value else escape(_text(value))
        items.append(f"<dt>{escape(str(name))}</dt><dd>{body}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _text(value: Any, decimals: int | None = None) -> str:
    """For people to read: numbers of a table with so many decimals, others with as many as they have, up to 6."""
    if isinstance(value, Mapping | list | tuple | np.ndarray):
        return ", ".join(map(_text, value)) or "none"
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float | np.floating):
        fixed = decimals is not None and 10.0**-decimals <= abs(value) < 1000
        return f"{value:.{decimals}f}" if fixed else f"{value:.6g}" if decimals is None else f"{value:.3g}"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


_WARNING = """<p class=warning role=note><strong>SYNTHETIC weights.</strong> They were made up for trying things out.
Nothing on this page is a finding about brains.</p>"""

_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; color: #1f2933; background: white;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid #d5dbe1; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.warning { padding: .7rem 1rem; background: #fff3cd; border-left: .4rem solid #d39e00; }
figure { margin: 1.5rem 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
input { position: absolute; opacity: 0; }
label { display: block; cursor: zoom-in; }
label:has(:checked) { cursor: zoom-out; }
:checked + img { max-width: none; width: 1350px; }
label:has(:focus-visible) { outline: 2px solid #20639b; }
figcaption { margin-top: .5rem; font-size: .95rem; }
td:first-child { white-space: nowrap; }
small { display: block; color: #5b6770; font-size: .8rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem; }
.gallery img { width: 100%; }
.gallery small { line-height: 1.3; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; border-bottom: 1px solid #e7ebef; vertical-align: top; }
td.number, th.number { font-variant-numeric: tabular-nums; white-space: nowrap; text-align: right; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .1rem 1rem; margin: 0;
  font-size: .9rem; }
dt { color: #5b6770; }
dd { margin: 0; min-width: 0; }
dd:has(> dl) { grid-column: 1 / -1; padding-left: 1rem; }
@media (max-width: 30rem) { table { font-size: .75rem; } th, td { padding-right: .35rem; }
  .many { width: max-content; } .many td { max-width: 14rem; } }
pre { padding: .7rem; background: #f2f4f7; white-space: pre-wrap; font-size: .85rem; }
</style>
</head>
<body>
<h1>$title</h1>
$warning
$lead
$sections
<section><h2>To repeat it</h2>
<pre>$command</pre>
<p>All of these settings are in <code>config.json</code>.</p>
$settings
</section>
<section><h2>What made it</h2>
$provenance
</section>
</body>
</html>
""")
