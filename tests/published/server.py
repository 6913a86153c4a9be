"""An HTTP server that can be made hostile, and what a whole download asks of it."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from berg_jax.published import fetch as module
from berg_jax.published import mirror
from berg_jax.published.berg_dir import MODEL_FOLDER, SubjectFiles
from berg_jax.published.fetch import CHECKSUMS

from ..conftest import changed

RANGE = 131072
BUCKET = mirror.PUBLIC.partition("://")[2]
fetch = partial(module.fetch, range_size=RANGE, connections=4, show_progress=False)


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` (key → bytes) with ranges and ETags, and keeps every request.

    ``trouble(handler, key, range, data)`` is called before a GET is answered; True says that it answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.etag = '"first"'
        self.trouble: Callable[[Handler, str, tuple[int, int], bytes], bool | None] = lambda *_: None
        self.heads: list[str] = []
        self.ranges: list[tuple[str, int, int]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that were killed are no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        key = self.key()
        self.server.heads.append(key)
        if key not in self.server.files:
            self.fail(404)
        else:
            self.answer(200, len(self.server.files[key]))

    def do_GET(self) -> None:
        key = self.key()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if key not in self.server.files or match is None:
            self.fail(404)
            return
        whole = self.server.files[key]
        start, end = int(match[1]), int(match[2]) + 1
        self.server.ranges.append((key, start, end))
        if not self.server.trouble(self, key, (start, end), whole[start:end]):
            self.serve(key, (start, end))

    def serve(self, key: str, span: tuple[int, int], cut: int | None = None, length: int | None = None) -> None:
        """Answer with a range; only its first ``cut`` bytes; under a false length."""
        whole = self.server.files[key]
        data = whole[slice(*span)]
        total = f"bytes {span[0]}-{span[1] - 1}/{len(whole)}"
        self.answer(206, len(data) if length is None else length, {"Content-Range": total})
        self.wfile.write(data[:cut])
        self.wfile.flush()
        self.close_connection = cut is not None

    def key(self) -> str:
        path = unquote(self.path).lstrip("/")
        return path.removeprefix(f"{BUCKET}/")

    def fail(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"ETag": self.server.etag, "Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


def part1(berg_dir: Path) -> Path:
    return SubjectFiles(berg_dir, 1).part1


def spans(server: Server, keys: list[str] | None = None) -> set[tuple[str, int, int]]:
    """Every range that a whole download asks for."""
    return {
        (key, start, min(start + RANGE, len(server.files[key])))
        for key in keys or server.files
        for start in range(0, len(server.files[key]), RANGE)
    }


def assert_fetched(berg_dir: Path, server: Server) -> None:
    """Every byte is right, the checksums are right by coreutils, and nothing is left over."""
    model = berg_dir / MODEL_FOLDER
    there = changed(berg_dir)
    del there[(MODEL_FOLDER / CHECKSUMS).as_posix()]
    assert there == server.files
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS], cwd=model, check=True)
    assert len((model / CHECKSUMS).read_text().splitlines()) == len(server.files)


def journaled(path: Path) -> set[int]:
    journal = path.with_name(path.name + ".part.json")
    return set(json.loads(journal.read_text())["done"]) if journal.exists() else set()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
