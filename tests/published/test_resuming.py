"""Fetching that is killed, contended, or finds what another one left behind."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from berg_jax.errors import ResourceError
from berg_jax.files.disk import locked, sha256
from berg_jax.published.fetch import plan, plan_text

from ..kills import Program
from .server import RANGE, Server, assert_fetched, fetch, journaled, part1, spans, wait_until

PROGRAM = """
import logging, signal, sys
from berg_jax.published.fetch import fetch
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs lack
logging.basicConfig(format="%(message)s")
done = fetch([1], sys.argv[1], mirror=sys.argv[2], range_size=131072, connections=2, show_progress=False)
print(*{download.state for download in done})
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed(kind: signal.Signals, server: Server, tmp_path: Path) -> None:
    key = part1(Path()).as_posix()
    stuck, over = threading.Semaphore(0), threading.Event()

    def trouble(*_: object) -> None:
        if len(server.ranges) > 6:
            stuck.release()
            over.wait(60)

    server.trouble = trouble
    with Program("-c", PROGRAM, tmp_path, server.url) as process:
        try:
            for _ in range(2):  # both connections wait for their seventh and eighth range
                assert stuck.acquire(timeout=60)
            process.until(lambda: len(journaled(part1(tmp_path))) == 6)
            process.send(kind)
            if kind == signal.SIGKILL:
                process.end()  # before its requests are answered
        finally:
            over.set()
        assert process.end() == -kind

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
    command = ("-c", PROGRAM, tmp_path / "berg", server.url)
    with Program(*command) as first, Program(*command) as second:
        try:
            assert started.wait(60)
            wait_until(lambda: "waiting for it" in first.said + second.said)
        finally:
            over.set()
        assert (first.end(), second.end()) == (0, 0)
        last_lines = {process.said.splitlines()[-1] for process in (first, second)}

    assert last_lines == {"missing", "complete"}  # what each of them found
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
