"""A server with random bytes in place of subject 1."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from berg_jax.published import mirror
from berg_jax.published.berg_dir import SubjectFiles

from .server import RANGE, Server


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(mirror, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with random bytes in place of subject 1."""
    random = np.random.default_rng(0)
    with Server() as server:
        files = SubjectFiles(Path(), 1)
        for path, size in (
            (files.part1, 8 * RANGE + 123),
            (files.part2, 3 * RANGE),
            (files.indices, 5000),
            (files.metadata, RANGE + 1),
        ):
            server.files[path.as_posix()] = random.bytes(size)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
