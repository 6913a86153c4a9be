"""Trouble with the machine is told from damage to files: the advice fits what is wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from orbax.checkpoint import v1 as ocp
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app
from berg_jax.cli.options import messages
from berg_jax.errors import ResourceError, StimulusError
from berg_jax.files.disk import readable
from berg_jax.files.trouble import device_trouble, machine_trouble

from ..conftest import Golden

FULL = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3.5GiB.")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "permission is denied. Check its permissions"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.EIO, "Input/output error"), "the disk or the network file system fails"),
        (ValueError("Error opening kvs ... os_error_code='24'"), "ulimit -n"),
        (ModuleNotFoundError("No module named 'h5py'", name="h5py"), "h5py is not installed"),
        (FULL, "the device's memory is full (RESOURCE_EXHAUSTED: Out of memory"),
        (jax.errors.JaxRuntimeError("INTERNAL: CUDA error"), "JAX failed on its device"),
    ],
)
def test_the_machine_s_trouble_is_no_reason_to_get_a_file_again(error: Exception, said: str) -> None:
    """A file that may not be read, or a disk that fails → that is said, not "get the file again"."""
    with pytest.raises(StimulusError) as found, readable("a.h5", StimulusError, "Get the file again."):
        raise error
    assert said in str(found.value)
    assert "again." not in str(found.value).replace("with pip", "")


def test_damage_keeps_its_remedy() -> None:
    for error in (
        ValueError("bad magic"),
        OSError(errno.EINVAL, "odd"),
        jax.errors.JaxRuntimeError("INVALID_ARGUMENT"),
    ):
        assert machine_trouble(error) is None
        with (
            pytest.raises(StimulusError, match="Get the file again"),
            readable("a", StimulusError, "Get the file again."),
        ):
            raise error


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_gpu_is_no_damaged_subject(wrapped: bool, complement: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU's memory is full while a subject is loaded → the error says so; no word of converting it again."""

    def load(path: Path) -> None:
        if wrapped:
            raise RuntimeError("loading failed") from FULL
        raise FULL

    monkeypatch.setattr(ocp, "load", load)
    with pytest.raises(ResourceError, match=r"the device's memory is full.*--batch-size") as found:
        berg_jax.load(complement.folder, complement.subject)
    assert "Convert" not in str(found.value)


def test_a_full_gpu_in_a_command_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="2"), messages():
        raise FULL
    assert capsys.readouterr().err.startswith("Error: The device's memory is full (RESOURCE_EXHAUSTED")
    with pytest.raises(ZeroDivisionError), messages():  # a mistake of the program's keeps its traceback
        raise ZeroDivisionError


@pytest.mark.parametrize("platform", ["cuda", pytest.param("nonsense", marks=pytest.mark.nightly)])
def test_a_jax_without_the_device_is_no_damaged_subject(platform: str, complement: Golden) -> None:
    """`JAX_PLATFORMS=cuda` where JAX has no CUDA → the error says how to install it; no word of converting again."""
    code = f"import berg_jax; berg_jax.load({str(complement.folder)!r}, {complement.subject})"
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    said = result.stderr.strip().splitlines()[-1]
    assert f"JAX has no device of JAX_PLATFORMS={platform}" in said
    assert "berg_jax[cuda12]" in said
    assert "Convert" not in said
    assert device_trouble(AssertionError()) is None


def test_a_subject_that_may_not_be_read_is_not_damaged(complement: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converted subject without read permission → "permission is denied", not "convert the subject again"."""

    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ResourceError, match="permission is denied") as found:
        berg_jax.load(complement.folder, complement.subject)
    assert "again" not in str(found.value)


def test_env_says_why_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def search() -> None:
        raise FULL

    monkeypatch.setattr(jax, "devices", search)
    result = CliRunner().invoke(app, ["env"])
    assert result.exit_code == 0
    assert "devices none: the device's memory is full" in result.output


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("CUDA_ERROR_OUT_OF_MEMORY: out of memory", "the device's memory is full"),
        ("no CUDA-capable device is detected", "JAX has no device"),
    ],
)
def test_a_gpu_that_is_full_while_jax_looks_for_it_is_not_to_be_installed_again(reason: str, said: str) -> None:
    """Another program has filled the GPU before JAX starts → its memory is full; JAX is not to be installed again."""
    code = f"raise RuntimeError({reason!r})"
    with pytest.raises(RuntimeError) as found:
        exec(code, {"__name__": "jax._src.xla_bridge"})
    assert device_trouble(found.value).startswith(said)
