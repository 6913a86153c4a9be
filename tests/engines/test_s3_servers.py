"""Outputs in S3 servers other than moto's: s3rver, a program for node, and localbucket, whose buckets are folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import numpy as np
import pytest
import zarr

import berg_jax
from berg_jax.stream.store.places import find_place, list_folder
from berg_jax.stream.store.status import status_text

from ..conftest import Golden
from .cluster import program_environment, wait_until
from .conftest import free_ports, install
from .small import BLOCK, encode, run, write_images

pytestmark = [pytest.mark.nightly, pytest.mark.engines, pytest.mark.timeout(1200)]
S3RVER = "s3rver@3.7.1"
# What s3rver takes without being told otherwise.
KEYS = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}
BLOCKS = 10


def s3rver_command(folder: Path, port: int) -> list[str]:
    install({"npm": "npm"})
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--prefix", folder, S3RVER], check=True)
    program = str(folder / "node_modules" / ".bin" / "s3rver")
    return [program, "--directory", str(folder / "buckets"), "--address", "127.0.0.1", "--port", str(port)]


def localbucket_command(folder: Path, port: int) -> list[str]:
    (folder / "buckets").mkdir()
    return [sys.executable, "-m", "localbucket", "--port", str(port), str(folder / "buckets")]


@contextmanager
def serving(command: list[str], address: str, log: Path) -> Iterator[None]:
    """A server that answers, until the block is left."""
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or _answers(address), 60, log.read_text)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.kill()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(params=[s3rver_command, localbucket_command], ids=["s3rver", "localbucket"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an output in a new bucket of a server on loopback."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    port = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    folder = tmp_path / "server"
    folder.mkdir()
    command = request.param(folder, port)
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": address}).items():
        monkeypatch.setenv(name, value)
    with serving(command, address, tmp_path / "server.log"):
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="lab")
        yield "s3://lab/responses.zarr"


def test_two_processes_of_which_one_is_killed_store_the_bits_of_one_on_a_disk(
    complement: Golden, url: str, tmp_path: Path
) -> None:
    """Two processes write into an S3 server, one is killed and run again → the same bits as on a disk."""
    images = write_images(tmp_path / "images.npy", BLOCKS * BLOCK)
    alone = tmp_path / "alone.zarr"
    run(encode(images, complement.folder, 2, alone))
    shares = [
        encode(images, complement.folder, 2, url, "--process-index", index, "--process-count", 2) for index in (0, 1)
    ]
    log = tmp_path / "processes.txt"

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=program_environment(), stdout=log.open("a"), stderr=subprocess.STDOUT)

    def recorded() -> set[int]:
        return {int(place.name.removesuffix(".json")) % 2 for place in list_folder(find_place(url) / "ledger", ".json")}

    processes = [start(command) for command in shares]
    try:
        wait_until(lambda: recorded() == {0, 1}, 300, log.read_text)
        processes[1].send_signal(signal.SIGKILL)
        processes[1].wait()
        assert "under way" in status_text(url)
        processes[1] = start(shares[1])
        for process in processes:
            process.wait(600)
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()

    said = log.read_text()
    assert "Traceback" not in said
    assert processes[1].returncode == 0, said  # the last to end, or the first of two at once
    stored = berg_jax.open_responses(url)
    assert stored.attributes["complete"] is True
    np.testing.assert_array_equal(stored.data, zarr.open_group(alone, mode="r")["responses"][:])
    files = {path.relative_to(alone).as_posix(): path for path in alone.rglob("*") if path.is_file()}
    store = find_place(url).store()
    keys = {key.decode() for key in store.list().result()}
    assert keys == set(files)
    for name in keys:
        if not name.startswith(("ledger", "zarr.json")):
            assert store.read(name).result().value == files[name].read_bytes(), name
