"""Fetching from real servers on loopback: what is asked for, once; checked, and checked in."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from berg_jax.errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.files.disk import sha256
from berg_jax.published import fetch as module
from berg_jax.published.berg_dir import MODEL_FOLDER, PUBLISHED, SubjectFiles
from berg_jax.published.fetch import CHECKSUMS, plan, plan_text

from .server import Server, assert_fetched, fetch, part1, spans


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
        ({"subject_ids": [0]}, "subject must be"),
        ({"subject_ids": "1"}, "subject must be"),
        ({"subject_ids": []}, "at least one subject"),
        ({"range_size": 0}, "range_size must be at least 1"),
        ({"connections": 0}, "connections must be at least 1"),
        ({"attempts": 0}, "attempts must be at least 1"),
        *(({"mirror": url}, "mirror must") for url in ("", "gs://bucket", "s3://", "s3://a b", "https://u:p@host")),
        *(({"mirror": url}, "mirror must") for url in ("http://h/?key=1", "http://[", "file://folder", "bucket")),
    ],
)
def test_arguments(change: dict, said: str, tmp_path: Path) -> None:
    arguments = {"subject_ids": [1], "berg_dir": tmp_path / "berg", **change}
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
