"""What an experiment was asked for: as JSON has it, and as the command that asks for the same again."""

from __future__ import annotations

import inspect
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# What changes how long an experiment takes, or who computes it, but not what comes out.
_NOT_THE_RESULT = {"devices", "process_count", "process_index", "show_progress", "time_limit"}


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """A function's arguments, from ``locals()`` at its start, as JSON: those on which the result depends."""
    return {name: plain(value) for name, value in given.items() if name not in _NOT_THE_RESULT}


def command_line(
    command: str, function: Callable[..., Any], settings: Mapping[str, Any], names: Mapping[str, str | None]
) -> str:
    """The command that calls a function with these settings; what is as by default is left out.

    Parameters
    ----------
    command
        Of ``berg-jax``, such as ``"retinotopy"``.
    function
        Which it calls.
    settings
        Its arguments: see :func:`settings_of`.
    names
        Of arguments that an option of another name stands for, that name; None, if the argument has its place. Lists
        are options given again and again, mappings ``name=value``, and True is an option alone.
    """
    defaults = {name: plain(p.default) for name, p in inspect.signature(function).parameters.items()}
    words, placed = [], []
    for argument, value in settings.items():
        if value is None or value is False or value == defaults[argument]:
            continue
        if isinstance(value, Mapping):
            value = [f"{name}={item}" for name, item in value.items()]
        values = [str(item) for item in (value if isinstance(value, list) else [value])]
        name = names.get(argument, argument)
        if name is None:
            placed += values
        else:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [word for item in values for word in (option, item)]
    return shlex.join(["berg-jax", command, *placed, *words])


def plain(value: Any) -> Any:
    """As JSON has it: NumPy's numbers as Python's, what is no number as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
