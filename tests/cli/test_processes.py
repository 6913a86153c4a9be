"""Commands as schedulers start them: alone unless told to share, complete or said not to be, stopped with 75."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app

from ..conftest import Golden
from ..kills import HELD, Program
from ..stream.test_schedulers import LISTED, array, batch, mpich, openmpi, srun

COMMAND = [sys.executable, "-c", "from berg_jax.cli.start import main; main()"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8))
    return path


@flax.struct.dataclass
class Tiny:
    """A model that compiles at once: every vertex's response is the image's mean."""

    count: int = flax.struct.field(pytree_node=False)

    @property
    def vertices(self) -> range:
        return range(self.count)

    def __call__(self, images: jax.Array) -> jax.Array:
        return jnp.repeat(images.mean((1, 2, 3))[:, None], self.count, axis=1)

    def crop(self) -> Tiny:
        return self


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a scheduler's variables, to which a test adds its own; and a tiny model."""
    monkeypatch.setattr(berg_jax.Subject, "model", lambda _, vertices, **__: Tiny(len(vertices)))
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "PMI", "JOB_COMPLETION_")):
            monkeypatch.delenv(name)
    return monkeypatch


def options(images: Path, subject: Golden, output: Path) -> list[str]:
    given = ["--berg-dir", subject.folder, "--subject", subject.subject, "--roi", "V3v", "--batch-size", 1]
    return [str(word) for word in ("encode", images, *given, "--output", output)]


def encode(
    scheduled: pytest.MonkeyPatch, environment: dict[str, str], arguments: list[str], *more: object
) -> tuple[int, str, str]:
    """Exit code, output and errors of a command with a scheduler's variables."""
    with scheduled.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        result = CliRunner().invoke(app, [*arguments, *map(str, more)])
    return result.exit_code, result.stdout, result.stderr


def test_an_array_with_an_output_for_each_task_does_each_whole(
    scheduled: pytest.MonkeyPatch,
    images: Path,
    complement: Golden,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`--array=0-3` with one output a task → each task encodes all images, and one line says how to share."""
    for task in LISTED:
        output = tmp_path / f"{task}.zarr"
        caplog.clear()
        code, said, _ = encode(scheduled, {**array(task, LISTED, 1), **batch(1)}, options(images, complement, output))
        assert (code, "8 images" in said) == (0, True)
        assert berg_jax.open_responses(output).attributes["complete"] is True
        (line,) = [record.getMessage() for record in caplog.records if "--share" in record.getMessage()]
        assert f"a Slurm array started process {task} of 4 here" in line


def test_tasks_without_srun_do_not_leave_rows_empty(
    scheduled: pytest.MonkeyPatch, images: Path, complement: Golden, tmp_path: Path
) -> None:
    """`--ntasks=4` without `srun` → all images are encoded; with `--share` it is refused before work starts."""
    arguments = options(images, complement, tmp_path / "out.zarr")
    code, _, said = encode(scheduled, batch(4), arguments, "--share")
    assert (code, "write 'srun berg-jax … --share'" in said) == (2, True)
    assert not (tmp_path / "out.zarr").exists()
    assert encode(scheduled, batch(4), arguments)[0] == 0
    assert not np.isnan(berg_jax.open_responses(tmp_path / "out.zarr").data.values).any()


def test_a_process_that_others_keep_waiting_says_who_and_has_a_code_of_its_own(
    scheduled: pytest.MonkeyPatch, images: Path, complement: Golden, tmp_path: Path
) -> None:
    """Tasks end before others have → each exits with 76 and names the others; the last completes the output."""
    arguments, waiting = options(images, complement, tmp_path / "out.zarr"), []
    for task in (0, 3, 2):
        code, said, error = encode(scheduled, array(task, LISTED, 1), arguments, "--share")
        assert (code, said) == (76, "")
        waiting.append(error[error.index("waiting") : error.index(" images")])
    assert waiting == [
        "waiting for processes 1, 2, 3 of 4, counted from 0: 6",
        "waiting for processes 1, 2 of 4, counted from 0: 4",
        "waiting for process 1 of 4, counted from 0: 2",
    ]
    code, _, error = encode(scheduled, {}, arguments, "--process-index", 0, "--process-count", 4)
    assert (code, "waiting for process 1 of 4" in error) == (76, True)
    code, said, _ = encode(scheduled, array(1, LISTED, 1), arguments, "--share")
    assert (code, "8 images" in said) == (0, True)
    assert not np.isnan(berg_jax.open_responses(tmp_path / "out.zarr").data.values).any()


def test_a_done_share_does_not_stop_the_others_under_mpirun(
    scheduled: pytest.MonkeyPatch, images: Path, complement: Golden, tmp_path: Path
) -> None:
    """mpirun ends all ranks when one exits with an error → a rank whose share is done exits with 0."""
    for name, environment in (("openmpi", openmpi), ("mpich", mpich), ("srun", srun)):
        arguments = options(images, complement, tmp_path / f"{name}.zarr")
        code, _, error = encode(scheduled, environment(1, 2), arguments, "--share")
        assert (code, "waiting for process 0 of 2" in error) == (0, True)
        assert encode(scheduled, environment(0, 2), arguments, "--share")[0] == 0
        assert berg_jax.open_responses(tmp_path / f"{name}.zarr").attributes["complete"] is True


@pytest.mark.parametrize("command", ["retinotopy", "localize", "accuracy", "rsa", "control", "sweep"])
def test_every_command_that_shares_can_be_told_to(command: str) -> None:
    assert "--share" in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output


@pytest.mark.nightly
def test_an_array_of_real_processes(images: Path, complement: Golden, tmp_path: Path) -> None:
    """Four processes at once, as an array starts them: alone each output is whole, and shared the one is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    for share, outputs in ((["--share"], ["shared"] * 4), ([], LISTED)):
        started = []
        for task, output in zip(LISTED, outputs, strict=True):
            command = [*COMMAND, *options(images, complement, tmp_path / f"{output}.zarr"), *share]
            started.append(subprocess.Popen(command, env={**environment, **array(task, LISTED, 1)}))
        codes = [process.wait(300) for process in started]
        assert set(codes) <= ({0, 76} if share else {0})
        assert 0 in codes
    whole = berg_jax.open_responses(tmp_path / "shared.zarr").data.values
    for task in LISTED:
        np.testing.assert_array_equal(berg_jax.open_responses(tmp_path / f"{task}.zarr").data.values, whole)


HELD_AT = {
    "imports": "import signal, sys\nfrom tests.kills import hold\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in tests in the background\n"
    "class Finder:\n"
    "    def find_spec(self, name, *_):\n"
    "        if name == 'berg_jax.cli.app': hold()\n"
    "sys.meta_path.insert(0, Finder())\n",
    "the subject": "from tests.kills import at_call, hold\nfrom berg_jax.cli import command\n"
    "at_call(command, '_execution', 1, hold)\n",
}


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("imports", signal.SIGTERM),
        ("imports", signal.SIGINT),
        pytest.param("the subject", signal.SIGTERM, marks=pytest.mark.nightly),
    ],
)
def test_a_stop_during_the_start_ends_with_75(
    moment: str, number: signal.Signals, images: Path, complement: Golden, tmp_path: Path
) -> None:
    """SIGTERM while the program imports or reads a subject → 75, as later, and not 143."""
    program = HELD_AT[moment] + "from berg_jax.cli.start import main\nmain()\n"
    with Program("-c", program, *options(images, complement, tmp_path / "out.zarr")) as process:
        process.until(HELD)
        process.send(number)
        assert process.end() == 75, process.said
        assert "Run the same command again to go on." in process.said
        assert "Traceback" not in process.said
    assert not (tmp_path / "out.zarr").exists()


def in_categories(images: Path, folder: Path) -> Path:
    for index, pixels in enumerate(np.load(images)):
        path = folder / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return folder


@pytest.mark.parametrize(
    "command", [pytest.param("retinotopy", marks=pytest.mark.nightly), "localize", "rsa", "control"]
)
def test_an_experiment_that_others_keep_waiting_says_so(
    command: str, scheduled: pytest.MonkeyPatch, images: Path, complement: Golden, tmp_path: Path
) -> None:
    """One of two processes of an experiment ends first → 76, and no result is written from half the responses."""
    stimuli, output = in_categories(images, tmp_path / "stimuli"), tmp_path / "out"
    rois = ["--roi", "V3v", "--roi", "PPA"] if command in ("rsa", "control") else ["--roi", "V3v"]
    where = ["--berg-dir", str(complement.folder), "--subject", "2", "--batch-size", "1"]
    where += ["--grid", "3"] if command == "retinotopy" else []
    arguments = [command, str(stimuli), *where, *rois, "--output", str(output)]
    code, said, error = encode(scheduled, array(0, LISTED, 1), arguments, "--share")
    assert (code, said) == (76, ""), error
    assert "waiting for processes 1, 2, 3 of 4" in error
    assert not list(output.rglob("results.json"))
