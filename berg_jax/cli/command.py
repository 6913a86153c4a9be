"""Commands made from functions of value objects: each field of a ``Selection``, ``Images`` … becomes an option.

An option's help is the first sentence of the field's text in the value object's docstring, so it is written once.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import docstring_parser
import typer
from typer.core import TyperCommand

from ..errors import InvalidParameterError
from ..experiments.synthesis.recipe import Recipe
from ..machine import keep_compiled
from ..stream.execution import Execution, find_process
from ..stream.images import Images
from ..stream.selection import Selection
from .options import (
    RUN,
    BergDir,
    DonorId,
    ProcessCount,
    ProcessIndex,
    Share,
    SubjectId,
    SubjectIds,
    TimeLimit,
    messages,
    seconds,
    shows_progress,
)
from .recorded import Config

_PANELS = {Selection: "Vertices", Images: "Images", Recipe: "Recipe", Execution: RUN}
# Types on the command line, where those in Python allow more.
_TYPES = {"roi": str | None, "path": Path, "photographs": Path | None, "start": Path | None, "devices": int | None}


# Annotations of parameters that are a Subject, or a list of them. Their class is not imported, as that takes NumPy.
OneSubject = Annotated[Any, "subject"]
Subjects = Annotated[Any, "subjects"]
Donor = Annotated[Any, "donor"]


class Only(NamedTuple):
    """Names of the fields that a command has options for, in a value object's annotation."""

    names: tuple[str, ...]


_PREFIX = "Value error, "  # which pydantic sets before what typer says


class Alias(NamedTuple):
    """Another name of the option of a value object's field, in an annotation."""

    field: str
    option: str


class _Once(TyperCommand):
    """A command that refuses an option given twice of which it would take the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, count in Counter(order).items():
            takes_one = parameter.param_type_name == "option" and not parameter.multiple and not parameter.is_flag
            if takes_one and count > 1:
                ctx.fail(f"{parameter.opts[0]} is given {count} times, and one is taken. Give it once.")
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(_PREFIX)
            raise


class _Value(NamedTuple):
    """A value object among a command's parameters: the options that it is made of, by name, and its maker."""

    options: dict[str, inspect.Parameter]
    make: Callable[..., Any]


def command(
    app: typer.Typer,
    group: str,
    name: str | None = None,
    extra: str | None = None,
    hidden: bool = False,
    config: bool = False,
) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Register a function as a command: what it returns is printed, and an error of the user's is one message.

    Parameters of the types ``Selection``, ``Images``, ``Execution`` and ``Recipe`` become the options of their
    fields; ``OneSubject`` and ``Subjects`` become ``--berg-dir`` and ``--subject``, ``Donor`` the former and
    ``--donor``.

    Parameters
    ----------
    app, group, name
        The application, the command's group in the help, and its name (by default the function's).
    extra
        The package's extra that the command needs.
    hidden
        Leave the command out of the help.
    config
        Add ``--config``, which takes the settings that an earlier run has recorded.
    """

    def register(function: Callable[..., str]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        parameters, values = [], {}
        for parameter in inspect.signature(function).parameters.values():
            value = _value(hints[parameter.name])
            if value is None:
                parameters.append(_option(parameter.name, hints[parameter.name], parameter.default))
            else:
                parameters += value.options.values()
                values[parameter.name] = value

        if config:
            parameters.append(_option("config", Config, None))

        @functools.wraps(function)
        def run(**given: Any) -> None:
            if config:
                given.pop("config")  # its settings are the other options' defaults by now
            with messages(extra):
                # Subjects come last, as they may take long: a demo subject is built on its first use.
                for name, value in sorted(values.items(), key=lambda item: item[0].startswith("subject")):
                    given[name] = value.make(**{option: given.pop(option) for option in value.options})
                if values:
                    keep_compiled()
                typer.echo(function(**given))

        run.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, cls=_Once, rich_help_panel=group, hidden=hidden)(run)
        return run

    return register


def _option(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _value(hint: Any) -> _Value | None:
    """Return the value object that a parameter's annotation asks for, if it is one."""
    kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    only = next((note.names for note in notes if isinstance(note, Only)), None)
    if hint == OneSubject:
        options = {"berg_dir": _option("berg_dir", BergDir), "subject_id": _option("subject_id", SubjectId)}
        return _Value(options, _subject)
    if hint == Donor:
        options = {"berg_dir": _option("berg_dir", BergDir), "donor": _option("donor", DonorId)}
        return _Value(options, _donor)
    if hint == Subjects:
        options = {"berg_dir": _option("berg_dir", BergDir), "subject_ids": _option("subject_ids", SubjectIds)}
        return _Value(options, _subjects)
    if kind in (Images, Images | None):
        options = _field_options(Images, aliases=[note for note in notes if isinstance(note, Alias)])
        path = Annotated[Path if kind is Images else Path | None, notes[0]]
        options["path"] = _option("path", path, inspect.Parameter.empty if kind is Images else None)
        return _Value(options, _images if kind is Images else _optional_images)
    if kind is Execution:
        options = _field_options(Execution, ("batch_size", "devices"))
        options["share"] = _option("share", Share, default=False)
        options |= {
            name: _option(name, annotation, None)
            for name, annotation in (
                ("process_index", ProcessIndex),
                ("process_count", ProcessCount),
                ("time_limit", TimeLimit),
            )
        }
        return _Value(options, _execution)
    return _Value(_field_options(kind, only), kind) if kind in _PANELS else None


def _field_options(
    kind: type, only: tuple[str, ...] | None = None, aliases: Sequence[Alias] = ()
) -> dict[str, inspect.Parameter]:
    """Return the options of a value object's fields, by the fields' names."""
    hints, helps = get_type_hints(kind), _helps(kind)
    options = {}
    for field in fields(kind):
        if only is not None and field.name not in only:
            continue
        option = typer.Option(
            "--" + field.metadata.get("option", field.name).replace("_", "-"),
            *(alias.option for alias in aliases if alias.field == field.name),
            help=helps[field.name],
            min=field.metadata.get("min"),
            rich_help_panel=_PANELS[kind],
        )
        annotation = Annotated[_TYPES.get(field.name, hints[field.name]), option]
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        options[field.name] = _option(field.name, annotation, default)
    return options


def _helps(kind: type) -> dict[str, str]:
    """Return the first sentence of each parameter's text in a docstring, without its markup."""
    style = docstring_parser.DocstringStyle.NUMPYDOC
    helps = {}
    for parameter in docstring_parser.parse(kind.__doc__ or "", style).params:
        text = " ".join((parameter.description or "").split()).replace("``", "")
        helps[parameter.arg_name] = re.split(r"(?<=\.) (?=[A-Z])", text)[0]
    return helps


def _subject(berg_dir: Path, subject_id: int) -> Any:
    from ..subject import Subject

    return Subject(berg_dir, subject_id)


def _donor(berg_dir: Path, donor: int) -> Any:
    return _subject(berg_dir, donor)


def _subjects(berg_dir: Path, subject_ids: list[int]) -> list[Any]:
    from ..subject import Subject

    return [Subject(berg_dir, subject_id) for subject_id in subject_ids]


def _images(**fields: Any) -> Images:
    images = Images(**fields)
    images.require_there()  # now: what comes next, such as converting a subject, may take long
    return images


def _optional_images(path: Path | None, rows: str | None, fit: Any, layout: Any) -> Images | None:
    if path is not None:
        return _images(path=path, rows=rows, fit=fit, layout=layout)
    if rows is not None or layout is not None:
        option = f"--images {rows}" if rows is not None else f"--layout {layout}"
        raise InvalidParameterError(
            f"{option} is of an array that is given: give it, too, such as NSD's nsd_stimuli.hdf5; or leave it out, "
            "for the demo's own drawings."
        )
    return None


def _execution(
    batch_size: int | None,
    devices: int | None,
    share: bool,
    process_index: int | None,
    process_count: int | None,
    time_limit: float | None,
) -> Execution:
    process = find_process(process_index, process_count, share=share)
    execution = Execution(batch_size, devices, process, seconds(time_limit), shows_progress())
    if devices is not None:
        execution.local_devices()  # refused now, if there are not so many
    return execution
