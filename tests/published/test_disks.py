"""Fetching to disks that are full, small or read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from berg_jax.errors import ResourceError
from berg_jax.published.berg_dir import MODEL_FOLDER, SubjectFiles

from .server import RANGE, Handler, Server, assert_fetched, fetch, journaled, part1, spans


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
    with pytest.raises(ResourceError, match=r"Fetching needs \d\.\d\d MB of disk at"):
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
