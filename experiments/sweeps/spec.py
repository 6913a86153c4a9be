"""A sweep's specification: a TOML file → its trials, the same on every machine, and how they are launched.

Trials are every combination of the grid's axes, with each row of the zipped ones, with each random draw. The draws
are the same for every combination: then more draws, or longer axes, keep the trials that were there.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InvalidParameterError
from ...files.disk import explained
from .launcher import Launcher, read_launcher
from .trial import SETTINGS, Settings, Trial, make_trial, read_setting

_TABLES = ("base", "grid", "zip", "random", "launcher")
_MOST = 1_000_000  # trials
_LARGEST = 1 << 24  # bytes of a file
_DIGITS = 6  # of a random draw, so that no id hangs on a machine's logarithm
_NUMBERS = ("margin", "min_ncsnr", "radius", "learning_rate", "momentum", "total_variation")


class Spec(NamedTuple):
    """A sweep.

    Attributes
    ----------
    raw
        The file's contents, as plain JSON has them.
    trials
        In order: the first axis of the file changes slowest.
    axes
        Names of the settings that axes give, in the file's order: ``grid``, ``zip``, then ``random``.
    repeated
        How many combinations were there before with the same settings, as draws from few choices are.
    launcher
        How the trials are run; no part of what they are.
    """

    raw: dict[str, Any]
    trials: list[Trial]
    axes: dict[str, list[str]]
    repeated: int
    launcher: Launcher


def read_spec(path: str | Path) -> Spec:
    """The sweep that a TOML file specifies, or the ``sweep.json`` of a sweep's folder.

    Raises
    ------
    ResourceError
        The file cannot be read.
    InvalidParameterError
        It is none of these, or something in it makes no sense: the message names the key, what it must be and what
        it is.
    """
    path = Path(path)
    with explained("read", path):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise InvalidParameterError(f"{path} is no file of at most {_LARGEST:,} bytes.")
        data = path.read_bytes()
    kind, read = ("sweep's JSON", _of_folder) if path.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        raw = read(data.decode())
    except (ValueError, RecursionError) as error:  # of syntax, encoding, digits without end, tables within tables
        raise InvalidParameterError(f"{path} is no {kind}: {error}.") from error
    return expand(raw)


def _of_folder(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("sweep"), dict):
        raise ValueError("it has no sweep")
    return found["sweep"]


def expand(raw: Mapping[str, Any]) -> Spec:
    """The sweep that a specification's contents mean. Raises as :func:`read_spec`."""
    for name, table in raw.items():
        if name not in _TABLES or not isinstance(table, dict):
            raise InvalidParameterError(
                f"{name} is no table of a sweep: it has {', '.join(f'[{table}]' for table in _TABLES)}."
            )
    base = {name: read_setting("base", name, value) for name, value in raw.get("base", {}).items()}
    grid = {name: _values("grid", name, values) for name, values in raw.get("grid", {}).items()}
    zipped = {name: _values("zip", name, values) for name, values in raw.get("zip", {}).items()}
    drawn = _draws(raw.get("random", {}))
    axes = {"grid": list(grid), "zip": list(zipped), "random": list(drawn[0])}
    _require_once({"base": list(base), **axes})
    if len({len(values) for values in zipped.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in zipped.items())
        raise InvalidParameterError(f"[zip] must have as many values on every axis: {lengths}.")
    _require_few(math.prod(map(len, grid.values())) * len(next(iter(zipped.values()), [0])) * len(drawn))
    rows = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    together = [dict(zip(zipped, values, strict=True)) for values in zip(*zipped.values(), strict=True)] or [{}]
    every = [make_trial(base | row | zip_row | draw) for row in rows for zip_row in together for draw in drawn]
    trials = list({trial.id: trial for trial in every}.values())
    return Spec(dict(raw), trials, axes, len(every) - len(trials), read_launcher(raw.get("launcher", {})))


def varying(spec: Spec) -> list[str]:
    """Names of the settings in which trials differ, in the file's order."""
    names = [name for axes in spec.axes.values() for name in axes]
    return [name for name in names if len({repr(trial.settings[name]) for trial in spec.trials}) > 1]


def told(settings: Settings, names: list[str]) -> list[str]:
    """Some of a trial's settings, to be read: ``learning_rate 0.05``, ``drive FFA-1; PPA``."""
    return [f"{name} {shown(settings[name])}" for name in names]


def joined(rois: list[str]) -> str:
    """ROIs as one text: ``FFA-1; PPA``."""
    return "; ".join(rois)


def shown(value: Any) -> str:
    """A setting's value, to be read."""
    if isinstance(value, list):
        return joined(value) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _values(where: str, name: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise InvalidParameterError(f"{where}.{name} must be a list of values, got {values!r}.")
    found = [read_setting(where, name, value) for value in values]
    if where == "grid" and len({repr(value) for value in found}) < len(found):
        raise InvalidParameterError(f"grid.{name} has a value twice: {values!r}.")
    return found


def _require_few(count: int) -> None:
    if count > _MOST:
        raise InvalidParameterError(f"A sweep has at most {_MOST:,} trials, this one {count:,}. Make it several.")


def _draws(table: Mapping[str, Any]) -> list[Settings]:
    """The settings of each draw: one empty draw where nothing is random."""
    if not table:
        return [{}]
    numbers = {"trials": (1, None), "seed": (0, 0)}
    unknown = set(table) - set(numbers) - {"axes"}
    if unknown:
        raise InvalidParameterError(f"random.{min(unknown)} is not known: [random] has trials, seed and axes.")
    for name, (least, default) in numbers.items():
        value = table.get(name, default)
        if type(value) is not int or value < least:
            raise InvalidParameterError(f"random.{name} must be an integer of at least {least}, got {value!r}.")
    _require_few(table.get("trials", 1))
    axes = table.get("axes")
    if not isinstance(axes, dict) or not axes:
        raise InvalidParameterError(f"random.axes must be a table of axes, got {axes!r}.")
    columns = {name: _column(name, how, table.get("seed", 0), table["trials"]) for name, how in axes.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _column(name: str, how: Any, seed: int, count: int) -> list[Any]:
    """``count`` draws of a setting; the first are the same however many there are, and whatever other axes are."""
    where = "random.axes"
    kinds = ("uniform", "loguniform", "choice")
    kind, values = next(iter(how.items())) if isinstance(how, dict) and len(how) == 1 else (None, None)
    if kind not in kinds or not isinstance(values, list) or not values:
        raise InvalidParameterError(
            f"{where}.{name} must be {{uniform = [low, high]}}, {{loguniform = [low, high]}} or "
            f"{{choice = [value, …]}}, got {how!r}."
        )
    found = [read_setting(where, name, value) for value in values]
    # Python vouches for the numbers of random() on every machine and in every version, given a text as the seed.
    source = random.Random(f"{seed} {name}")
    shares = [source.random() for _ in range(count)]
    if kind == "choice":
        return [found[int(share * len(found))] for share in shares]
    if name not in _NUMBERS:
        raise InvalidParameterError(f"{where}.{name}: {kind} draws numbers with fractions; use choice.")
    low, high = (found[0], found[-1]) if len(found) == 2 else (1, 0)
    if None in found or not low < high or (kind == "loguniform" and not low > 0):
        least = "0 < low < high" if kind == "loguniform" else "low < high"
        raise InvalidParameterError(f"{where}.{name}: {kind} needs [low, high] with {least}, got {values!r}.")
    drawn = [low * (high / low) ** x if kind == "loguniform" else low + (high - low) * x for x in shares]
    return [float(f"{value:.{_DIGITS}g}") for value in drawn]


def _require_once(tables: Mapping[str, list[str]]) -> None:
    for name in SETTINGS:
        where = [table for table, names in tables.items() if name in names]
        if len(where) > 1:
            raise InvalidParameterError(f"{name} stands in [{where[0]}] and in [{where[1]}]: give it once.")
