"""What an experiment refuses, it refuses before work, in words, and leaves no folder that looks like a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import berg_jax
from berg_jax import Execution, Selection
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.experiments import compare_representations, localize, map_retinotopy, measure_accuracy, synthesize
from berg_jax.experiments.inputs.responses import run_facts
from berg_jax.experiments.inputs.stimuli import drawn, refusing
from berg_jax.experiments.reporting import results
from berg_jax.stream.sources.open import open_source
from berg_jax.stream.store.changes import run_differences
from berg_jax.stream.store.layout import Columns
from berg_jax.stream.store.output import Output

from ...conftest import Golden

QUIET = Execution(show_progress=False)


def refuse(out: Path, draws: bool) -> None:
    if draws:
        drawn(out, {"faces": 2}, 0)
    raise InvalidParameterError("Give k of at least 1.")


def test_a_refusal_leaves_only_what_was_there(tmp_path: Path) -> None:
    """Refused after drawings were made → the drawings and a new folder go; whatever was there before stays."""
    for name, before in (("new", None), ("old", "mine.txt"), ("begun", "images.npy")):
        out = tmp_path / name
        if before:
            out.mkdir()
            (out / before).write_text("kept")
        with pytest.raises(InvalidParameterError, match="k of at least 1"), refusing(out):
            refuse(out, draws=name != "begun")
        assert out.exists() == (before is not None)
        assert sorted(path.name for path in out.glob("*")) == ([before] if before else [])
    with refusing(tmp_path / "fine"):
        drawn(tmp_path / "fine", {"faces": 2}, 0)
    assert (tmp_path / "fine" / "images.npy").exists()


@pytest.mark.parametrize("experiment", [map_retinotopy, localize, compare_representations, measure_accuracy])
def test_a_missing_package_is_said_before_work(
    experiment: Any, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a report is drawn with is not installed → an error that names it, before a response is computed."""

    def missing(*_: str) -> None:
        raise ResourceError("needs nibabel")

    monkeypatch.setattr(results, "require", missing)
    subject: Any = berg_jax.Subject("demo", 1)
    several = experiment in (localize, compare_representations)
    options = {"images": "x", "betas": "y"} if experiment is measure_accuracy else {}
    with pytest.raises(ResourceError, match="needs nibabel"):
        experiment([subject] if several else subject, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_synthesis_of_no_images_leaves_no_folder(complement: Golden, tmp_path: Path) -> None:
    subject = berg_jax.Subject(complement.folder, 2)
    with pytest.raises(InvalidParameterError, match="n must be at least 1, got 0"):
        synthesize(subject, tmp_path / "out", drive=["EBA"], n=0)
    assert not (tmp_path / "out").exists()


def test_a_run_that_does_not_fit_says_what_differs(complement: Golden, tmp_path: Path) -> None:
    """Other ROI, precision or design in an experiment's folder → named with both values, without hashes."""
    np.save(tmp_path / "images.npy", np.zeros((4, 3, 32, 32), np.uint8))
    source = open_source(tmp_path / "images.npy", "error")
    subject = berg_jax.Subject(complement.folder, 2)

    def run(roi: str, precision: str = "float32", **more: Any) -> tuple[dict, Any, dict]:
        vertices = subject.vertices(roi)
        facts = run_facts(subject, vertices, precision, selection=Selection(roi).as_json(), **more)
        reducers = {"glm": str(more)}
        identity = subject.identity(vertices, precision)
        return {"identity": identity, "images": source.fingerprint, "reducers": reducers}, vertices, facts

    description, vertices, facts = run("EBA", contrasts=["faces"])
    Output.create(tmp_path / "out", source.ids, description, 4, Columns(vertices, {}), facts)
    for other, said in (
        (run("FBA-2", contrasts=["faces"]), "the ROI is 'EBA' there and 'FBA-2' now"),
        (run("EBA", "bfloat16", contrasts=["faces"]), "precision is 'float32' there and 'bfloat16' now"),
        (run("EBA", contrasts=["places"]), r"contrasts is \['faces'\] there and \['places'\] now"),
    ):
        with pytest.raises(ResourceError, match=said) as refused:
            Output.reopen(tmp_path / "out", other[0], {}, source.ids, None, None, other[2])
        assert "identity" not in str(refused.value)
        assert "reducers" not in str(refused.value)
    Output.reopen(tmp_path / "out", description, {}, source.ids, None, None, {**facts, "selection": "in other words"})
    earlier = run_differences(description, run("FBA-2", contrasts=["faces"])[0], {}, facts)
    assert len(earlier) == 1  # of a version that left no words
    assert "(a hash of the subject's files, the vertices and the precision)" in earlier[0]
