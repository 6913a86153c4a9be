"""A run that is given no batch size takes the device's, records it, and keeps what its output was begun with."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import jax
import numpy as np
import pytest

from berg_jax.errors import Interrupted, ResourceError
from berg_jax.experiments.reporting.command import Command
from berg_jax.stream.execution import Execution, with_batch_size
from berg_jax.stream.store.output import Output
from berg_jax.stream.store.places import find_place

from .numbered import COLUMNS, EXPECTED, Source, responses, run


def described(path: Path) -> dict:
    return json.loads((path / "zarr.json").read_text())["attributes"]


def options(path: Path) -> dict:
    return {"output": path, "devices": jax.devices()[:1], "batch_size": None}


def test_the_number_that_was_chosen_is_recorded_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen, given = tmp_path / "chosen.zarr", tmp_path / "given.zarr"
    with caplog.at_level(logging.INFO):
        run(Source(), [COLUMNS], **options(chosen))
        run(Source(), [COLUMNS], **{**options(given), "batch_size": 8})
    assert caplog.text.count("images at a time") == 1
    assert "8 images at a time, the default for CPU (cpu)" in caplog.text
    assert described(chosen)["run"] == described(given)["run"]
    assert described(chosen)["block"] == described(given)["block"]
    np.testing.assert_array_equal(responses(chosen), responses(given))


def test_a_run_goes_on_with_the_number_that_it_was_begun_with(tmp_path: Path) -> None:
    """A run begun with ``--batch-size 4`` → the same command without it goes on, 4 at a time."""
    path = tmp_path / "o.zarr"
    with pytest.raises(Interrupted):
        run(Source(), [COLUMNS], **{**options(path), "batch_size": 4}, time_limit=0)
    run(Source(), [COLUMNS], **options(path))
    assert described(path)["run"]["batch_size"] == 4
    np.testing.assert_array_equal(responses(path), EXPECTED)
    with pytest.raises(ResourceError, match="batch_size is 4 there and 8 now"):
        run(Source(), [COLUMNS], **{**options(path), "batch_size": 8})


@pytest.mark.parametrize("wrong", [0, -4, 10**12, True, "4", 4.0, None])
def test_a_number_that_makes_no_sense_is_not_kept(tmp_path: Path, wrong: object) -> None:
    """An output whose recorded batch size is damaged → refused as another run's, in bounded memory."""
    path = tmp_path / "o.zarr"
    run(Source(), [COLUMNS], **{**options(path), "batch_size": 4})
    output = Output.existing(path)
    output.set_attributes(run={**output.attributes["run"], "batch_size": wrong})
    with pytest.raises(ResourceError, match=r"batch_size is .* there and 8 now"):
        run(Source(), [COLUMNS], **options(path))


def test_the_first_output_that_is_there_says_the_number(tmp_path: Path) -> None:
    for name, size in (("b", 4), ("c", 2)):
        run(Source(), [COLUMNS], **{**options(tmp_path / name), "batch_size": size})
    (tmp_path / "empty").mkdir()
    names = [tmp_path / name for name in ("not there", "empty", "b", "c")]
    assert with_batch_size(Execution(), *names).batch_size == 4
    assert with_batch_size(Execution(), *map(find_place, names[:2])).batch_size == 8
    assert with_batch_size(Execution(batch_size=3), *names).batch_size == 3


def test_a_report_s_command_gives_the_number_that_was_chosen() -> None:
    command = Command("rsa", {"path": "x", "batch_size": None}, {"batch_size": None})
    assert command.line == "berg-jax rsa x"
    chosen = command.computed_with(Execution(batch_size=64))
    assert chosen.line == "berg-jax rsa x --batch-size 64"
    assert chosen.settings == {"path": "x", "batch_size": 64}
