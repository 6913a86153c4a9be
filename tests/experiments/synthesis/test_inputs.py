"""Photographs and baselines that change after a synthesis was made of them: noticed, and never mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.synthesis.parametrizations.inputs import check_inputs, input_contents

from ..sweeps.conftest import tiny  # noqa: F401
from ..sweeps.made import parsed, work


def photograph(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_changed_photographs_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A photograph that a synthesis started from is another one now → refused, naming it."""
    paths = {"start": photograph(tmp_path / "start.bmp", 0), "photographs": tmp_path / "many", "baseline": None}
    photograph(tmp_path / "many" / "1.bmp", 1)
    recorded = input_contents(paths)
    assert set(recorded) == {"start", "photographs"}
    check_inputs(recorded, paths, "out")
    photograph(tmp_path / "start.bmp", 2)
    with pytest.raises(InvalidParameterError, match=r"other contents of start \(.*start\.bmp\), which have changed"):
        check_inputs(recorded, paths, "out")
    photograph(tmp_path / "start.bmp", 0)
    photograph(tmp_path / "many" / "2.bmp", 1)
    with pytest.raises(InvalidParameterError, match=r"other contents of photographs"):
        check_inputs(recorded, paths, "out")
    check_inputs(recorded, {"start": tmp_path / "gone.bmp"}, "out")
    assert not caplog.text
    check_inputs(None, paths, "out")
    assert "does not record the contents" in caplog.text


def test_a_sweep_notices_other_photographs(tiny: None, tmp_path: Path) -> None:
    """A sweep goes on after the photograph that it starts from was replaced → refused, not mixed."""
    from berg_jax.experiments.sweeps import records

    start = photograph(tmp_path / "start.bmp", 0)
    base = f'base = {{berg_dir = "demo", subject = 1, drive = "FFA-1", steps = 2, start = "{start}", images = "pixels"}}\n'
    records.begin(tmp_path / "out", parsed("grid = {seed = [0]}\n", base))
    assert "1 of 1 trials done" in work(tmp_path / "out")
    records.begin(tmp_path / "out", parsed("grid = {seed = [0, 1]}\n", base))
    photograph(start, 1)
    with pytest.raises(InvalidParameterError, match=r"other contents of start"):
        work(tmp_path / "out")
    photograph(start, 0)
    assert "2 of 2 trials done" in work(tmp_path / "out")
