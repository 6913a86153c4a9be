"""Installations as people have them: a checkout called berg_jax, and the lowest versions that pip may choose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from ..conftest import ROOT
from . import lowest

BUILT = ("berg_jax", "convert", "experiments", "setup.py", "pyproject.toml", "README.md", "LICENSE")
# A Python without this environment's own .pth files, of which one may know berg_jax already.
FRESH = """
import site, sys
sys.path[:0] = [""]
site.addsitedir({installed!r})
sys.path.append({packages!r})
import berg_jax, berg_jax.convert, berg_jax.experiments
print(berg_jax.load.__name__, berg_jax.__file__, berg_jax.convert.__file__, berg_jax.experiments.__file__, sep="\\n")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder called berg_jax."""
    folder = tmp_path / "content" / "berg_jax"
    folder.mkdir(parents=True)
    for name in BUILT:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    return folder


def test_python_beside_a_checkout_called_berg_jax_finds_the_package(checkout: Path, tmp_path: Path) -> None:
    """A checkout called berg_jax installed with -e, Python started beside it → the package, no empty namespace."""
    build = "import sys, setuptools.build_meta as b; b.build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=checkout, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")

    program = FRESH.format(packages=sysconfig.get_path("purelib"), installed=str(tmp_path / "installed"))
    said = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=checkout.parent, capture_output=True, text=True, check=False
    )

    assert said.stdout.splitlines() == [
        "load",
        *(str(checkout / name / "__init__.py") for name in ("berg_jax", "convert", "experiments")),
    ], said.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("options", [[], ["-e"]], ids=["plain", "editable"])
def test_pip_s_installation_is_found_beside_the_checkout(options: list[str], checkout: Path, tmp_path: Path) -> None:
    """The same in an environment of its own, by pip."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    for what in (["lazy_loader"], ["--no-deps", *options, "./berg_jax"]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *what], cwd=checkout.parent, check=True)

    program = "import berg_jax; print(dir(berg_jax).count('load'), berg_jax.__file__)"
    found = subprocess.check_output([python, "-c", program], cwd=checkout.parent, text=True).split()

    assert found[0] == "1"
    assert Path(found[1]).is_relative_to(checkout) == bool(options)


@pytest.mark.parametrize("error", ["ValueError('numpy.dtype size changed')", "ImportError('no libjpeg')"])
def test_pillow_decodes_where_simplejpeg_does_not_import(error: str, tmp_path: Path) -> None:
    """A simplejpeg that was built for another NumPy, as on Colab → Pillow decodes, to the same pixels."""
    (tmp_path / "simplejpeg.py").write_text(f"raise {error}\n")
    program = "from berg_jax.stream.sources import decoding; print(decoding.simplejpeg)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert said.stdout == "None\n", said.stderr


@pytest.mark.nightly
def test_the_lowest_versions_work(tmp_path: Path) -> None:
    """The lowest versions that pyproject.toml allows → help, the demo, and tests of command line and stream."""
    python = lowest.make(tmp_path / "venv")
    environment = {**os.environ, "BERG_JAX_CACHE": str(tmp_path / "cache")}
    command = python.with_name("berg-jax")
    for arguments, said in ((["--help"], "Usage: berg-jax"), (["demo"], "ascent")):
        done = subprocess.run(
            [command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout + done.stderr

    files = [
        "tests/cli/test_app.py",
        "tests/model",
        "tests/stream/test_encode.py",
        "tests/stream/store/test_shards.py",
    ]
    quietly = ("-n", "0", "-W", "ignore::DeprecationWarning")  # old packages use what later ones deprecate
    subprocess.run([python, "-m", "pytest", *quietly, *files], cwd=ROOT, env=environment, check=True)
