"""An S3 server on loopback."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from berg_jax.stream.store import places as storage

from .buckets import BUCKET

if TYPE_CHECKING:  # imported late, because it takes long and most tests need none
    from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def server() -> Iterator[ThreadedMotoServer]:
    """An S3 server with one bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    client = boto3.client(
        "s3", endpoint_url=address(moto), region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket=BUCKET)
    yield moto
    moto.stop()


def address(moto: ThreadedMotoServer) -> str:
    host, port = moto.get_host_and_port()
    return f"http://{host}:{port}"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else it logs every request
    monkeypatch.setattr(storage, "_TRIES", 2)
    monkeypatch.setattr(storage, "_FIRST_TRIES", 1)


@pytest.fixture
def url(server: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Where an output of this test may lie."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", address(server))
    return f"s3://{BUCKET}/of/{request.node.name}"
