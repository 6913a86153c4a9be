"""Settings of a trial: their values and defaults, which of them go together, and the id that they give the trial."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from ...errors import InvalidParameterError
from ...stream.selection import Selection
from ..explanation.methods import DEFAULT_METHODS, Method
from ..synthesis.recipe import GUIDANCE, Kind, Recipe

Settings = dict[str, Any]  # plain JSON
INPUTS = ("start", "photographs", "photo")  # settings that are paths of images
_DIGITS = 16  # of an id


class Setting(NamedTuple):
    """What a value may be, in words; value → the one way to write it, or ValueError; what it is unless given."""

    expected: str
    read: Callable[[Any], Any]
    default: Any = None
    required: bool = False


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _texts(value: Any) -> list[str]:
    found = [
        _text(item) for item in ([value] if isinstance(value, str) else value if isinstance(value, list) else [0])
    ]
    if len(set(found)) < len(found):
        raise ValueError
    return found


def _one_of(*names: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError
        return value

    return read


def _whole(least: int, most: float = math.inf) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return read


def _number(allowed: Callable[[float], bool], infinity: bool = False) -> Callable[[Any], float | None]:
    def read(value: Any) -> float | None:
        if type(value) not in (int, float) or not (math.isfinite(value) or (infinity and value == math.inf)):
            raise ValueError
        if not allowed(value):
            raise ValueError
        return None if value == math.inf else float(value)

    return read


def _choice(default: str, *others: str) -> Setting:
    names = (default, *(name for name in others if name != default))
    return Setting(f"one of {', '.join(names)}", _one_of(*names), default)


RECIPE = Recipe()  # whose defaults are a trial's
_ROIS = "a ROI expression, or a list of different ones"
SETTINGS: Mapping[str, Setting] = {
    "berg_dir": Setting("a folder, or 'demo'", _text, required=True),
    "subject": Setting("a subject's number, from 1 to 99", _whole(1, 99), required=True),
    "drive": Setting(_ROIS, _texts, []),
    "suppress": Setting(_ROIS, _texts, []),
    "objective": _choice("control", "top_mean"),
    "margin": Setting("a number above 0 (z units), or inf for no bound", _number(lambda x: x > 0, infinity=True)),
    "k": Setting("an integer of at least 1", _whole(1)),
    "hemisphere": _choice(Selection().hemisphere, "lh", "rh"),
    "min_ncsnr": Setting("a number", _number(lambda x: True)),
    "images": _choice(RECIPE.parametrization, *get_args(Kind)),
    "photographs": Setting("a path to photographs", _text),
    "start": Setting("a photograph's path", _text),
    "radius": Setting("a number above 0 (grey levels)", _number(lambda x: x > 0)),
    "steps": Setting("an integer of at least 1", _whole(1), RECIPE.steps),
    "optimizer": _choice("adam", "sgd"),
    "learning_rate": Setting("a number above 0", _number(lambda x: x > 0), RECIPE.learning_rate),
    "momentum": Setting("a number from 0 to below 1", _number(lambda x: 0 <= x < 1), 0.9),
    "jitter": Setting("an integer of at least 0 (pixels)", _whole(0), RECIPE.jitter),
    "total_variation": Setting(
        "a number of at least 0 (z units per grey level)", _number(lambda x: x >= 0), RECIPE.total_variation
    ),
    "draws": Setting("an integer of at least 1", _whole(1), RECIPE.draws),
    "seed": Setting("an integer from 0 to 4294967295", _whole(0, 2**32 - 1), RECIPE.seed),
    "precision": _choice("float32", "tensorfloat32", "bfloat16", "float64"),
    "experiment": _choice("synthesize", "vary", "metamer", "explain"),
    "prior": Setting("'diffusion'", _one_of("diffusion")),
    "guidance": Setting("a number", _number(lambda x: True)),
    "photo": Setting("a path of one image", _text),
    "strength": Setting("a number above 0, at most 1", _number(lambda x: 0 < x <= 1)),
    "fit_images": _choice("error", "crop", "pad", "stretch"),
    "apart": Setting("a number of at least 0", _number(lambda x: x >= 0)),
    "method": Setting(f"one of {', '.join(get_args(Method))}", _one_of(*get_args(Method))),
}
_LATER = ("experiment", "prior", "guidance", "photo", "strength", "fit_images", "apart", "method")
"""Settings of a later version, which count in an id only where they are not their defaults."""

_WHICH = ("berg_dir", "subject", "drive", "suppress", "hemisphere", "min_ncsnr", "precision", "experiment")
_GOAL = ("objective", "k", "margin")
_ASCENT = ("images", "photographs", "start", "fit_images", "radius", "optimizer", "learning_rate", "momentum")
_USED: Mapping[str, tuple[str, ...]] = {
    "synthesize": (*_GOAL, *_ASCENT, "steps", "jitter", "total_variation", "draws", "seed", "prior"),
    "prior": (*_GOAL, "steps", "seed", "prior", "guidance"),
    "vary": (*_GOAL, "photo", "fit_images", "guidance", "strength", "radius", "steps", "seed"),
    "metamer": ("photo", "start", "fit_images", "apart", "steps", "learning_rate", "seed"),
    "explain": (*_GOAL, "photo", "fit_images", "method"),
}
"""Further settings that each kind of trial uses."""

_OWN: Mapping[str, Settings] = {
    "prior": {"guidance": GUIDANCE},
    "vary": {"guidance": 0.0, "strength": 0.5, "steps": 50},
    "metamer": {"apart": 0.0, "steps": 4096, "learning_rate": 0.1},
    "explain": {"method": DEFAULT_METHODS[0]},
}
"""Defaults of each kind of trial that are not those of gradient ascent."""


_VALUES = {
    "synthesize": "objective's value (z)",
    "prior": "objective's value (z)",
    "vary": "objective's value (z)",
    "metamer": "minus the error (share of the responses' spread)",
    "explain": "gain of the map's order over a random one (z)",
}


def value_of(trials: Sequence[Trial]) -> str:
    """Return what the trials' values are, with the unit; ``"value"`` if that differs between them."""
    kinds = {_VALUES[kind_of(trial.settings)] for trial in trials}
    return kinds.pop() if len(kinds) == 1 else "value"


def kind_of(settings: Mapping[str, Any]) -> str:
    """Return a trial's kind: its experiment, or ``"prior"`` for a synthesis from a prior."""
    experiment = settings.get("experiment", "synthesize")
    return "prior" if experiment == "synthesize" and settings.get("prior") is not None else experiment


def is_used(name: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a trial's experiment uses a setting."""
    return name in (*_WHICH, *_USED[kind_of(settings)])


class Trial(NamedTuple):
    """One image to be made: its settings, all of them, and the id that these give it."""

    id: str
    settings: Settings


def read_setting(where: str, name: str, value: Any) -> Any:
    """A setting's value in the one way to write it.

    Parameters
    ----------
    where
        The table it stands in, for the message.

    Raises
    ------
    InvalidParameterError
        There is no such setting, or it cannot have this value.
    """
    if name not in SETTINGS:
        raise InvalidParameterError(f"{where}.{name} is no setting of a trial. Those are: {', '.join(SETTINGS)}.")
    try:
        return SETTINGS[name].read(value)
    except ValueError:
        raise InvalidParameterError(f"{where}.{name} must be {SETTINGS[name].expected}, got {value!r}.") from None


def make_trial(given: Settings) -> Trial:
    """A trial of these settings and the others' defaults.

    Its id is the sha256 of all of them, as JSON with sorted keys and no spaces, to 16 hexadecimal digits. Settings
    that version 0.1.0 did not have are left out of it where they are their defaults.

    Raises
    ------
    InvalidParameterError
        A setting is missing, or two do not go together.
    """
    for name, setting in SETTINGS.items():
        if setting.required and name not in given:
            raise InvalidParameterError(f"{name} is not given: it must be {setting.expected}. Set it in [base].")
    kind = kind_of(given)
    defaults = {name: setting.default for name, setting in SETTINGS.items()} | _OWN.get(kind, {})
    settings = defaults | given
    if problem := _contradiction(settings, kind, [name for name in given if given[name] != defaults[name]]):
        raise InvalidParameterError(f"Settings do not go together: {problem}. They are {_told(given)}.")
    hashed = {k: v for k, v in settings.items() if k not in _LATER or v != SETTINGS[k].default}
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Trial(hashlib.sha256(text.encode()).hexdigest()[:_DIGITS], settings)


def _contradiction(settings: Settings, kind: str, changed: list[str]) -> str | None:
    s = settings
    both = sorted(set(s["drive"]) & set(s["suppress"]))
    used = (*_WHICH, *_USED[kind])
    unused = [name for name in changed if name not in used]
    what = "a prior" if kind == "prior" else f"experiment '{kind}'"
    found = {
        f"{', '.join(unused)} mean nothing to {what}": unused,
        f"experiment '{kind}' needs a photo": "photo" in _USED[kind] and s["photo"] is None,
        "experiment 'metamer' matches the responses of drive, and takes no suppress": kind == "metamer"
        and s["suppress"],
        "drive or suppress must name a ROI": not s["drive"] and not s["suppress"],
        f"{both} cannot be driven and suppressed": both,
        "k is needed with objective 'top_mean', and only there": (s["objective"] == "top_mean")
        != (s["k"] is not None),
        "margin is for objective 'control'": s["objective"] != "control" and s["margin"] is not None,
        "radius is the distance from start, which is not given": kind == "synthesize"
        and s["radius"] is not None
        and s["start"] is None,
        "start is for images 'fourier' and 'pixels'": s["images"] == "phases" and s["start"] is not None,
        "photographs are for images 'phases'": s["images"] != "phases" and s["photographs"] is not None,
    }
    return next((problem for problem, is_so in found.items() if is_so), None)


def _told(given: Settings) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in given.items())
