"""Photographs and baselines that change after a synthesis was made of them: noticed, and never mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.synthesis.parametrizations.inputs import check_inputs, input_contents


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
