"""Every command in an environment full of other programs' settings: the same answers and pictures as without them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from berg_jax.cli.app import app

MATPLOTLIBRC = """text.usetex: True
savefig.bbox: tight
savefig.dpi: 300
figure.facecolor: black
axes.facecolor: black
savefig.facecolor: black
text.color: white
font.size: 30
lines.linewidth: 9
"""
JAX = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_DEBUG_NANS": "1",
}
# Of a task of a job array, started in a notebook's terminal on a cluster.
SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_ARRAY_JOB_ID": "17",
    "SLURM_ARRAY_TASK_ID": "1",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_MAX": "4",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
}
WORDS = {
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii:strict",
}


def inherited(folder: Path, backend: str, **more: str) -> dict[str, str]:
    """An environment with all of these at once, and without a home folder."""
    (folder / "matplotlibrc").write_text(MATPLOTLIBRC)
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    return environment | WORDS | {"MATPLOTLIBRC": str(folder / "matplotlibrc"), "MPLBACKEND": backend} | more


def run(environment: dict[str, str], folder: Path, *arguments: object, code: int = 0) -> str:
    command = [sys.executable, "-c", "from berg_jax.cli.app import main; main()", *map(str, arguments)]
    options = {"cwd": folder, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result = subprocess.run(command, **options, check=False)
    said = result.stdout.decode("utf-8", "replace")
    assert result.returncode == code, said
    assert "Traceback" not in said, said
    return said


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for kind in ("one", "two"):
        (folder / kind).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number + len(kind)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"é{number}.png")
    (folder / "notes.txt").touch()
    return folder


@pytest.mark.nightly
def test_cheap_commands(tmp_path: Path) -> None:
    """A shell with a notebook's MPLBACKEND, SLURM_*, JAX_*, LANG=C, ASCII output and no HOME → commands answer."""
    environment = inherited(tmp_path, "module://matplotlib_inline.backend_inline", **JAX, **SLURM)
    assert "retinotopy" in run(environment, tmp_path, "--help")
    assert "devices cpu" in run(environment, tmp_path, "env")
    run(environment, tmp_path, "info", "--berg-dir", "nowhere", "--subject", 1, code=2)


def test_words_that_a_terminal_lacks_do_not_stop_a_finished_run() -> None:
    """A finished run whose summary has letters that the terminal lacks → the letters are escaped."""
    code = (
        "import typer; from berg_jax.cli import app as cli\n"
        "cli.app = lambda arguments: typer.echo('3 × 4, r² – caf\\u00e9 \\u2192 \\udcff')\n"
        "cli.main()"
    )
    for encoding in ("latin-1", "ascii:strict"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True).stdout
        assert said.startswith(b"3 ")
        assert said.rstrip().endswith((rb"\udcff", b"?"))  # click replaces letters if Python's output is ASCII


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose user has no home folder → `BERG_JAX_CACHE` is named where it is needed."""
    for name in ("HOME", "BERG_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for arguments, code in ((["env"], 0), (["info", "--berg-dir", "demo", "--subject", "1"], 2)):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, "Set BERG_JAX_CACHE to a folder" in result.output) == (code, True)


COMMANDS: dict[str, list[str]] = {
    "encode": ["{photos}", "--roi", "FFA-1"],
    "retinotopy": ["{photos}", "--roi", "V1", "--grid", "3"],
    "localize": ["{photos}", "--roi", "nsdgeneral"],
    "rsa": ["{photos}", "--roi", "V1", "--roi", "FFA-1"],
    "control": ["{photos}", "--roi", "FFA-1", "--roi", "PPA", "--k", "2", "--margin", "0"],
    "synthesize": ["--drive", "FFA-1", "--n", "2", "--steps", "2", "--baseline", "{photos}"],
    "explain": ["{photos}", "--roi", "FFA-1", "--method", "gradient-times-input"],
    "vary": ["{photos}/one/é0.png", "--roi", "FFA-1", "--scale", "1", "--steps", "2"],
    "metamer": ["{photos}/one/é0.png", "--roi", "FFA-1", "--n", "1", "--steps", "2"],
    "compete": ["{photos}/one/é0.png", "--roi", "FFA-1", "--against", "PPA", "--steps", "2"],
    "demo": [],
}


@pytest.mark.nightly
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("backend", ["module://nowhere.backend", "nonsense"])
def test_experiments_make_the_same_pictures(
    command: str, backend: str, photos: Path, demo: Path, tmp_path: Path
) -> None:
    """A matplotlibrc with TeX and a dark style, a missing backend, SLURM_*, JAX_*, LANG=C → the same pictures."""
    arguments = [word.format(photos=photos) for word in COMMANDS[command]]
    subject = ["--subject", 1] if command == "demo" else ["--berg-dir", "demo", "--subject", 1]
    pictures = []
    for name, environment in (
        ("clean", dict(os.environ)),
        ("inherited", inherited(tmp_path, backend, **JAX, **SLURM)),
    ):
        output = tmp_path / name / "out"
        output.parent.mkdir()
        said = run(environment, output.parent, command, *arguments, *subject, "--output", output)
        if "{photos}" in COMMANDS[command]:
            assert "7 found = 6 usable + 0 skipped + 1 passed over (1 no picture (.txt))" in said
        found = {path.relative_to(output): path for path in sorted(output.rglob("*.png"))}
        pictures.append({str(name): np.asarray(Image.open(path)) for name, path in found.items()})
    assert (len(pictures[0]) > 0) == (command != "encode")
    assert pictures[0].keys() == pictures[1].keys()
    for name, picture in pictures[0].items():
        np.testing.assert_array_equal(picture, pictures[1][name], name)


def test_every_command_is_known_here() -> None:
    """A new command must be tried, too, or be named here as one that draws and counts nothing."""
    names = {
        (command.name or command.callback.__name__).replace("_", "-")
        for group in app.registered_groups
        for command in _of(group)
    }
    others = {
        "accuracy",
        "bench",
        "bench-precision",
        "bench-store",
        "bench-stream",
        "compare",
        "compile-for",
        "convert",
        "describe",
        "env",
        "export-rois",
        "fit",
        "fuse",
        "show",
    }
    others |= {"fetch", "info", "make-synthetic-subject", "merge", "photographs", "status", "sweep", "tune", "verify"}
    assert names - {"synthesize-subject"} == set(COMMANDS) | others


def _of(group: object) -> list:
    return group.typer_instance.registered_commands


@pytest.mark.nightly
def test_figures_are_drawn_under_default_settings(tmp_path: Path) -> None:
    """A dark style, TeX or another size in the user's matplotlibrc → figures as without them, to the byte."""
    import matplotlib

    from berg_jax import surface
    from berg_jax.experiments.certificate.figures import draw_histogram, draw_regions, draw_scatter
    from berg_jax.experiments.control.pictures import Chosen, draw_quadrants, draw_sets
    from berg_jax.experiments.reporting.pictures import draw_table

    random = np.random.default_rng(0)
    values, means = random.normal(size=2 * 10_242), random.normal(size=(30, 2))

    def draw(folder: Path) -> dict[str, bytes]:
        folder.mkdir()
        surface.plot(values, views=["lateral"], flat=False, title="a_b $", output=folder / "brain.png")
        draw_table(means[:4], list("abcd"), ["V1", "P_A $"], "z", folder / "table.png", title="t", note="n")
        words = {"title": "t_1", "subtitle": "s_1", "note": "n"}
        chosen = [Chosen("both_up", means[:2], 8 * means[:2])]
        draw_quadrants(means, ("V1", "P_A"), chosen, folder / "quadrants.png", baseline=means.mean(0), **words)
        draw_sets(means[:, 0], ("V1", "P_A"), [Chosen("align", means[0, :1])], folder / "sets.png", **words)
        draw_scatter(means, means, folder / "scatter.png")
        draw_histogram({("cpu", "float32"): means}, means + 1e-6, 1e-3, folder / "histogram.png")
        draw_regions([{"region": "V_1", "p999": 1e-5, "largest": 1e-4}], 1e-3, folder / "regions.png")
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    usual = draw(tmp_path / "usual")
    (tmp_path / "rc").write_text(MATPLOTLIBRC)
    with matplotlib.rc_context(fname=tmp_path / "rc"):
        assert draw(tmp_path / "dark") == usual
    assert len(usual) == 1 + 6 * 3  # a PDF and a CSV of each figure of a report
    assert Image.open(io.BytesIO(usual["brain.png"])).width == 1350


@pytest.mark.nightly
def test_a_backend_that_matplotlib_does_not_know_is_no_error(tmp_path: Path) -> None:
    """`MPLBACKEND` with a name that matplotlib does not know → figures are drawn; a backend that it knows is kept."""
    code = (
        "from berg_jax.surface.style import default_style\n"
        "with default_style():\n"
        "    from matplotlib.figure import Figure\n"
        "    Figure().savefig('a.png')\n"
        "import matplotlib; print(matplotlib.get_backend())"
    )
    for backend, kept in (("nonsense", "agg"), ("svg", "svg")):
        environment = {**os.environ, "MPLBACKEND": backend}
        options = {"cwd": tmp_path, "capture_output": True, "text": True, "env": environment}
        result = subprocess.run([sys.executable, "-c", code], **options, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip() == kept
