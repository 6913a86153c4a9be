"""Settings of an experiment as JSON has them, and the command of ``berg-jax`` that repeats it."""

from __future__ import annotations

import inspect
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import InvalidParameterError
from ...stream.execution import Execution
from ...stream.images import Images
from ...stream.selection import Selection
from ...subject import Subject


class Command(NamedTuple):
    """The command that repeats an experiment.

    Attributes
    ----------
    name
        Name of the command, such as ``"retinotopy"``.
    settings
        Every option that the result depends on, by name and as JSON has it; ``images`` is the path.
    defaults
        What an option is unless it is given.
    """

    name: str
    settings: dict[str, Any]
    defaults: dict[str, Any]

    @property
    def line(self) -> str:
        """The command line, with the options that are not as by default."""
        words, placed = [], []
        for name, value in self.settings.items():
            if value is None or value is False or value == self.defaults.get(name):
                continue
            if isinstance(value, Mapping):
                value = [f"{key}={item}" for key, item in value.items()]
            values = [str(item) for item in (value if isinstance(value, list) else [value])]
            if name == PATH:
                placed += values
            else:
                option = f"--{name.replace('_', '-')}"
                words += [option] if value is True else [word for item in values for word in (option, item)]
        return shlex.join(["berg-jax", self.name, *placed, *words])

    def computed_with(self, execution: Execution) -> Command:
        """Return the command with the batch size that was chosen, so that it repeats the run on any device."""
        return self._replace(settings={**self.settings, "batch_size": execution.batch_size})


PATH = "path"  # of the images: an argument of its place, while all else are options


def command_of(
    name: str,
    function: Callable[..., Any],
    subjects: Sequence[Subject],
    output: Path,
    *values: Selection | Images | Execution | Any,
    **options: Any,
) -> Command:
    """Return the command that stands for a call of an experiment's function.

    Parameters
    ----------
    name
        Name of the command.
    function
        The experiment's function, whose signature holds the defaults of its own options.
    subjects, output
        The subjects, all of one BERG directory, and the folder of the results.
    values
        Value objects, each of whose fields is an option; None stands for what was not given.
    options
        The experiment's own options, by their names on the command line. Lists are options given again and again,
        mappings ``name=value``, and True is an option alone.

    Raises
    ------
    InvalidParameterError
        A subject or value object is of another type.
    """
    for given, wanted in [*((one, Subject) for one in subjects), *((v, object) for v in values)]:
        if isinstance(given, str | Path) or not isinstance(given, wanted):
            need = (
                "a berg_jax.Subject" if wanted is Subject else "a value object, such as selection=Selection(roi='V1')"
            )
            raise InvalidParameterError(f"{name} takes {need}, got {given!r}.")
    settings: dict[str, Any] = {"berg_dir": subjects[0].berg_dir}
    numbers = [subject.description.subject for subject in subjects]
    settings["subject"] = numbers if len(numbers) > 1 else numbers[0]
    settings["output"] = output
    defaults: dict[str, Any] = {}
    for value in filter(None, values):
        given = value.as_json() if isinstance(value, Selection) else vars(value)  # Vertices are no JSON
        for field in fields(value):
            if field.name in _NO_OPTIONS:
                continue
            option = field.metadata.get("option", field.name)
            settings[option] = given[field.name]
            defaults[option] = field.default
    signature = inspect.signature(function).parameters
    for option in options:
        argument = next((name for name in (option, f"{option}s") if name in signature), None)  # several are a plural
        if argument is not None:
            defaults[option] = signature[argument].default
    settings |= options
    return Command(name, plain(settings), plain(defaults))


_NO_OPTIONS = {"devices", "process", "show_progress", "time_limit"}  # who computes a result changes nothing of it


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NumPy's numbers as Python's, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
