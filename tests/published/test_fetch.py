"""Fetching from real servers on loopback: S3, hostile HTTP, files; broken, killed, resumed, contended."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from berg_jax.errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.files.disk import locked, sha256
from berg_jax.published import fetch as module
from berg_jax.published import mirror
from berg_jax.published.berg_dir import MODEL_FOLDER, PUBLISHED, SubjectFiles
from berg_jax.published.fetch import CHECKSUMS, plan, plan_text

from ..conftest import changed

RANGE = 131072
BUCKET = mirror.PUBLIC.partition("://")[2]
fetch = partial(module.fetch, range_size=RANGE, connections=4, show_progress=False)
PROGRAM = """
import logging, signal, sys
from berg_jax.published.fetch import fetch
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs lack
logging.basicConfig(format="%(message)s")
done = fetch([1], sys.argv[1], mirror=sys.argv[2], range_size=131072, connections=2, show_progress=False)
print(*{download.state for download in done})
"""


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


def test_a_subject(server: Server, tmp_path: Path) -> None:
    berg_dir = tmp_path / "Füße & 'Kopf' 脑"
    before = plan([1], berg_dir, mirror=server.url)
    assert not berg_dir.exists()
    assert {(d.key, d.size, d.missing, d.state, d.etag) for d in before} == {
        (key, len(data), len(data), "missing", '"first"') for key, data in server.files.items()
    }
    text = plan_text(before)
    assert f"missing        1,048,699 bytes  {part1(Path()).as_posix()}" in text
    assert "4 files, 0.00 GB, of which 0.00 GB are to be fetched." in text
    assert f"GB are free at {tmp_path}" in text
    assert server.ranges == []

    assert fetch([1], berg_dir, mirror=server.url + "/") == before
    assert_fetched(berg_dir, server)
    assert Counter(server.ranges) == Counter(spans(server))

    again = fetch([1, 1], berg_dir, mirror=server.url)
    assert {(d.state, d.missing) for d in again} == {("complete", 0)}
    assert len(server.ranges) == len(spans(server))
    assert "complete" in plan_text(again)


def test_only_what_is_needed(server: Server, tmp_path: Path) -> None:
    metadata = SubjectFiles(Path(), 1).metadata.as_posix()
    fetch([1], tmp_path, mirror=server.url, metadata_only=True)
    assert server.heads == [metadata]
    assert set(server.ranges) == spans(server, [metadata])
    second = SubjectFiles(Path(), 2)
    for path in (second.part1, second.part2, second.metadata):
        server.files[path.as_posix()] = path.name.encode()
    server.files["encoding_models/other"] = b"not asked for"
    fetch([1, 2], tmp_path, mirror=server.url)
    del server.files["encoding_models/other"]
    assert_fetched(tmp_path, server)
    assert Counter(server.ranges) == Counter(spans(server))  # part1_voxel_indices.pt once


def test_requests_run_side_by_side(server: Server, tmp_path: Path) -> None:
    barrier = threading.Barrier(4, timeout=60)
    first = iter(range(4))

    def meet(*_: object) -> None:
        if next(first, None) is not None:
            barrier.wait()

    server.trouble = meet
    fetch([1], tmp_path, mirror=server.url)
    assert not barrier.broken
    assert_fetched(tmp_path, server)


@pytest.mark.parametrize("kind", ["503", "cut", "nothing", "short", "stalled"])
def test_trouble_that_passes(
    kind: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every third range fails twice before it is served (only the first one stalls, once)."""
    tries: Counter[tuple[str, int]] = Counter()
    over = threading.Event()
    monkeypatch.setattr(mirror, "_SILENCE", "500ms")

    def trouble(handler: Handler, key: str, span: tuple[int, int], data: bytes) -> bool:
        tries[key, span[0]] += 1
        if kind == "stalled" and len(server.ranges) > 1:
            return False
        if span[0] // RANGE % 3 or tries[key, span[0]] > 2:
            return False
        if kind == "503":
            handler.fail(503)
        elif kind == "cut":
            handler.serve(key, span, cut=len(data) // 2)
        elif kind == "nothing":
            handler.close_connection = True
        elif kind == "short":
            handler.serve(key, span, cut=len(data) - 1, length=len(data) - 1)
        else:
            handler.serve(key, span, cut=10)
            over.wait(60)
        return True

    server.trouble = trouble
    try:
        fetch([1], tmp_path, mirror=server.url, connections=1 if kind == "stalled" else 16)
    finally:
        over.set()
    assert_fetched(tmp_path, server)
    assert set(tries) == {(key, start) for key, start, _ in spans(server)}
    assert "Trying again (2 of 6)" in caplog.text


def test_trouble_that_stays(server: Server, tmp_path: Path) -> None:
    bad = (part1(Path()).as_posix(), 3 * RANGE)

    def trouble(handler: Handler, key: str, span: tuple[int, int], data: bytes) -> bool:
        if (key, span[0]) == bad:
            wait_until(lambda: len(journaled(part1(tmp_path))) >= 2)
            handler.fail(503)
        return (key, span[0]) == bad

    server.trouble = trouble
    with pytest.raises(ResourceError, match=rf"Cannot fetch {bad[0]} from {server.url}, tried 3 times: .*503.*kept"):
        fetch([1], tmp_path, mirror=server.url, attempts=3)
    assert Counter(server.ranges)[*bad, bad[1] + RANGE] == 3
    assert not part1(tmp_path).exists()
    done = journaled(part1(tmp_path))
    assert len(done) >= 2
    (state,) = (d for d in plan([1], tmp_path, mirror=server.url) if d.key == bad[0])
    assert (state.state, state.missing) == (
        "partial",
        state.size - sum(min(RANGE, state.size - i * RANGE) for i in done),
    )
    server.trouble = lambda *_: None
    server.ranges.clear()
    fetch([1], tmp_path, mirror=server.url, range_size=3 * RANGE)  # but a part keeps its own
    assert_fetched(tmp_path, server)
    asked = [start // RANGE for key, start, _ in server.ranges if key == bad[0]]
    assert sorted(asked) == sorted(set(range(9)) - done)


@pytest.mark.timeout(60)
def test_one_failure_ends_the_others(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first range waits for another attempt, the second is gone, the third comes late and is kept."""
    monkeypatch.setattr(mirror, "_FIRST_PAUSE", 1e6)
    monkeypatch.setattr(mirror, "_LONGEST_PAUSE", 1e6)
    refused, asked, gone = threading.Event(), threading.Event(), threading.Event()

    def trouble(handler: Handler, key: str, span: tuple[int, int], data: bytes) -> bool:
        if span[0] == 0:
            handler.fail(503)
            refused.set()
        elif span[0] == RANGE:
            refused.wait(30)
            asked.wait(30)
            handler.fail(404)
            gone.set()
        else:
            asked.set()
            gone.wait(30)
            time.sleep(0.3)  # so that the failure is known first
        return span[0] <= RANGE

    server.trouble = trouble
    with pytest.raises(ModelNotFoundError, match=r"There is no .*subj01_part1.pth"):
        fetch([1], tmp_path, mirror=server.url, connections=3)
    assert 2 in journaled(part1(tmp_path))


def test_the_mirror_changes_midway(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = part1(Path()).as_posix()

    def trouble(*_: object) -> None:
        if len(journaled(part1(tmp_path))) >= 3:
            server.etag = '"second"'
            server.files[key] = bytes(reversed(server.files[key]))
            server.trouble = lambda *_: None

    server.trouble = trouble
    with pytest.raises(IntegrityError, match=rf"{key} changed on .*\"first\".*\"second\".*Fetch again"):
        fetch([1], tmp_path, mirror=server.url, connections=1)
    assert journaled(part1(tmp_path))
    assert not part1(tmp_path).exists()
    server.ranges.clear()
    fetch([1], tmp_path, mirror=server.url)
    assert "starting anew" in caplog.text
    assert_fetched(tmp_path, server)
    assert Counter(server.ranges) == Counter(spans(server))


def test_without_etags_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    class Silent(Handler):
        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "ETag":
                super().send_header(keyword, value)

    server.RequestHandlerClass = Silent

    def trouble(handler: Handler, key: str, span: tuple[int, int], data: bytes) -> bool:
        if span[0] == 5 * RANGE // 16:
            handler.fail(503)
        return span[0] == 5 * RANGE // 16

    server.trouble = trouble
    with pytest.raises(ResourceError):
        fetch([1], tmp_path, mirror=server.url, connections=1, attempts=1, range_size=RANGE // 16)
    assert journaled(part1(tmp_path)) >= set(range(5))
    assert len(server.ranges) < 100  # of 129: none is asked for once one has failed for good
    server.trouble = lambda *_: None
    server.ranges.clear()
    fetch([1], tmp_path, mirror=server.url)
    assert_fetched(tmp_path, server)
    assert Counter(server.ranges) == Counter(spans(server))


@pytest.mark.parametrize(
    ("command", "error", "said"), [("HEAD", IntegrityError, "changed on"), ("GET", ResourceError, "Cannot fetch")]
)
def test_lies_about_sizes(command: str, error: type[Exception], said: str, server: Server, tmp_path: Path) -> None:
    class Liar(Handler):
        def answer(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
            super().answer(status, length + 10 * (self.command == command), headers)

        def serve(self, *args: object, **options: int) -> None:
            super().serve(*args, **options)
            self.close_connection = True

    server.RequestHandlerClass = Liar
    with pytest.raises(error, match=said):
        fetch([1], tmp_path, mirror=server.url, attempts=2)
    assert not part1(tmp_path).exists()


def test_what_the_mirror_lacks(server: Server, tmp_path: Path) -> None:
    missing = SubjectFiles(Path(), 1).metadata.as_posix()
    data = server.files.pop(missing)
    with pytest.raises(ModelNotFoundError, match=f"There is no {missing} in {server.url}"):
        fetch([1], tmp_path / "berg", mirror=server.url)
    server.files[missing] = data
    server.trouble = lambda handler, *_: handler.fail(403) or True
    with pytest.raises(ModelNotFoundError, match=r"refuses .*subj01_part1.pth: it is not there, or not public"):
        fetch([1], tmp_path / "berg", mirror=server.url)
    assert Counter(server.ranges)[part1(Path()).as_posix(), 0, RANGE] == 1  # no second try
    folder = tmp_path / "a mirror"
    (folder / MODEL_FOLDER / "encoding_models_weights").mkdir(parents=True)
    part1(folder).write_bytes(b"x")
    with pytest.raises(
        ModelNotFoundError, match=r"no .*/subj01_part2.pth in file://.* There are: subj01_part1.pth\."
    ):
        fetch([1], tmp_path / "berg", mirror=folder.as_uri())
    with pytest.raises(ModelNotFoundError, match="There is no folder"):
        fetch([1], tmp_path / "berg", mirror="file:///no/such/folder")


def test_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    files = tmp_path / "served"
    for key, data in server.files.items():
        (files / key).parent.mkdir(parents=True, exist_ok=True)
        (files / key).write_bytes(data)

    class Plain(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server.RequestHandlerClass = partial(Plain, directory=str(files))
    with pytest.raises(ResourceError, match="serves no parts of files"):
        fetch([1], tmp_path / "berg", mirror=server.url)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, and nobody listens
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ResourceError, match=f"Cannot fetch .* from {nobody}, tried 2 times") as caught:
            fetch([1], tmp_path / "a b", mirror=nobody, attempts=2)
        assert "curl" in str(caught.value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
        with pytest.raises(ResourceError, match="Is the network up") as caught:
            fetch([1], tmp_path / "a b", attempts=1)
    files = SubjectFiles(tmp_path / "a b", 1)
    for path in (files.part1, files.part2, files.indices, files.metadata):
        key = path.relative_to(files.berg_dir).as_posix()
        assert f"\naws s3 cp --no-sign-request s3://{BUCKET}/{key} '{path}'" in str(caught.value)
    assert not (tmp_path / "a b").exists()


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed(kind: signal.Signals, server: Server, tmp_path: Path) -> None:
    key = part1(Path()).as_posix()
    stuck, over = threading.Semaphore(0), threading.Event()

    def trouble(*_: object) -> None:
        if len(server.ranges) > 6:
            stuck.release()
            over.wait(60)

    server.trouble = trouble
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path, server.url], stderr=subprocess.DEVNULL)
    try:
        for _ in range(2):  # both connections wait for their seventh and eighth range
            assert stuck.acquire(timeout=60)
        wait_until(lambda: len(journaled(part1(tmp_path))) == 6)
        process.send_signal(kind)
        if kind == signal.SIGKILL:
            process.wait(60)  # before its requests are answered
        over.set()
        assert process.wait(60) == -kind
    finally:
        over.set()
        process.kill()
        process.wait()
    done = journaled(part1(tmp_path))
    partial_bytes = part1(tmp_path).with_name("subj01_part1.pth.part").read_bytes()
    for index in done:
        span = slice(index * RANGE, (index + 1) * RANGE)
        assert partial_bytes[span] == server.files[key][span]
    server.trouble = lambda *_: None
    server.ranges.clear()
    fetch([1], tmp_path, mirror=server.url)
    assert_fetched(tmp_path, server)
    assert Counter(server.ranges) == Counter(s for s in spans(server) if s[0] != key or s[1] // RANGE not in done)


def test_two_processes_at_once(server: Server, tmp_path: Path) -> None:
    started, over = threading.Event(), threading.Event()

    def trouble(*_: object) -> None:
        started.set()
        over.wait(60)

    server.trouble = trouble
    processes = []
    try:
        for name in ("first", "second"):
            with (tmp_path / f"{name}.err").open("wb") as errors, (tmp_path / f"{name}.out").open("wb") as output:
                command = [sys.executable, "-c", PROGRAM, tmp_path / "berg", server.url]
                processes.append(subprocess.Popen(command, stdout=output, stderr=errors))
            assert started.wait(60)
        wait_until(lambda: b"waiting for it" in (tmp_path / "second.err").read_bytes())
    finally:
        over.set()
        codes = [process.wait(60) for process in processes]
    assert codes == [0, 0]
    assert (tmp_path / "first.out").read_text() == "missing\n"
    assert (tmp_path / "second.out").read_text() == "complete\n"
    assert_fetched(tmp_path / "berg", server)
    assert Counter(server.ranges) == Counter(spans(server))


def test_a_lock_is_freed_by_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", "waiting"):
        _ = 1 / 0
    with locked(tmp_path / "lock", "waiting"):
        assert not caplog.records
    assert not any(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot lock"), locked(tmp_path / "file" / "lock", "waiting"):
        pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB; the files need 1.9."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disks can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(disk / "filler", max((disk / "filler").stat().st_size - leave, 0))


def test_a_disk_that_is_too_small(server: Server, disk: Path) -> None:
    fill(disk, leave=2**20)
    with pytest.raises(ResourceError, match=r"Fetching needs 0.00 GB of disk"):
        fetch([1], disk, mirror=server.url)
    assert server.ranges == []
    (disk / "filler").unlink()
    fetch([1], disk, mirror=server.url)
    assert_fetched(disk, server)


def test_a_disk_that_fills_up(server: Server, disk: Path) -> None:
    def trouble(handler: Handler, key: str, span: tuple[int, int], data: bytes) -> None:
        if span[0] == 5 * RANGE:
            fill(disk)

    server.trouble = trouble
    with pytest.raises(ResourceError, match=r"No space left on device. Make room"):
        fetch([1], disk, mirror=server.url, connections=1)
    (disk / "filler").unlink()
    done = journaled(part1(disk))
    assert done >= set(range(4))
    server.trouble = lambda *_: None
    server.ranges.clear()
    fetch([1], disk, mirror=server.url)
    assert_fetched(disk, server)
    key = part1(Path()).as_posix()
    assert Counter(server.ranges) == Counter(s for s in spans(server) if s[0] != key or s[1] // RANGE not in done)


def test_a_read_only_disk(server: Server, disk: Path) -> None:
    fetch([1], disk, mirror=server.url)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    again = fetch([1], disk, mirror=server.url)
    assert {download.state for download in again} == {"complete"}
    for path in (SubjectFiles(Path(), 2).part1, SubjectFiles(Path(), 2).part2, SubjectFiles(Path(), 2).metadata):
        server.files[path.as_posix()] = b"2"
    server.ranges.clear()
    with pytest.raises(ResourceError, match="Read-only file system"):
        fetch([1, 2], disk, mirror=server.url)
    assert server.ranges == []


def test_a_folder_that_is_read_only(server: Server, tmp_path: Path, disk: Path) -> None:
    metadata = SubjectFiles(tmp_path, 1).metadata.parent
    metadata.mkdir(parents=True)
    subprocess.run(["mount", "--bind", disk, metadata], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", metadata], check=True)
        with pytest.raises(ResourceError, match="Read-only file system"):
            fetch([1], tmp_path, mirror=server.url)
    finally:
        subprocess.run(["umount", metadata], check=True)
    assert server.ranges == []


def test_places_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for berg_dir in (Path("/proc/berg"), tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ResourceError, match=r"Cannot (read|write|lock)"):
            fetch([1], berg_dir, mirror=server.url)
    (tmp_path / "berg" / MODEL_FOLDER).mkdir(parents=True)
    (tmp_path / "berg" / MODEL_FOLDER / "metadata").write_text("mine")
    with pytest.raises(ResourceError, match=r"Cannot write .*metadata"):
        fetch([1], tmp_path / "berg", mirror=server.url)
    assert server.ranges == []
    assert (tmp_path / "file").read_text() == "mine"


def test_files_that_are_there_already(server: Server, tmp_path: Path) -> None:
    path = part1(tmp_path)
    key = part1(Path()).as_posix()
    path.parent.mkdir(parents=True)
    path.write_bytes(server.files[key])  # by hand
    fetch([1], tmp_path, mirror=server.url)
    assert set(server.ranges) == spans(server, [k for k in server.files if k != key])

    for name, content in (("size", b"mine"), ("content", bytes(len(server.files[key])))):
        path.unlink()
        path.with_name("subj01_part1.pth.part").unlink(missing_ok=True)
        fetch([1], tmp_path, mirror=server.url)
        server.ranges.clear()
        path.write_bytes(content)
        (state,) = (d for d in plan([1], tmp_path, mirror=server.url) if d.key == key)
        assert state.state == "different"
        said = "of 4 bytes instead of 1048699" if name == "size" else rf"of sha256 {sha256(path)} instead of"
        assert re.search(said, plan_text([state]))
        with pytest.raises(ResourceError, match=rf"{said}.*--overwrite"):
            fetch([1], tmp_path, mirror=server.url)
        assert server.ranges == []
        assert path.read_bytes() == content
        fetch([1], tmp_path, mirror=server.url, overwrite=True)
        assert_fetched(tmp_path, server)
        assert Counter(server.ranges) == Counter(spans(server, [key]))
    path.unlink()
    path.mkdir()
    with pytest.raises(ResourceError, match=r"is a folder. Move it away, or"):
        fetch([1], tmp_path, mirror=server.url, overwrite=True)


@pytest.mark.parametrize(
    "journal",
    [
        "",
        "[",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        {"size": 5},
        {"etag": "other"},
        {"range_size": 0},
        {"range_size": "a"},
        {"done": 3},
        {"done": [9]},
        {"done": [-1]},
        {"done": [0.5]},
        {"done": [[]]},
        "part is short",
        "part is gone",
    ],
    ids=str,
)
def test_journals_that_cannot_be_trusted(journal: str | dict, server: Server, tmp_path: Path) -> None:
    path = part1(tmp_path)
    key = part1(Path()).as_posix()
    size = len(server.files[key])
    for other in server.files.keys() - {key}:  # these need no fetching
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_bytes(server.files[other])
    part = path.with_name(path.name + ".part")
    part.write_bytes(bytes(5 if journal == "part is short" else size))
    if journal == "part is gone":
        part.unlink()
    good = {"size": size, "etag": '"first"', "range_size": RANGE, "done": list(range(9))}
    text = journal if isinstance(journal, str) else json.dumps(good | journal)
    if text.startswith("part"):
        text = json.dumps(good)
    path.with_name(path.name + ".part.json").write_text(text)
    fetch([1], tmp_path, mirror=server.url)
    assert path.read_bytes() == server.files[key]
    assert set(server.ranges) == spans(server, [key])


def test_the_author_s_files(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = part1(tmp_path)
    key = part1(Path()).as_posix()
    fetch([1], tmp_path, mirror=server.url)  # another mirror may hold a synthetic subject
    assert f"{key} from {server.url} is not the author's published file" in caplog.text
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)  # from here on the server plays the public bucket
    with pytest.raises(ResourceError, match=rf"{path.name} is of sha256 .* instead of {PUBLISHED[path.name]}"):
        fetch([1], tmp_path)
    path.unlink()
    (tmp_path / MODEL_FOLDER / CHECKSUMS).unlink()
    for name in ("subj01_part2.pth", "part1_voxel_indices.pt"):
        monkeypatch.setitem(PUBLISHED, name, sha256(path.with_name(name)))
    got = sha256_of(server.files[key])
    with pytest.raises(IntegrityError, match=f"expected sha256 {PUBLISHED[path.name]}, got {got}.*kept aside"):
        fetch([1], tmp_path)
    assert not path.exists()
    assert path.with_name("subj01_part1.pth.mismatch").read_bytes() == server.files[key]
    assert not (tmp_path / MODEL_FOLDER / CHECKSUMS).exists()
    monkeypatch.setitem(PUBLISHED, path.name, got)
    caplog.clear()
    fetch([1], tmp_path)
    assert path.read_bytes() == server.files[key]
    assert not caplog.records


def sha256_of(data: bytes) -> str:
    command = ["sha256sum", "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout[:64].decode()


def test_checksums_are_merged(server: Server, tmp_path: Path) -> None:
    checksums = tmp_path / MODEL_FOLDER / CHECKSUMS
    checksums.parent.mkdir(parents=True)
    foreign = b"# mine \xff\n" + b"0" * 64 + b" *other file\n"
    stale = b"0" * 64 + b"  encoding_models_weights/subj01_part1.pth\n"
    checksums.write_bytes(foreign + stale)
    fetch([1], tmp_path, mirror=server.url)
    lines = checksums.read_bytes()
    assert lines.startswith(foreign)
    assert stale not in lines
    assert f"{sha256(part1(tmp_path))}  encoding_models_weights/subj01_part1.pth\n".encode() in lines


def test_progress_is_logged(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOG_EVERY", 0.0)
    with caplog.at_level(logging.INFO, "berg_jax.published.fetch"):
        fetch([1], tmp_path, mirror=server.url, show_progress=True)
    assert "Fetched 2 of 2 MB." in caplog.text
    assert len([r for r in caplog.records if r.message.startswith("Fetched")]) == len(spans(server))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subjects": [0]}, "subject must be"),
        ({"subjects": "1"}, "subject must be"),
        ({"subjects": []}, "at least one subject"),
        ({"range_size": 0}, "range_size must be at least 1"),
        ({"connections": 0}, "connections must be at least 1"),
        ({"attempts": 0}, "attempts must be at least 1"),
        *(({"mirror": url}, "mirror must") for url in ("", "gs://bucket", "s3://", "s3://a b", "https://u:p@host")),
        *(({"mirror": url}, "mirror must") for url in ("http://h/?key=1", "http://[", "file://folder", "bucket")),
    ],
)
def test_arguments(change: dict, said: str, tmp_path: Path) -> None:
    arguments = {"subjects": [1], "berg_dir": tmp_path / "berg", **change}
    with pytest.raises(InvalidParameterError, match=said):
        fetch(**arguments)
    assert not (tmp_path / "berg").exists()


def test_obstore_is_optional() -> None:
    program = """
import sys
sys.modules["obstore"] = None
from berg_jax.errors import ResourceError
from berg_jax.published.fetch import fetch
try:
    fetch([1], "nowhere")
except ResourceError as error:
    assert "pip install 'berg_jax[fetch]'" in str(error)
    assert not {"jax", "flax", "numpy", "tqdm"} & set(sys.modules)
    print("said")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "said\n"


def test_a_folder_as_mirror(golden_source: Path, tmp_path: Path) -> None:
    mirror = Path(shutil.copytree(golden_source, tmp_path / "größer & 100%"))
    fetch([1, 2], tmp_path / "berg", mirror=mirror.as_uri())
    for subject in (1, 2):
        source, copy = SubjectFiles(mirror, subject), SubjectFiles(tmp_path / "berg", subject)
        for name in ("part1", "part2", "indices", "metadata"):
            assert getattr(copy, name).read_bytes() == getattr(source, name).read_bytes()


@pytest.mark.parametrize("kind", ["golden", pytest.param("synthetic", marks=pytest.mark.nightly)])
def test_s3(kind: str, golden_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    from berg_jax.convert.synthetic import make_synthetic_subject

    source = SubjectFiles(golden_source if kind == "golden" else make_synthetic_subject(tmp_path / "source"), 1)
    paths = [source.part1, source.part2, source.indices, source.metadata]
    moto = ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        client.create_bucket(Bucket="lab", ACL="public-read")
        for path in paths:
            key = f"copy/of/{path.relative_to(source.berg_dir).as_posix()}"
            client.upload_file(str(path), "lab", key, ExtraArgs={"ACL": "public-read"})
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        fetch([1], tmp_path / "berg", mirror="s3://lab/copy/of")
        with pytest.raises(ModelNotFoundError, match=r"subj02_part1.pth in s3://lab/copy/of. There are: part1_voxel"):
            fetch([2], tmp_path / "berg", mirror="s3://lab/copy/of")
    finally:
        moto.stop()
    for path in paths:
        assert (tmp_path / "berg" / path.relative_to(source.berg_dir)).read_bytes() == path.read_bytes()
