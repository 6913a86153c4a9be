"""Where outputs may lie, in small objects: folders and object stores; and what is said where they cannot."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.stream.loop import stream
from berg_jax.stream.store.ledger import Ledger
from berg_jax.stream.store.output import is_complete
from berg_jax.stream.store.places import exists, find_place, list_folder, read, read_all, write, write_new
from berg_jax.stream.store.status import status_text

from ..numbered import COLUMNS, Source
from .buckets import BUCKET


@pytest.mark.parametrize("kind", ["disk", "memory", "s3"])
def test_small_objects(kind: str, url: str, tmp_path: Path) -> None:
    root = find_place({"disk": tmp_path.as_uri(), "memory": f"memory://{tmp_path.name}/", "s3": url}[kind])
    folder = root / "ledger"
    assert not exists(folder / "1.json")
    assert list_folder(folder, ".json") == list(read_all(folder, ".json")) == []
    with pytest.raises(FileNotFoundError):
        read(folder / "1.json")
    for name in ("2.json", "1.json", "1.npz", "1.json.old"):
        write(folder / name, b"old")
        write(folder / name, name.encode())
    write(root / "ledgers" / "3.json", b"of another folder")
    write(folder / "deep" / "4.json", b"further down")
    assert exists(folder / "1.json")
    assert not exists(folder / "1.jso")
    assert read(folder / "1.json") == b"1.json"
    assert [data for _, data in read_all(folder, ".json")] == [b"1.json", b"2.json"]
    assert [place.name for place in list_folder(folder, ".json")] == ["1.json", "2.json"]
    if kind != "disk":
        assert write_new(folder / "5.json", b"first")
        assert not write_new(folder / "5.json", b"second")
        assert read(folder / "5.json") == b"first"
        assert str(folder / "5.json").endswith("/ledger/5.json")


def test_of_two_writers_one_is_told_no(url: str) -> None:
    place, said = find_place(url) / "new", []
    meet = threading.Barrier(4)

    def claim(number: int) -> None:
        meet.wait()
        said.append((write_new(place, str(number).encode()), number))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won for won, _ in said) == 1
    assert read(place) == str(max(said)[1]).encode()


class Refusal(http.server.BaseHTTPRequestHandler):
    """A server that knows nobody."""

    def do_GET(self) -> None:
        self.send_response(403)
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_PUT = do_HEAD = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as refusing:
        thread = threading.Thread(target=refusing.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{refusing.server_port}")
        yield
        refusing.shutdown()
        thread.join()


def never(images: np.ndarray) -> np.ndarray:
    raise AssertionError("nothing must be computed")


def refused(output: str) -> str:
    """What every use of an output says, before anything is computed."""
    said = set()
    for use in (
        lambda: stream(never, Source(), [COLUMNS], output=output, identity="sines"),
        lambda: status_text(output),
        lambda: is_complete(find_place(output)),
    ):
        with pytest.raises(ResourceError) as error:
            use()
        said.add(str(error.value))
    (only,) = said
    return only


def test_no_such_bucket(url: str) -> None:
    said = refused("s3://no-such-bucket/run")
    assert "there is no bucket 'no-such-bucket' at http://127.0.0.1" in said
    assert "Create it, or check its name and AWS_ENDPOINT_URL." in said
    with pytest.raises(ModelNotFoundError, match="no stored responses at s3://lab/nothing"):
        berg_jax.open_responses(f"s3://{BUCKET}/nothing")


@pytest.mark.usefixtures("refusing")
def test_access_denied() -> None:
    said = refused("s3://lab/run")
    assert "access to bucket 'lab' at http://127.0.0.1" in said
    assert "Give credentials that may list, read and write there" in said


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "does not answer as it should. Check the URL, the network and AWS_ENDPOINT_URL" in refused("s3://lab/run")


def test_urls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_place("a/b.zarr") == Path("a/b.zarr")
    assert find_place(tmp_path.as_uri()) == tmp_path
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert find_place("s3://lab/a/b/").spec == {"driver": "s3", "bucket": "lab", "path": "a/b/"}
    assert find_place("gs://lab/a").spec == {"driver": "gcs", "bucket": "lab", "path": "a/"}
    assert find_place("gs://lab").spec == {"driver": "gcs", "bucket": "lab", "path": ""}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    expected = {"driver": "s3", "bucket": "lab", "path": "", "endpoint": "http://minio:9000"}
    assert find_place("s3://lab").spec == expected | {"aws_region": "eu-north-1"}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://ceph")
    assert find_place("s3://lab").spec["endpoint"] == "http://ceph"
    for wrong in ("ftp://lab/a", "s3://", "s3://no_bucket!/a", "s3://lab/a?b"):
        with pytest.raises(InvalidParameterError, match="is no place for an output"):
            find_place(wrong)


def test_a_damaged_ledger(url: str) -> None:
    folder = find_place(url) / "ledger"
    write(folder / "000000003.json", b'{"done": 1}')
    with pytest.raises(berg_jax.errors.IntegrityError, match=rf"{url}/ledger/000000003.json is no entry"):
        Ledger(folder, 10, 4).entries()
