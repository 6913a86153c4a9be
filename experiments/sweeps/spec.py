"""Specification of a sweep: a TOML file that gives the trials, the same on every machine, and their launcher.

The trials are all combinations of a point of the grid, a row of the zipped axes and a random draw. Every combination
has the same draws, so that more draws, or longer axes, keep the trials that were there before.
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
_LARGEST = 1 << 24  # bytes in a file
_DIGITS = 6  # significant digits of a random draw, so that no id depends on a machine's logarithm
_NUMBERS = (
    *("margin", "min_ncsnr", "radius", "learning_rate", "momentum", "total_variation"),
    *("guidance", "strength", "apart"),
)


class Spec(NamedTuple):
    """Specification of a sweep.

    Attributes
    ----------
    raw
        The file's contents, as plain JSON has them.
    trials
        The trials in order; the first axis of the file changes slowest.
    axes
        Names of the settings that axes give, in the file's order, for ``grid``, ``zip`` and ``random``.
    repeated
        Number of combinations left out because an earlier one has the same settings, such as draws from few choices.
    launcher
        The way the trials are run, on which their results do not depend.
    """

    raw: dict[str, Any]
    trials: list[Trial]
    axes: dict[str, list[str]]
    repeated: int
    launcher: Launcher


def read_spec(path: str | Path) -> Spec:
    """Read the specification of a sweep from a TOML file, or from the ``sweep.json`` of a sweep's folder.

    Raises
    ------
    ResourceError
        The file cannot be read.
    InvalidParameterError
        The file is neither of these, or a value makes no sense; the message names the key, what it must be, and what
        it is.

    See Also
    --------
    expand : Make the specification from a dictionary.
    berg_jax.experiments.sweeps.submit.sweep : Run the sweep.
    """
    path = Path(path)
    with explained("read", path):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise InvalidParameterError(f"{path} is no file of at most {_LARGEST:,} bytes.")
        data = path.read_bytes()
    kind, read = ("sweep's JSON", _read_json) if path.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        raw = read(data.decode())
    except (ValueError, RecursionError) as error:  # syntax, encoding, endless digits, deeply nested tables
        raise InvalidParameterError(f"{path} is no {kind}: {error}.") from error
    return expand(raw)


def _read_json(text: str) -> dict[str, Any]:
    contents = json.loads(text)
    if not isinstance(contents, dict) or not isinstance(contents.get("sweep"), dict):
        raise ValueError("it has no sweep")
    return contents["sweep"]


def expand(raw: Mapping[str, Any]) -> Spec:
    """Return the specification that a file's contents describe.

    Parameters
    ----------
    raw
        Tables ``base``, ``grid``, ``zip``, ``random`` and ``launcher``; none is required.

    Raises
    ------
    InvalidParameterError
        A value makes no sense; the message names the key, what it must be, and what it is.

    Examples
    --------
    >>> base = {"berg_dir": "demo", "subject": 1, "drive": "FFA-1"}
    >>> spec = expand({"base": base, "grid": {"seed": [0, 1], "steps": [64, 128, 256]}})
    >>> len(spec.trials)
    6
    """
    for name, table in raw.items():
        if name not in _TABLES or not isinstance(table, dict):
            raise InvalidParameterError(
                f"{name} is no table of a sweep: it has {', '.join(f'[{table}]' for table in _TABLES)}."
            )
    base = {name: read_setting("base", name, value) for name, value in raw.get("base", {}).items()}
    grid = {name: _values("grid", name, values) for name, values in raw.get("grid", {}).items()}
    zipped = {name: _values("zip", name, values) for name, values in raw.get("zip", {}).items()}
    draws = _draws(raw.get("random", {}))
    axes = {"grid": list(grid), "zip": list(zipped), "random": list(draws[0])}
    _require_once({"base": list(base), **axes})
    if len({len(values) for values in zipped.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in zipped.items())
        raise InvalidParameterError(f"[zip] must have as many values on every axis: {lengths}.")
    _require_few(math.prod(map(len, grid.values())) * len(next(iter(zipped.values()), [0])) * len(draws))
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    rows = [dict(zip(zipped, values, strict=True)) for values in zip(*zipped.values(), strict=True)] or [{}]
    combinations = [make_trial(base | point | row | draw) for point in points for row in rows for draw in draws]
    trials = list({trial.id: trial for trial in combinations}.values())
    return Spec(
        raw=dict(raw),
        trials=trials,
        axes=axes,
        repeated=len(combinations) - len(trials),
        launcher=read_launcher(raw.get("launcher", {})),
    )


def varying(spec: Spec) -> list[str]:
    """Return the names of the settings in which trials differ, in the file's order."""
    names = [name for axes in spec.axes.values() for name in axes]
    return [name for name in names if len({repr(trial.settings[name]) for trial in spec.trials}) > 1]


def describe_settings(settings: Settings, names: list[str]) -> list[str]:
    """Return some of a trial's settings as text: ``learning_rate 0.05``, ``drive FFA-1; PPA``."""
    return [f"{name} {format_value(settings[name])}" for name in names]


def join_rois(rois: list[str]) -> str:
    """Return ROIs as one text: ``FFA-1; PPA``."""
    return "; ".join(rois)


def format_value(value: Any) -> str:
    """Return a setting's value as text for readers."""
    if isinstance(value, list):
        return join_rois(value) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _values(where: str, name: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise InvalidParameterError(f"{where}.{name} must be a list of values, got {values!r}.")
    checked = [read_setting(where, name, value) for value in values]
    if where == "grid" and len({repr(value) for value in checked}) < len(checked):
        raise InvalidParameterError(f"grid.{name} has a value twice: {values!r}.")
    return checked


def _require_few(count: int) -> None:
    if count > _MOST:
        raise InvalidParameterError(f"A sweep has at most {_MOST:,} trials, this one {count:,}. Make it several.")


def _draws(table: Mapping[str, Any]) -> list[Settings]:
    """Return the settings of each draw: one empty draw if nothing is random."""
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
    columns = {
        name: _column(name, distribution, table.get("seed", 0), table["trials"])
        for name, distribution in axes.items()
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _column(name: str, distribution: Any, seed: int, count: int) -> list[Any]:
    """Draw a setting ``count`` times.

    The first draws do not depend on the count, nor on the other axes.
    """
    where = "random.axes"
    kinds = ("uniform", "loguniform", "choice")
    is_table = isinstance(distribution, dict) and len(distribution) == 1
    kind, values = next(iter(distribution.items())) if is_table else (None, None)
    if kind not in kinds or not isinstance(values, list) or not values:
        raise InvalidParameterError(
            f"{where}.{name} must be {{uniform = [low, high]}}, {{loguniform = [low, high]}} or "
            f"{{choice = [value, …]}}, got {distribution!r}."
        )
    checked = [read_setting(where, name, value) for value in values]
    # Given a text as the seed, random() returns the same numbers on every machine and in every version of Python.
    source = random.Random(f"{seed} {name}")
    shares = [source.random() for _ in range(count)]
    if kind == "choice":
        return [checked[int(share * len(checked))] for share in shares]
    if name not in _NUMBERS:
        raise InvalidParameterError(f"{where}.{name}: {kind} draws numbers with fractions; use choice.")
    low, high = (checked[0], checked[-1]) if len(checked) == 2 else (1, 0)
    if None in checked or not low < high or (kind == "loguniform" and not low > 0):
        least = "0 < low < high" if kind == "loguniform" else "low < high"
        raise InvalidParameterError(f"{where}.{name}: {kind} needs [low, high] with {least}, got {values!r}.")
    if kind == "loguniform":
        draws = [low * (high / low) ** share for share in shares]
    else:
        draws = [low + (high - low) * share for share in shares]
    return [float(f"{value:.{_DIGITS}g}") for value in draws]


def _require_once(tables: Mapping[str, list[str]]) -> None:
    """Raise if a setting stands in more than one table."""
    for name in SETTINGS:
        where = [table for table, names in tables.items() if name in names]
        if len(where) > 1:
            raise InvalidParameterError(f"{name} stands in [{where[0]}] and in [{where[1]}]: give it once.")
