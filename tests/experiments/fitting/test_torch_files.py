"""PyTorch files of a fitted person: the reference model reads them, and answers as the fitted subject does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import berg_jax
from berg_jax import Execution, Selection, Subject
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.experiments.fitting import fit
from berg_jax.model.checkpoint import read_part
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.vertices import Vertices

pytestmark = pytest.mark.torch
EXECUTION = Execution(batch_size=8, devices=1, show_progress=False)


@pytest.mark.parametrize(
    ("subject_id", "heads", "size", "stages"),
    [
        (2, 3, 80, ["readout"]),
        (1, None, 96, ["readout"]),
        pytest.param(2, 3, 80, ["selectors", "full"], marks=pytest.mark.nightly),
        pytest.param(1, None, 96, ["full"], marks=pytest.mark.nightly),
    ],
)
def test_the_reference_reads_them(
    subject_id: int, heads: int | None, size: int, stages: list[str], berg_dir: Path, tmp_path: Path
) -> None:
    from berg_jax.convert.torch_reference import load_reference, run

    heads = heads or int(np.load(Path(__file__).parents[2] / "data" / "subj01_expected.npz")["num_heads"])
    random = np.random.default_rng(0)
    donor = Subject(berg_dir, subject_id, num_heads=heads)
    pixels = random.integers(0, 256, (60, 3, 28, 28), np.uint8)
    np.save(tmp_path / "shown.npy", pixels)
    np.save(tmp_path / "betas.npy", random.normal(size=(60, 2 * size)).astype(np.float32))
    (tmp_path / "trials.csv").write_text("image,session\n" + "".join(f"{image},1\n" for image in range(60)))
    part1 = np.load(donor.folder / "part1_vertices.npy")
    chosen = np.unique([*part1[:4], *np.setdiff1d(np.arange(2 * size), part1)[:4]])
    vertices = Vertices.from_global(chosen, size)
    given = {"subject_id": 9, "table": tmp_path / "trials.csv", "execution": EXECUTION, "validation": 0.1}
    given |= {"selection": Selection(vertices), "epochs": 20}
    for stage in stages:
        given |= {"stage": stage, "selectors": "free" if stage == "readout" else "coordinates"}
        exported = {"export_pth": tmp_path / "pth"} if stage == stages[-1] else {}
        fit(donor, tmp_path / "out", tmp_path / "shown.npy", tmp_path / "betas.npy", **given, **exported)
        _require_moved(donor, Subject(tmp_path / "out", 9), stage)

    expected = np.asarray(berg_jax.load(tmp_path / "out", 9)(pixels[:3]))
    responses, _, _ = run(load_reference(tmp_path / "pth", 9, num_heads=heads), pixels[:3])
    np.testing.assert_allclose(responses[:, chosen], expected, atol=1e-4)
    assert not np.delete(responses, chosen, axis=1).any()

    again = Subject(tmp_path / "pth", 9, num_heads=heads)
    np.testing.assert_allclose(np.asarray(again.model(vertices)(pixels[:3])), expected, atol=1e-4)
    assert again.metadata.raw["fit"]["donor"] == subject_id
    assert SubjectFiles(tmp_path / "pth", 9).part1.is_file()
    with pytest.raises(ResourceError, match="exists"):
        fit(donor, tmp_path / "other", tmp_path / "shown.npy", tmp_path / "betas.npy", **given, **exported)


def _require_moved(donor: Subject, fitted: Subject, stage: str) -> None:
    """Each stage must have changed what it trains, and nothing else, so that its files are a test of that."""
    before, after = (read_part(subject.folder, "part1") for subject in (donor, fitted))
    old, new = before.weights(), after.weights()
    rows = [int(np.flatnonzero(before.vertices == vertex)[0]) for vertex in after.vertices]
    centers = np.asarray(old["readout"]["rf_center"])[rows]
    assert np.array_equal(new["readout"]["rf_center"], centers) == (stage == "readout")
    for name in ("vit", "heads"):
        same = all(map(np.array_equal, jax.tree.leaves(old[name]), jax.tree.leaves(new[name])))
        assert same == (stage != "full")


def test_what_cannot_be_exported_is_refused_before_work(berg_dir: Path, tmp_path: Path) -> None:
    donor = Subject(berg_dir, 2, num_heads=3)

    def refused(words: str, **options: Any) -> None:
        with pytest.raises(InvalidParameterError, match=words):
            fit(donor, tmp_path / "out", tmp_path, tmp_path, subject_id=9, **options)
        assert not (tmp_path / "out").exists()

    refused("add --selectors coordinates", stage="full", export_pth=tmp_path / "pth")
    refused("must be one of", stage="full", selectors="smooth")
    refused("for the stages that train", selectors="coordinates")
