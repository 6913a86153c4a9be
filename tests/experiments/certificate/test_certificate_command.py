"""The command or the call that a certificate's report gives asks for the same comparison again."""

from __future__ import annotations

import inspect
import shlex
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from berg_jax.cli.app import app
from berg_jax.errors import ValidationError
from berg_jax.experiments.certificate import experiment as module
from berg_jax.experiments.certificate.experiment import certify, check_against
from berg_jax.experiments.reporting.command import plain

FUNCTIONS = {"certify": certify, "check_against": check_against}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("certify", {}),
        ("certify", {"precisions": ("bfloat16",), "num_heads": 3, "config": "my config.yaml"}),
        ("certify", {"precisions": ()}),
        ("check_against", {"certificate": "an 'other'.json"}),
    ],
)
def test_the_command_asks_for_the_same(name: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of_call(name, ("my dir", 2), output="out", **given)
    called = []

    def record(*arguments: Any, **options: Any) -> None:
        called.append(settings_of_call(name, arguments, **options))
        raise ValidationError("enough")

    line = module._command(getattr(module, name), settings)
    monkeypatch.setattr(module, name, record)
    CliRunner().invoke(app, shlex.split(line)[1:])
    assert called == [settings]
    assert line.startswith("berg-jax verify ")


@pytest.mark.parametrize("given", [{"lora_scale": 0.25}, {"retina_sigma": 0.0, "images_per_batch": 3}])
def test_settings_without_an_option_are_a_call(given: dict[str, Any]) -> None:
    settings = settings_of_call("certify", ("my dir", 2), output="out", **given)
    called = []

    def record(*arguments: Any, **options: Any) -> None:
        called.append(settings_of_call("certify", arguments, **options))

    call = module._command(certify, settings)
    eval(call, {"berg_jax": SimpleNamespace(experiments=SimpleNamespace(certify=record))})
    assert called == [settings]


def settings_of_call(name: str, arguments: tuple[Any, ...], **options: Any) -> dict[str, Any]:
    """Return the settings that certify or check_against would record of a call."""
    bound = inspect.signature(FUNCTIONS[name]).bind(*arguments, **options)
    bound.apply_defaults()
    settings = plain(bound.arguments)
    del settings["show_progress"]
    if "precisions" in settings:
        settings["precisions"] = list(dict.fromkeys(["float32", *settings["precisions"]]))
    return settings
