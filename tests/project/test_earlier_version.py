"""What version 0.1.0 has left on disk is opened, gone on with and finished: see data/version_0_1_0/make.py.

What was stopped must end with the bits that it wrote when nothing stopped it, on a machine that rounds as the one did
that made the samples; on others within rounding.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import json
import shlex
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pyarrow.parquet
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app

from ..conftest import DATA, Golden, changed

SAMPLES = DATA / "version_0_1_0"
COMMANDS = json.loads((SAMPLES / "commands.json").read_text())
ROUNDING = 1e-5


def _maker() -> ModuleType:
    """The script that made the samples, for the commands that it gave."""
    spec = importlib.util.spec_from_file_location("make", SAMPLES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = _maker()


def _rounds_alike() -> bool:
    made = json.loads((SAMPLES / "made.json").read_text())
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "optax", "scipy")}
    return MAKE.machine() == made["machine"] and versions.items() <= made["versions"].items()


SAME_BITS = _rounds_alike()
# Control names a run by its first numbers; rsa's smallest region has two vertices, whose r is ±1 by rounding.
needs_same_bits = pytest.mark.skipif(not SAME_BITS, reason="it hangs on the rounding of another machine")


def assert_same(found: Any, recorded: Any, what: str = "", merged: bool = False) -> None:
    """To the bit, where programs round as they did; of states that were merged in another order, nearly so."""
    found, recorded = np.asarray(found), np.asarray(recorded)
    assert (found.shape, found.dtype) == (recorded.shape, recorded.dtype), what
    if found.dtype.kind != "f" or (SAME_BITS and not merged):
        np.testing.assert_array_equal(found, recorded, err_msg=what)
    elif SAME_BITS:
        np.testing.assert_allclose(found, recorded, rtol=1e-6, atol=1e-7, err_msg=what)
    else:
        np.testing.assert_allclose(found, recorded, rtol=1e-3, atol=ROUNDING, err_msg=what)


def assert_same_json(found: Any, recorded: Any, what: str = "", merged: bool = False) -> None:
    if isinstance(recorded, dict):
        assert found.keys() >= recorded.keys(), what  # later versions know more
        for name, value in recorded.items():
            if name not in ("date", "versions", "devices", "cores"):
                assert_same_json(found[name], value, f"{what} {name}", merged)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded), what
        for one, other in zip(found, recorded, strict=True):
            assert_same_json(one, other, what, merged)
    elif isinstance(recorded, float):
        assert_same(found, recorded, what, merged)
    else:
        assert found == recorded, what


def assert_same_npz(found: Path, recorded: Path, merged: bool = False) -> None:
    with np.load(found) as ours, np.load(recorded) as theirs:
        assert set(ours) >= set(theirs)
        for name, values in theirs.items():
            assert_same(ours[name], values, f"{found} {name}", merged)


def assert_same_table(found: Path, recorded: Path) -> None:
    """To the letter in the columns that there were; later versions have more."""
    ours, theirs = (list(csv.DictReader(path.read_text().splitlines())) for path in (found, recorded))
    assert [{name: row[name] for name in theirs[0]} for row in ours] == theirs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The samples, unpacked in a folder of one's own, from which their relative paths are right."""
    for path in sorted(SAMPLES.glob("*.tar.xz")):
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text: str) -> str:
    result = CliRunner().invoke(app, shlex.split(text))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_converted_subject_is_the_same_model(complement: Golden) -> None:
    assert "EBA                    3       5    0.385       0.377" in run("info --berg-dir subject --subject 2")
    there, here = (berg_jax.Subject(place, 2) for place in ("subject", complement.folder))
    assert there.description.options == here.description.options
    vertices = here.vertices("EBA + FBA-2", min_ncsnr=0.2)
    assert there.vertices("EBA + FBA-2", min_ncsnr=0.2).global_indices.tolist() == vertices.global_indices.tolist()
    assert there.identity(vertices) == here.identity(vertices)
    images = complement.expected["images_224"]
    responses = np.asarray(berg_jax.load("subject", 2)(images))
    np.testing.assert_array_equal(responses, complement.model(images))
    np.testing.assert_allclose(responses, complement.expected["responses_224"], atol=1e-4)


def test_responses_are_read_as_they_were_written() -> None:
    """As the chunks' plain bytes have them, by the names of images, hemispheres and ROIs."""
    assert "6 of 6 images done, in blocks of 2: complete" in run("status finished.zarr")
    responses = berg_jax.open_responses("finished.zarr")
    chunks = [Path("finished.zarr", "responses", "c", str(block), "0").read_bytes() for block in range(3)]
    expected = np.frombuffer(b"".join(chunks), "<f4").reshape(6, 160)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(responses.data.values, expected)
    names = [path.relative_to("images").as_posix() for path in sorted(Path("images").rglob("*.png"))]
    assert responses.data.image.values.tolist() == names
    region = berg_jax.Subject("subject", 2).vertices("EBA")
    chosen = responses.sel(roi="EBA", hemisphere="rh", image="places/3.png")
    np.testing.assert_array_equal(chosen.values[0], expected[3, 80 + region.rh])
    assert responses.attributes["versions"]["berg_jax"] == "0.1.0"
    assert responses.attributes["identity"] == berg_jax.Subject("subject", 2).identity()
    encode = f"encode images {MAKE.SUBJECT} --batch-size 2 --output finished.zarr"
    assert "complete already" in run(encode)  # its fingerprint is upgraded
    before = changed(Path("finished.zarr"))
    assert "complete already, nothing was computed" in run(encode)
    assert changed(Path("finished.zarr")) == before
    np.testing.assert_array_equal(berg_jax.open_responses("finished.zarr").data.values, expected)


@pytest.mark.parametrize(
    ("command", "done", "kind"),
    [
        pytest.param("images", "2 of 6 images", "", marks=pytest.mark.nightly),
        ("rows.npy --roi EBA", "1 of 128 images", "rows-"),
    ],
    ids=["between blocks", "in a block"],
)
def test_a_stopped_encoding_goes_on(command: str, done: str, kind: str) -> None:
    stopped = Path(f"{kind}stopped.zarr")
    assert f"{done} done, in blocks of 2: under way or interrupted" in run(f"status {stopped}")
    ledger = stopped / "ledger" / "000000000.json"
    count = json.loads(ledger.read_text())["done"]
    kept = berg_jax.open_responses(stopped).data.values[:count]
    recorded = berg_jax.open_responses(f"{kind}finished.zarr").data.values
    np.testing.assert_array_equal(kept, recorded[:count])
    before = ledger.read_bytes()
    run(f"encode {command} {MAKE.SUBJECT} --batch-size {1 if kind else 2} --output {stopped}")
    responses = berg_jax.open_responses(stopped)
    assert responses.attributes["complete"] is True
    np.testing.assert_array_equal(responses.data.values[:count], kept)
    assert_same(responses.data.values, recorded)
    assert (ledger.read_bytes() == before) == (not kind)  # a block that was whole is not computed again


def test_reducers_that_nobody_merged_are_merged() -> None:
    assert "128 of 128 images done, in blocks of 16: to be finished (berg-jax merge)" in run("status unmerged.zarr")
    assert "unmerged.zarr is complete now: 128 images" in run("merge unmerged.zarr")
    results = sorted(path.name for path in Path("reduced.zarr/reducers").glob("*.npz") if ".state" not in path.name)
    assert len(results) == 8
    for name in results:
        assert_same_npz(Path("unmerged.zarr/reducers", name), Path("reduced.zarr/reducers", name))
    assert "complete" in run("status reduced.zarr")


@pytest.mark.nightly
def test_this_version_passes_by_its_certificate(complement: Golden) -> None:
    """Of a conversion by this version as of the one that was left."""
    for place in (complement.folder, "subject"):
        certificate = SAMPLES / "certificate.json"
        said = run(
            f"verify --berg-dir {place} --subject 2 --against {certificate} --output here-{place == 'subject'}"
        )
        assert "equals the PyTorch reference" in said


@pytest.mark.nightly
def test_a_stopped_sweep_goes_on_without_computing_again() -> None:
    assert "2 of 4 trials done, 0 failed, 2 left" in run("sweep sweep.toml --output sweep-stopped --status")
    before = changed(Path("sweep-stopped"))
    times = {path: path.stat().st_mtime_ns for path in Path("sweep-stopped").glob("*/*")}
    assert "4 of 4 trials done, 0 failed, 0 left" in run("sweep sweep.toml --output sweep-stopped")
    after = changed(Path("sweep-stopped"))
    assert before.items() <= after.items()
    assert times.items() <= {path: path.stat().st_mtime_ns for path in Path("sweep-stopped").glob("*/*")}.items()
    assert sorted(path.name for path in Path("sweep-stopped/records").iterdir()) == sorted(
        path.name for path in Path("sweep/records").iterdir()
    )
    ours, theirs = (
        pyarrow.parquet.read_table(f"{name}/sweep.parquet").to_pylist() for name in ("sweep-stopped", "sweep")
    )
    for one, other in zip(ours, theirs, strict=True):
        pixels = [np.asarray(Image.open(Path(name, other["image"]))) for name in ("sweep-stopped", "sweep")]
        if SAME_BITS:
            np.testing.assert_array_equal(*pixels)
        else:
            assert np.abs(np.subtract(*pixels, dtype=int)).max() <= 1  # what lies at a half goes either way
            other["sha256"] = one["sha256"]
        moments = {name: one[name] for name in ("time", "versions")}
        assert_same_json(one, other | moments)


def test_a_finished_sweep_is_shown_again() -> None:
    table = pyarrow.parquet.read_table("sweep/sweep.parquet")
    before = changed(Path("sweep/records")) | changed(Path("sweep/images"))
    assert "4 of 4 trials done" in run(COMMANDS["sweep"].removeprefix("berg-jax "))
    assert changed(Path("sweep/records")) | changed(Path("sweep/images")) == before
    again = pyarrow.parquet.read_table("sweep/sweep.parquet")
    assert again.select(table.column_names).equals(table)  # later versions have more settings
    assert again.schema.metadata == table.schema.metadata
    assert json.loads(Path("sweep/config.json").read_text())["command"] == COMMANDS["sweep"]
    assert Path("sweep/report.html").exists()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[needs_same_bits] * (name in ("control", "rsa")) + [pytest.mark.nightly] * (name != "rsa")
        )
        for name in MAKE.EXPERIMENTS
    ],
)
def test_a_stopped_experiment_goes_on(name: str) -> None:
    """To the maps and numbers of the one that was not stopped; and it is repeated by the same command."""
    stopped, finished, merged = Path("stopped", name), Path("finished", name), name in ("retinotopy", "localize")
    ledgers = {path: path.read_bytes() for path in stopped.rglob("ledger/*.json")}
    assert ledgers
    run(f"{name} {MAKE.EXPERIMENTS[name]} --output {stopped}")
    assert ledgers == {path: path.read_bytes() for path in ledgers}
    for recorded in (path for path in finished.rglob("*") if path.is_file()):
        found = stopped / recorded.relative_to(finished)
        if recorded.suffix == ".npz":
            assert_same_npz(found, recorded, merged)
        elif recorded.suffix == ".json":
            ours, theirs = (json.loads(path.read_text()) for path in (found, recorded))
            for config in (ours, theirs):
                if "command" in config:  # the same options, whatever their order; settings were named otherwise
                    output = config.pop("settings")["output"]
                    config["command"] = sorted(shlex.split(config["command"].replace(output, "")))
            assert_same_json(ours, theirs, str(found), merged)
        elif SAME_BITS:
            assert_same_table(found, recorded)
    assert (stopped / "report.html").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_were_recorded_exist_with_their_options(name: str) -> None:
    program, command, *arguments = shlex.split(COMMANDS[name])
    group = typer.main.get_command(app)
    chosen = group.get_command(click.Context(group), command)
    assert (program, chosen is not None) == ("berg-jax", True)
    chosen.make_context(command, arguments)  # raises where an option is unknown, missing or of the wrong type
    path = Path(name if name == "sweep" else f"finished/{name}", "config.json")
    assert json.loads(path.read_text())["command"] == COMMANDS[name]


@pytest.mark.nightly
@needs_same_bits
def test_a_synthesis_goes_on_from_its_checkpoint() -> None:
    from berg_jax.experiments.synthesis.objectives import mean
    from berg_jax.experiments.synthesis.optimize import optimize
    from berg_jax.experiments.synthesis.parametrizations.fourier import fourier

    path = Path("synthesis/checkpoint.npz")
    with np.load(path) as saved:
        values = saved["leaf.10"]
    assert values.shape == (16, 2)
    result = optimize(MAKE.waves, mean(MAKE.WEIGHTS), fourier(16), checkpoint=path, **MAKE.SYNTHESIS)
    np.testing.assert_array_equal(result.history[:16], values)
    with np.load("synthesis/result.npz") as recorded:
        for name, array in recorded.items():
            np.testing.assert_array_equal(getattr(result, name), array)
