"""Self-contained HTML report of an experiment: figures, tables, verdict, settings and provenance.

The page is one file that needs no other, runs no script, and fits a phone. ``config.json``, which is written beside
it, holds the command and the settings that repeat the experiment.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image

from ...errors import InvalidParameterError
from ...files.disk import explained, write_whole
from .command import plain
from .template import PAGE_TEMPLATE, WARNING

PAGE, CONFIG = "report.html", "config.json"
_TYPES, _QUALITY = (".png", ".jpg", ".jpeg", ".webp"), 92
_MANY, _LONG = 6, 40  # columns, and rows from beyond which a table is folded
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Picture(NamedTuple):
    """Picture file with its caption.

    Attributes
    ----------
    path
        The file: .png, .jpg, .jpeg or .webp.
    caption
        Text below the picture.
    settings
        Settings that made the picture, by name; shown in small print.
    """

    path: Path
    caption: str
    settings: Mapping[str, Any] = {}


class SideBySide(NamedTuple):
    """Pictures in two columns, or in one where the screen is narrow."""

    pictures: Sequence[Picture]


class Gallery(NamedTuple):
    """Small pictures in a grid, with lines of text below each.

    Attributes
    ----------
    tiles
        The file and the lines of text of each picture.
    caption
        Text below the grid.
    settings
        Settings that made the pictures, by name; shown in small print.
    """

    tiles: Sequence[tuple[Path, Sequence[str]]]
    caption: str
    settings: Mapping[str, Any] = {}


class Table(NamedTuple):
    """Table of numbers and names.

    Attributes
    ----------
    caption
        Title above the table.
    columns
        Names of the columns.
    rows
        Rows of as many cells as there are columns.
    passed
        Whether each row passed, where rows are checks: they are then marked ✓ or ✗, and those that failed are
        colored.
    folded
        Whether a reader sees only the title until they open the table. Tables of more than 40 rows are.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    passed: Sequence[bool] | None = None
    folded: bool = False


class Link(NamedTuple):
    """Link to a file beside the page, such as an interactive one.

    Attributes
    ----------
    path
        The file, in the page's folder or below it.
    text
        Words of the link, after which the file's name stands.
    """

    path: Path
    text: str


class Pairs(NamedTuple):
    """Names and values, such as files and their hashes, under a title that a reader opens."""

    caption: str
    pairs: Mapping[str, Any]


class Section(NamedTuple):
    """Titled part of a page: pictures, galleries, tables, lists, and texts, each line of which is a paragraph.

    Attributes
    ----------
    title
        Title of the part.
    parts
        Its contents.
    folded
        Whether a reader sees only the title until they open the part, such as one of many subjects.
    """

    title: str
    parts: Sequence[Picture | SideBySide | Gallery | Table | Link | Pairs | str]
    folded: bool = False


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
    passed: bool | None = None,
) -> Path:
    """Write ``report.html`` and ``config.json`` into an experiment's folder.

    Parameters
    ----------
    folder
        The folder, which is made if it does not exist.
    title
        Name of the experiment, in a few words.
    sections
        Contents of the page. Pictures are embedded.
    lead
        Result, in a sentence or two; each line is a paragraph.
    command
        The command that repeats the experiment: see
        :class:`~berg_jax.experiments.reporting.command.Command`.
    settings
        All settings of the experiment, by name.
    provenance
        Origin of the result, such as :func:`~berg_jax.experiments.reporting.results.provenance`, by subject where
        there are several; may be nested.
    synthetic
        Whether weights were made up. The page then begins with a warning.
    passed
        Whether the experiment passed, where it is a test: the lead then stands in a banner that says so.

    Returns
    -------
    Path
        The page's path.

    Raises
    ------
    InvalidParameterError
        A table's row has not as many cells as the table has columns, its marks are not as many as its rows, or a
        picture's file name does not say its type.
    ResourceError
        A picture cannot be read, or the files cannot be written.
    """
    folder = Path(folder)
    config = {"experiment": title, "command": command, "settings": settings, "provenance": provenance}
    page = PAGE_TEMPLATE.substitute(
        title=escape(title),
        warning=WARNING if synthetic else "",
        lead=_paragraphs(lead) if passed is None else _banner(lead, passed),
        sections="".join(_section(section, folder) for section in sections),
        command=escape(command),
        settings=_pairs(settings),
        provenance=_pairs(provenance),
    )
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG, (json.dumps(plain(config), indent=2, ensure_ascii=False) + "\n").encode())
        write_whole(folder / PAGE, page.encode())
    return folder / PAGE


def _section(section: Section, folder: Path) -> str:
    parts = []
    for part in section.parts:
        if isinstance(part, str):
            parts.append(_paragraphs(part))
        elif isinstance(part, Link):
            parts.append(_link(part, folder))
        else:
            parts.append(_AS_HTML[type(part)](part))
    body = "".join(parts)
    if section.folded:
        return f"<section>{_folded(section.title, body)}</section>\n"
    return f"<section><h2>{escape(section.title)}</h2>{body}</section>\n"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())


def _link(link: Link, folder: Path) -> str:
    place = Path(link.path).relative_to(folder).as_posix()
    return f'<p><a href="{escape(quote(place))}">{escape(link.text)}</a> <small>{escape(place)}</small></p>'


def _banner(lead: str, passed: bool) -> str:
    word = "Passed" if passed else "Failed"
    return f'<div class="verdict {word.lower()}"><p><b>{word}</b></p>{_paragraphs(lead)}</div>'


def _figure(picture: Picture) -> str:
    # A checkbox, because it needs no script, makes the picture large where a screen is small.
    image = _image(picture.path, picture.caption)
    shown = f'<label class=wide><input type=checkbox aria-label="Enlarge">{image}</label>'
    return f"<figure>{shown}{_caption(picture.caption, [Path(picture.path).name], picture.settings)}</figure>"


def _side_by_side(row: SideBySide) -> str:
    return f"<div class=beside>{''.join(map(_figure, row.pictures))}</div>"


def _gallery(gallery: Gallery) -> str:
    tiles = []
    for path, lines in gallery.tiles:
        text = "".join(f"<small>{escape(line)}</small>" for line in lines)
        tiles.append(f"<div>{_image(path, ', '.join([Path(path).name, *lines]))}{text}</div>")
    return (
        f"<figure><div class=gallery>{''.join(tiles)}</div>{_caption(gallery.caption, [], gallery.settings)}</figure>"
    )


def _caption(caption: str, words: Sequence[str], settings: Mapping[str, Any]) -> str:
    made = [f"{name}: {_text(value)}" for name, value in settings.items() if value is not None]
    return f"<figcaption>{escape(caption)}<small>{escape(' · '.join([*words, *made]))}</small></figcaption>"


def _image(path: str | Path, shows: str) -> str:
    path = Path(path)
    if path.suffix.lower() not in _TYPES:
        raise InvalidParameterError(f"A report shows {', '.join(_TYPES)}, got {str(path)!r}.")
    return f'<img src="{_embedded(path)}" alt="{escape(shows)}">'


def _embedded(path: Path) -> str:
    """Return a picture as a URL: as WebP a brain takes a fifth of its bytes as PNG, and looks the same."""
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
    if table.passed is not None and len(table.passed) != len(table.rows):
        raise InvalidParameterError(
            f"The table {table.caption!r} has {len(table.rows)} rows, and marks for {len(table.passed)} of them."
        )
    numbers = [all(_is_number(row[index]) for row in table.rows) for index in range(len(table.columns))]
    head = "".join(
        f"<th scope=col{' class=number' * number}>{escape(str(column))}</th>"
        for column, number in zip(table.columns, numbers, strict=True)
    )
    if table.passed is None:
        rows = "".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
    else:
        head = f'<th scope=col aria-label="passed or failed"></th>{head}'
        rows = "".join(map(_checked_row, table.rows, table.passed))
    many = " class=many" * (len(table.columns) > _MANY)  # on a phone such a table is moved, and so need not be narrow
    body = f"<div class=wide><table{many}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    if len(table.rows) > _LONG:
        return _folded(f"{table.caption} ({len(table.rows):,} rows)", body)
    if table.folded:
        return _folded(table.caption, body)
    return f"<h3>{escape(table.caption)}</h3>{body}"


def _folded(caption: str, body: str) -> str:
    return f"<details><summary>{escape(caption)}</summary>{body}</details>"


def _checked_row(row: Sequence[Any], passed: bool) -> str:
    state, mark = ("passed", "✓") if passed else ("failed", "✗")
    return f"<tr class={state}><td aria-label={state}>{mark}</td>{_cells(row)}</tr>"


def _cells(row: Sequence[Any]) -> str:
    return "".join(
        f"<td{' class=number' * _is_number(value)}>{escape(_text(value, decimals=3))}</td>" for value in row
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


_AS_HTML: Mapping[type, Callable[[Any], str]] = {
    Picture: _figure,
    SideBySide: _side_by_side,
    Gallery: _gallery,
    Table: _table,
    Pairs: lambda part: _folded(part.caption, _pairs(part.pairs)),
}


def _pairs(pairs: Mapping[str, Any]) -> str:
    """Return names and values as a list, without those that are None; nested ones as lists within."""
    items = []
    for name, value in pairs.items():
        if value is None:
            continue
        body = _pairs(value) if isinstance(value, Mapping) and value else escape(_text(value))
        items.append(f"<dt>{escape(str(name))}</dt><dd>{body}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _text(value: Any, decimals: int | None = None) -> str:
    """Return a value as text: a table's numbers as by :func:`_number`, others with up to six digits."""
    if isinstance(value, Mapping | list | tuple | np.ndarray):
        return ", ".join(map(_text, value)) or "none"
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if decimals is None else _number(float(value), decimals)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _number(value: float, decimals: int) -> str:
    """Return a number with fixed decimals, a small one with three digits, a tiny or large one with a power of 10."""
    size = abs(value)
    if 10.0 ** (1 - decimals) <= size < 1000:
        return f"{value:.{decimals}f}"
    if value == 0 or 10.0**-decimals <= size < 1000:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g} × 10{str(int(exponent)).translate(_RAISED)}"
