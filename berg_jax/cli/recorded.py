"""Settings of an earlier run as the defaults of a command's options: ``--config``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

_LARGEST = 1 << 24  # bytes
_PLACE = "path"  # of the images, an argument of its place


def recorded_settings(path: Path, command: str, parameters: list[Any]) -> dict[str, Any]:
    """Return the settings that a ``config.json`` records, by the names of a command's parameters.

    Parameters
    ----------
    path
        File ``config.json`` of an experiment's folder, or the folder.
    command
        Name of the command, such as ``"localize"``.
    parameters
        Parameters of the command.

    Raises
    ------
    typer.BadParameter
        There is no such file; it is damaged, of another command, or has options that this command does not know.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        config = json.loads(path.read_text(encoding="utf-8"))
        line, settings = str(config["command"]), dict(config["settings"])
        name = shlex.split(line)[1]
    except FileNotFoundError as error:
        raise typer.BadParameter(f"There is no file {path}. Give the config.json of an experiment.") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise typer.BadParameter(f"{path} is no config.json of an experiment ({error}). Give another one.") from error
    if name != command:
        raise typer.BadParameter(f"{path} is of berg-jax {name}, and this is berg-jax {command}.")
    known = {key: parameter for parameter in parameters for key in _keys(parameter)}
    if unknown := [key for key, value in settings.items() if key not in known and value is not None]:
        raise typer.BadParameter(
            f"{path} has settings that this version does not know: {', '.join(unknown)}. Its command was: {line}"
        )
    return {
        known[key].name: _given(value, known[key].multiple if key != _PLACE else False)
        for key, value in settings.items()
        if value is not None
    }


def _keys(parameter: Any) -> list[str]:
    """Return the names under which a parameter may be recorded: of an option those on the command line."""
    if parameter.param_type_name == "argument":
        return [_PLACE]
    return [str(name).lstrip("-").replace("-", "_") for name in parameter.opts]


def _given(value: Any, multiple: bool) -> Any:
    """Return a recorded value as it would be given on the command line."""
    if isinstance(value, Mapping):
        return [f"{name}={item}" for name, item in value.items()]
    return [value] if multiple and not isinstance(value, list) else value


def _take(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        context.default_map = recorded_settings(path, context.command.name or "", context.command.params)
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        is_eager=True,
        callback=_take,
        help="File config.json of an earlier run, whose settings are taken where no option is given.",
    ),
]
