"""Tar shards: read as webdataset writes them, shared by threads; cut, hostile and damaged ones are refused."""

from __future__ import annotations

import bz2
import gc
import gzip
import lzma
import os
import random
import shutil
import struct
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError, ResourceError, StimulusError
from berg_jax.stream.sources.image_files import resize
from berg_jax.stream.sources.open import open_source
from berg_jax.stream.sources.tars import TarSource

from .image_files import by_pillow, encoded, member, pixels, png, write_tar


def test_shards_as_webdataset_writes_them(tmp_path: Path) -> None:
    photo = encoded(pixels(9, 16), "JPEG")
    write_tar(
        tmp_path / "train-10.tar",
        png("b.png", 1),
        member("b.json", b"{}"),
        member("b.cls", b"3"),
        member("v1.0", type=tarfile.DIRTYPE),
        png("v1.0/b.png", 2),
        member("._b.png", b"what macOS leaves"),
        member("folder.png", type=tarfile.DIRTYPE),
        member("a.0.JPG", photo),
    )
    long = "é" * 200 + "/x.png"
    write_tar(tmp_path / "train-9.tar", png("./z.png", 3), png(long, 4), form=tarfile.GNU_FORMAT)
    write_tar(tmp_path / "train-11.tar", member("notes.txt", b"none here"))
    (tmp_path / "train.idx").touch()
    source = TarSource(tmp_path)
    assert source.ids == [
        "train-9/z.png",
        f"train-9/{long}",
        "train-10/b.png",
        "train-10/v1.0/b.png",
        "train-10/a.0.JPG",
    ]
    expected = [pixels(seed).transpose(2, 0, 1) for seed in (3, 4, 1, 2)] + [by_pillow(photo)]
    np.testing.assert_array_equal(
        source.read([4, 0, 1, 1, 2, 3]), np.stack([expected[i] for i in (4, 0, 1, 1, 2, 3)])
    )
    one = TarSource(tmp_path / "train-10.tar")
    assert one.ids == source.ids[2:]
    assert TarSource([tmp_path / "train-10.tar", tmp_path / "train-9.tar"]).ids == source.ids[2:] + source.ids[:2]
    assert len({one.fingerprint, source.fingerprint}) == 2
    moved = shutil.copytree(tmp_path, tmp_path / "elsewhere" / "deep")
    os.utime(moved / "train-9.tar", (0, 0))
    assert TarSource(moved).fingerprint == source.fingerprint


def test_threads_share_a_shard(tmp_path: Path) -> None:
    images = [pixels(seed, 20 + seed % 3) for seed in range(60)]
    members = [member(f"{number}.png", encoded(image)) for number, image in enumerate(images)]
    source = TarSource(write_tar(tmp_path / "a.tar", *members))
    batches = np.random.default_rng(0).integers(0, 60, (40, 5))
    with ThreadPoolExecutor(8) as pool:
        for indices, read in zip(batches, pool.map(source.read, batches), strict=True):
            expected = np.stack([resize(images[index]).transpose(2, 0, 1) for index in indices])
            np.testing.assert_array_equal(read, expected)


def test_shards_are_closed_with_the_last_that_needs_them(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open files cannot be listed here")
    path = write_tar(tmp_path / "a.tar", png("a.png", 5))

    def opened() -> int:
        gc.collect()
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return sum(os.readlink(link) == str(path) for link in links if os.path.islink(link))

    source = TarSource(path)
    assert opened() == 1
    file = source.files[0]
    del source
    with file.open() as stream:
        assert stream.read() == encoded(pixels(5))
    del file, stream
    assert opened() == 0
    write_tar(path, png("a.png"), png("a.png"))
    with pytest.raises(StimulusError):
        TarSource(path)
    assert opened() == 0


def test_a_cut_shard_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    """Cut between two members, tarfile itself sees nothing wrong."""
    path = write_tar(tmp_path / "a.tar", png("a.png", 0), member("a.json", b"{}"), png("b.png", 1))
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    assert len(whole) > end + 512
    for length in sorted({*range(0, end + 1, 128), *range(1, end, 512)}):
        path.write_bytes(whole[:length])
        with pytest.raises(StimulusError, match=r"a\.tar"):
            TarSource(path)
    path.write_bytes(whole[: end + 512])
    assert len(TarSource(path)) == 2
    source = TarSource(path)
    os.truncate(path, end - 600)
    with pytest.raises(StimulusError, match=r"'b\.png' cannot be read as an image: .*shorter than it was"):
        source.read([1])
    path.write_bytes(whole[:end] + whole)
    with pytest.raises(StimulusError, match=f"holds more after byte {end:,}|twice"):
        TarSource(path)
    path.write_bytes(whole + whole)
    with pytest.raises(StimulusError, match=f"holds more after byte {end:,}: a damaged header, or a second archive"):
        TarSource(path)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([png("../../evil.png")], r"'\.\./\.\./evil\.png', a name that leads out of it"),
        ([png("/etc/evil.png")], "a name that leads out of it"),
        ([png("a/../../evil.png")], "a name that leads out of it"),
        ([png("a\nb.png")], "Rename it"),
        ([png("a\udcffb.png")], "Rename it"),
        ([png("\x1b[2Jb.png")], r"\\x1b.*Rename it"),
        ([member("a.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "'a.png', a link to '/etc/passwd'"),
        ([png("b.png"), member("a.png", type=tarfile.LNKTYPE, linkname="b.png")], "'a.png', a link to 'b.png'"),
        ([member("a.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5)], "'a.png', which is no plain file"),
        ([member("a.png", type=tarfile.FIFOTYPE)], "'a.png', which is no plain file"),
        ([member("a.png", encoded(pixels(0)), pax_headers={"size": str(1 << 50)})], "ends before|cannot be read"),
        ([member("a.png", encoded(pixels(0)), pax_headers={"size": "-5"})], "a.tar"),
        (
            [member("a.png", encoded(pixels(0)), pax_headers={"GNU.sparse.map": "0,800"})],
            "'a.png', which is no plain file",
        ),
        ([png("a.png"), png("a.png")], "'a.png' twice. Write it again, each image once"),
        ([member("a.png", b"")], "'a.png' cannot be read as an image"),
        ([member("a.png", b"no image")], r"a\.tar: 'a\.png' cannot be read as an image"),
        ([member("a.png", encoded(pixels(0, 8, 9)))], r"'a\.png' is not square: 9 × 8"),
        ([member("a.txt", b"text")], "holds no image files"),
        ([], "holds no image files|empty"),
    ],
)
def test_hostile_shards(members: list, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    path = write_tar(folder / "a.tar", *members)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StimulusError, match=said):
        TarSource(path)
    assert sorted(tmp_path.rglob("*")) == before


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(struct.pack("100s8s8s8s12s12s8sc", name, b"644", b"0", b"0", size, b"0", b" " * 8, kind))
    block += bytes(512 - len(block))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [b"0", b"x", b"g", b"L", b"S", b"K", b"1"])
@pytest.mark.parametrize(
    "size",
    [
        b"77777777777",
        b"\x80" + b"\xff" * 11,
        b"\x80" + bytes(6) + b"\x10" + bytes(4),
        b"\xff" * 10 + b"\xfe\0",
        b"abc",
    ],
    ids=["8 GB", "2^88", "64 GB", "negative", "no number"],
)
def test_made_up_sizes(size: bytes, kind: bytes, tmp_path: Path) -> None:
    """Beyond the end, negative (at which some versions of tarfile go in circles), and none."""
    path = write_tar(tmp_path / "a.tar", png("a.png"))
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(whole[:end] + header(b"b.png" if kind == b"1" else b"b.json", size, kind) + bytes(1024))
    with pytest.raises(StimulusError, match=r"a\.tar"):
        TarSource(path)


def test_a_size_for_all_members(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", png("a.png"))
    whole = path.read_bytes()
    path.write_bytes(header(b"g", b"15", b"g") + b"14 size=20000\n".ljust(512, b"\0") + whole)
    with pytest.raises(StimulusError, match=r"a\.tar ends before its member 'a\.png' does"):
        TarSource(path)


def test_headers_that_nest_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(header(b"a.png", b"0", b"x") * 5000 + bytes(1024))
    with pytest.raises(StimulusError, match="cannot be read as a tar file"):
        TarSource(tmp_path / "a.tar")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 40))])
def test_damaged_shards_raise_nothing_else(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    kinds = (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP"))
    members = [member(f"{'long' * 30}/{end}.{end}", encoded(pixels(0), kind)) for end, kind in kinds]
    whole = write_tar(tmp_path / "a.tar", *members).read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 2, 5))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 255, 49, 55, chance.randrange(256)))
        (tmp_path / "a.tar").write_bytes(damaged)
        try:
            source = TarSource(tmp_path / "a.tar")
            source.read(range(len(source)))
        except BERGError:
            continue
        assert len(source) <= 4


@pytest.mark.parametrize(
    ("compress", "kind"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")]
)
def test_compressed_shards(compress: Callable[[bytes], bytes], kind: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", png("a.png"))
    path.write_bytes(compress(path.read_bytes()))
    with pytest.raises(StimulusError, match=rf"a\.tar is compressed \({kind}\).*Undo the compression"):
        TarSource(path)
    path.rename(tmp_path / "a.tar.gz")
    with pytest.raises(InvalidParameterError, match=r"is compressed \(\.gz\).*Undo the compression"):
        open_source(tmp_path / "a.tar.gz")


def test_shards_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.tar").mkdir()
    os.mkfifo(tmp_path / "pipe.tar")
    for path in ([tmp_path / "a.tar"], [tmp_path / "folder.tar"], tmp_path / "pipe.tar"):
        with pytest.raises(ModelNotFoundError, match="There is no file"):
            TarSource(path)
    for path in (tmp_path, []):
        with pytest.raises(StimulusError, match=r"holds no \.tar files"):
            TarSource(path)
    (tmp_path / "other").mkdir()
    paths = [write_tar(folder / "a.tar", png("a.png")) for folder in (tmp_path, tmp_path / "other")]
    with pytest.raises(StimulusError, match="would give their images the same names"):
        TarSource(paths)
    with pytest.raises(InvalidParameterError, match="fit must be one of"):
        TarSource(paths[0], "zoom")


def test_too_many_shards(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open files cannot be listed here")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    for number in range(highest + 20):
        write_tar(tmp_path / f"{number}.tar", png("a.png"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"raise the limit \(ulimit -n\)"):
            TarSource(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_members_whose_names_have_dots_are_images_of_their_own(tmp_path: Path) -> None:
    """A tar with `face.1.png`, `face.2.png`, `x/a.png` and `x/a.seg.png` → four images, by their whole names."""
    names = ["face.1.png", "face.2.png", "x/a.png", "x/a.seg.png"]
    source = TarSource(write_tar(tmp_path / "a.tar", *(png(name, seed) for seed, name in enumerate(names))))
    assert source.ids == [f"a/{name}" for name in names]
    np.testing.assert_array_equal(source.read([3])[0], pixels(3).transpose(2, 0, 1))
