"""Fetching from servers that fail, lie, change or are not there."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from berg_jax.errors import IntegrityError, ModelNotFoundError, ResourceError
from berg_jax.published import mirror
from berg_jax.published.berg_dir import MODEL_FOLDER, SubjectFiles
from berg_jax.published.fetch import plan

from .server import BUCKET, RANGE, Handler, Server, assert_fetched, fetch, journaled, part1, spans, wait_until


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
