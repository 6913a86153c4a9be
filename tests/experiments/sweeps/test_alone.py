"""Sweeps over a prior's guidance, variations, metamers and explanations, which are computed one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import berg_jax
from berg_jax.experiments.sweeps.alone import run_alone
from berg_jax.experiments.sweeps.chunks import make_chunks
from berg_jax.experiments.synthesis import objectives, priors, union

from ..reporting.standing import check_figure
from .made import invoke, parsed, regions, trial, written


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)
    Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_they_are_chunks_of_their_own(photo: Path) -> None:
    spec = parsed(f'grid = {{experiment = ["explain"], photo = ["{photo}"], method = ["occlusion", "smooth-grad"]}}')
    assert [len(chunk.trials) for chunk in make_chunks(spec.trials, 64, None)] == [1, 1]


@pytest.mark.nightly
def test_a_metamer_matches_the_responses_of_its_roi_alone(photo: Path) -> None:
    made = run_alone(regions(), trial(experiment="metamer", photo=str(photo), drive=["PPA"], steps=200))
    assert -2 < made.entry["history"][-1] < made.entry["value"] + 0.1  # both minus a share of the spread
    model = regions().model
    target, found = (
        np.asarray(model(one[None].astype(np.float32)))[0]
        for one in (np.asarray(Image.open(photo)).transpose(2, 0, 1), made.image)
    )
    error = np.sqrt(((found[2:] - target[2:]) ** 2).mean()) / target[2:].std()
    assert made.entry["value"] == pytest.approx(-error, rel=1e-3)
    assert error < 0.1 < np.abs(found[:2] - target[:2]).max() / target[2:].std()
    assert made.entry["measures"]["psnr"] < 20
    assert len(made.entry["history"]) == 200


def test_a_failure_says_why(photo: Path, tmp_path: Path) -> None:
    lacking = run_alone(regions(), trial(experiment="metamer", photo=str(photo), drive=["OPA"]))
    assert lacking.image is None
    assert lacking.entry["error"] == "OPA is not in this subject."
    gone = run_alone(regions(), trial(experiment="metamer", photo=str(tmp_path / "none.png")))
    assert "none.png" in gone.entry["error"]


@pytest.mark.nightly
def test_a_sweep_over_guidance_is_the_samples_one_by_one(demo: Path, tmp_path: Path) -> None:
    base = '[base]\nberg_dir = "demo"\nsubject = 1\ndrive = "FFA-1"\nprior = "diffusion"\nsteps = 12\n'
    path, out = written(tmp_path, f"{base}[grid]\nguidance = [-1, 0, 1]\nseed = [0, 3]\n"), tmp_path / "out"
    code, said = invoke(path, "--output", out)
    assert code == 0, said
    rows = pyarrow.parquet.read_table(out / "sweep.parquet").to_pylist()
    assert [row["error"] for row in rows] == [None] * 6
    values = np.array([row["value"] for row in rows]).reshape(3, 2)
    assert (np.diff(values, axis=0) > 0).all()
    subject = berg_jax.Subject("demo", 1)
    vertices, weights = union(subject, {"area": "FFA-1"})
    model, objective = subject.model(vertices), objectives.mean(weights["area"])
    options = {"model": model, "objective": objective, "scale": 1.0, "steps": 12, "seed": 3}
    one = priors.sample(priors.drawings_diffusion(), 1, **options)
    image = np.asarray(Image.open(out / rows[5]["image"])).transpose(2, 0, 1)
    assert np.abs(image - one.images[0]).max() < 1
    assert values[2, 1] == pytest.approx(one.values[0], abs=0.05)
    check_figure(out / "scores.png")
    check_figure(out / "contact_sheet.png")


@pytest.mark.nightly
def test_a_sweep_takes_every_experiment(demo: Path, photo: Path, tmp_path: Path) -> None:
    base = f'[base]\nberg_dir = "demo"\nsubject = 1\ndrive = "FFA-1"\nphoto = "{photo}"\n'
    axes = {
        "vary": "guidance = [-1, 1]\nradius = [8, 16]\nsteps = [8]\nstrength = [0.3]\n",
        "metamer": "seed = [0, 1]\nsteps = [4]\n",
        "explain": 'method = ["gradient-times-input", "occlusion"]\n',
    }
    tables = {}
    for name, grid in axes.items():
        out = tmp_path / name
        code, said = invoke(written(tmp_path, f'{base}experiment = "{name}"\n[grid]\n{grid}'), "--output", out)
        assert code == 0, said
        tables[name] = pyarrow.parquet.read_table(out / "sweep.parquet").to_pylist()
        assert all(row["error"] is None and (out / row["image"]).is_file() for row in tables[name])
        assert json.loads((out / "config.json").read_text())["settings"]["base"]["experiment"] == name
        assert (out / "report.html").stat().st_size > 10_000
    distances = [row["measure: pixel distance"] for row in tables["vary"]]
    np.testing.assert_allclose(distances, [8, 16, 8, 16], rtol=1e-3)
    down, up = np.array([row["value"] for row in tables["vary"]]).reshape(2, 2)
    assert (down < up).all()
    assert tables["metamer"][0]["value"] != tables["metamer"][1]["value"]
    assert tables["explain"][0]["measure: response"] == pytest.approx(tables["explain"][1]["measure: response"])
