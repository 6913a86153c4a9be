"""Where images come from: lists, tar shards, zarr, generators; that they are Pillow's pixels; and what is refused."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import itertools
import json
import lzma
import os
import pickle
import random
import shutil
import struct
import tarfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr
from PIL import Image

from berg_jax.demo import photographs
from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError, ResourceError, StimulusError
from berg_jax.nn.preprocess import STD, preprocess
from berg_jax.stream import sources
from berg_jax.stream.arrays import ArraySource, Subset
from berg_jax.stream.generated import GeneratedSource
from berg_jax.stream.opening import open_source
from berg_jax.stream.sources import FolderSource, ListSource, fit_square, resize
from berg_jax.stream.tars import TarSource


def pixels(seed: int, height: int = 16, width: int | None = None) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width or height, 3), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(contents: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(contents)).convert("RGB")).transpose(2, 0, 1)


def member(name: str, contents: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    item = tarfile.TarInfo(name)
    item.size = len(contents)
    for field, value in fields.items():
        setattr(item, field, value)
    return item, contents


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for item, contents in members:
            archive.addfile(item, io.BytesIO(contents))
    return path


def png(name: str, seed: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, encoded(pixels(seed)))


# Lists


def test_a_list_keeps_its_order(tmp_path: Path) -> None:
    (tmp_path / "here" / "sub").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    names = ["here/b.png", "here/sub/a b.png", "there/c.png", "here/10.png", "here/#2.png"]
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(pixels(seed)))
    (tmp_path / "here" / "list.csv").write_bytes(
        b"\xef\xbb\xbf# my images\r\n\r\nsub/a b.png  \r\n./b.png\r\n"
        b"  ../there/c.png\n10.png\n   # not this\n./#2.png"
    )
    source = ListSource(tmp_path / "here" / "list.csv")
    assert source.ids == ["sub/a b.png", "b.png", "../there/c.png", "10.png", "#2.png"]
    assert len(source) == 5
    expected = np.stack([pixels(seed).transpose(2, 0, 1) for seed in (1, 0, 2, 3, 4)])
    np.testing.assert_array_equal(source.read(range(5)), expected)
    assert Subset(source, np.array([2])).ids == ["../there/c.png"]


def test_absolute_paths_do_not_reach_names_or_fingerprint(tmp_path: Path) -> None:
    fingerprints = set()
    for place in ("one", "two/deeper"):
        folder = tmp_path / place
        (folder / "x").mkdir(parents=True)
        (folder / "y").mkdir()
        for seed, name in enumerate(("x/1.png", "y/1.png")):
            (folder / name).write_bytes(encoded(pixels(seed)))
        listing = folder.parent / "list.txt"
        listing.write_text(f"{folder}/y/1.png\n{folder}/x/1.png\n")
        source = ListSource(listing)
        assert source.ids == ["y/1.png", "x/1.png"]
        fingerprints.add(source.fingerprint)
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (b"good.png\n\ngood.png\n", StimulusError, r"list\.txt, line 3: 'good\.png' stands in line 1 already"),
        (b"good.png\n./good.png\n", StimulusError, r"line 2: 'good\.png' stands in line 1 already"),
        (b"# one\ngood.png\ngone.png", ModelNotFoundError, r"list\.txt, line 3: there is no file .*gone\.png"),
        (b"good.png,1\n", ModelNotFoundError, r"line 1: there is no file .*good\.png,1\. Give the path of one image"),
        (b"sub\n", ModelNotFoundError, "line 1: there is no file"),
        (b"a\0b.png\n", ModelNotFoundError, "line 1: there is no file"),
        (b"good.png\nbad.png\n", StimulusError, r"list\.txt, line 2: .*bad\.png cannot be read as an image"),
        (b"good.png\nwide.png\n", StimulusError, r"list\.txt, line 2: .*wide\.png is not square: 9 × 8 .*--fit crop"),
        (b"\n# nothing\n", StimulusError, "lists no images"),
        (b"\xff\xfe\x00", StimulusError, "cannot be read as text"),
    ],
)
def test_bad_lists_name_the_line(text: bytes, error: type, said: str, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encoded(pixels(0)))
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "wide.png").write_bytes(encoded(pixels(0, 8, 9)))
    (tmp_path / "sub").mkdir()
    (tmp_path / "list.txt").write_bytes(text)
    with pytest.raises(error, match=said):
        ListSource(tmp_path / "list.txt")


# Folders, and what all image files have in common


def test_the_first_bad_file_is_named(tmp_path: Path) -> None:
    for index in range(300):
        (tmp_path / f"{index}.ppm").write_bytes(b"bad" if index in (99, 170, 171) else b"P6 1 1 255 abc")
    with pytest.raises(StimulusError, match=r"/99\.ppm cannot be read"):
        FolderSource(tmp_path)


def test_names_that_cannot_be_stored(tmp_path: Path) -> None:
    for name in (b"a\xff.png", b"a\nb.png", b"\x1b[2Ja.png"):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "wb") as file:
            file.write(encoded(pixels(0)))
        with pytest.raises(StimulusError, match="Rename it"):
            FolderSource(tmp_path)
        os.remove(path)


def test_no_decoder_that_starts_programs(tmp_path: Path) -> None:
    """Pillow hands PostScript to an interpreter, whatever the file is called."""
    contents = io.BytesIO()
    Image.new("RGB", (8, 8)).save(contents, "EPS")
    (tmp_path / "a.png").write_bytes(contents.getvalue())
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "EPS"
    with pytest.raises(StimulusError, match=r"a\.png cannot be read as an image"):
        FolderSource(tmp_path)


@pytest.mark.parametrize(("side", "kind"), [(30, "PNG"), (40, "PNG"), (40, "JPEG")])
def test_huge_images_are_refused(side: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encoded(pixels(0, side), kind))
    source = FolderSource(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # at twice this Pillow raises, before that it warns
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for attempt in (lambda: FolderSource(tmp_path), lambda: source.read([0])):
            with pytest.raises(StimulusError, match=r"a\.png is too large"):
                attempt()


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(pixels(0)))
    os.truncate(tmp_path / "a.png", 1 << 33)
    with pytest.raises(StimulusError, match=r"a\.png is too large: 8,589,934,592 bytes"):
        FolderSource(tmp_path)


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(pixels(0)))
    uniform = FolderSource(tmp_path)
    (tmp_path / "b.png").write_bytes(encoded(pixels(0, 20)))
    with pytest.raises(StimulusError, match=r"b\.png has changed: it is 20 × 20 pixels now"):
        uniform.read([0, 1])
    mixed = FolderSource(tmp_path)
    (tmp_path / "b.png").write_bytes(encoded(pixels(0, 20, 21)))
    with pytest.raises(StimulusError, match=r"b\.png has changed: it is 21 × 20 pixels now"):
        mixed.read([1])
    (tmp_path / "b.png").write_bytes(encoded(pixels(0)))
    stretched = FolderSource(tmp_path, "stretch")
    (tmp_path / "b.png").write_bytes(encoded(pixels(0, 16, 17)))
    with pytest.raises(StimulusError, match=r"b\.png has changed: it is 17 × 16 pixels now"):
        stretched.read([1])
    (tmp_path / "b.png").unlink()
    with pytest.raises(StimulusError, match=r"b\.png cannot be read"):
        mixed.read([1])


@pytest.mark.parametrize(
    ("shape", "fit"), [((64, 64), "error"), ((448, 448), "error"), ((300, 425), "crop"), ((300, 425), "pad")]
)
def test_resized_on_the_device_or_on_the_host(shape: tuple[int, int], fit: str, tmp_path: Path) -> None:
    """Images of one size are handed on as they are; among others they are resized here: the network sees the same."""
    images = [pixels(seed, *shape) for seed in range(2)]
    for name, image in zip("ab", images, strict=True):
        (tmp_path / f"{name}.png").write_bytes(encoded(image))
    uniform = FolderSource(tmp_path, fit).read([0, 1])
    assert uniform.dtype == np.uint8
    np.testing.assert_array_equal(uniform, np.stack([fit_square(i, fit).transpose(2, 0, 1) for i in images]))
    (tmp_path / "z.png").write_bytes(encoded(pixels(0, 32)))
    mixed = FolderSource(tmp_path, fit).read([0, 1])
    assert mixed.shape == (2, 3, 224, 224)
    assert mixed.dtype == np.float32
    seen = [np.asarray(preprocess(jnp.asarray(batch)), np.float64) for batch in (uniform, mixed)]
    levels = 255 * np.array(STD)[:, None, None]
    np.testing.assert_allclose(seen[0] * levels, seen[1] * levels, atol=1e-3)


def test_when_images_are_resized_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(pixels(0, 449)))  # more bytes than 224 × 224 floats
    assert FolderSource(tmp_path).read([0]).dtype == np.float32
    (tmp_path / "a.png").write_bytes(encoded(pixels(0, 30, 20)))
    assert FolderSource(tmp_path, "stretch").read([0]).dtype == np.float32
    (tmp_path / "b.png").write_bytes(encoded(pixels(1, 20, 40)))
    for fit, side in (("crop", 20), ("pad", 224)):  # sides of 30 and 40
        images = FolderSource(tmp_path, fit).read([0, 1])
        assert images.shape == (2, 3, side, side)
        assert images.dtype == (np.uint8 if fit == "crop" else np.float32)


def test_a_repeated_index_gives_the_image_again(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.png").write_bytes(encoded(pixels(seed, 16 + seed)))
    source = FolderSource(tmp_path)
    once = source.read([0, 1, 2])
    np.testing.assert_array_equal(source.read(np.array([2, 0, 0, 2, 1, 1, 1])), once[[2, 0, 0, 2, 1, 1, 1]])


def jpegs() -> list[bytes]:
    photos = [Image.open(path).convert("RGB") for path in photographs().values()]
    found = []
    for side, (index, photo) in itertools.product((1, 7, 16, 33, 256), enumerate(photos)):
        image = photo.resize((side, side))
        for quality, subsampling in itertools.product((30, 95), (0, 1, 2)):
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=quality, subsampling=subsampling, progressive=side > 16 and index == 1)
            found.append(stream.getvalue())
        for mode in ("L", "CMYK"):
            stream = io.BytesIO()
            image.convert(mode).save(stream, "JPEG")
            found.append(stream.getvalue())
    return found


def test_jpegs_are_pillow_s_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without simplejpeg, to the bit; damaged ones as well."""
    simplejpeg = pytest.importorskip("simplejpeg")
    all_jpegs = jpegs()
    damaged = bytearray(all_jpegs[-3])
    damaged[len(damaged) // 2 : len(damaged) // 2 + 40] = b"\x55" * 40
    all_jpegs.append(bytes(damaged))
    calls = []
    decode = simplejpeg.decode_jpeg
    with pytest.raises(ValueError, match="JPEG"):
        decode(bytes(damaged))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **options: calls.append(1) or decode(*a, **options))
    for number, contents in enumerate(all_jpegs):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.jpg").write_bytes(contents)
        np.testing.assert_array_equal(FolderSource(folder).read([0])[0], by_pillow(contents))
    assert len(calls) > 0.8 * len(all_jpegs)  # all but CMYK
    monkeypatch.setattr(sources, "simplejpeg", None)
    before = len(calls)
    np.testing.assert_array_equal(FolderSource(folder).read([0])[0], by_pillow(contents))
    assert len(calls) == before


# Tar shards


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
    with pytest.raises(StimulusError, match=f"holds more after byte {end:,}|two images of one key"):
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
        ([png("a.png"), png("a.png")], "'a.png' and 'a.png', two images of one key"),
        ([png("x/a.png"), png("x/a.seg.png")], "'x/a.png' and 'x/a.seg.png', two images of one key"),
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


# Zarr


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(version: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 5), dtype=np.uint8)
    options = {"zarr_format": version, "chunks": (2, 3, 5, 5)}
    zarr.create_array(tmp_path / "array.zarr", data=images, **options)
    group = zarr.create_group(tmp_path / "group.zarr", zarr_format=version)
    group.create_array("labels", data=np.arange(7))
    group.create_group("deep").create_array("er", data=images.transpose(0, 2, 3, 1), chunks=(3, 5, 5, 3))
    indices = [6, 0, 0, 3]
    fingerprints = set()
    for name in ("array.zarr", "group.zarr"):
        source = open_source(tmp_path / name)
        assert len(source) == 7
        assert source.ids == list("0123456")
        np.testing.assert_array_equal(source.read(indices), images[indices])
        with ThreadPoolExecutor(4) as pool:
            for read in pool.map(source.read, [indices] * 20):
                np.testing.assert_array_equal(read, images[indices])
        fingerprints.add(source.fingerprint)
    assert len(fingerprints) == 2
    np.save(tmp_path / "same.npy", images)
    assert ArraySource(tmp_path / "same.npy").fingerprint in fingerprints
    zarr.open(tmp_path / "group.zarr")["deep"].create_array("second", data=images)
    with pytest.raises(
        StimulusError, match=r"2 arrays of four axes \['deep/er', 'deep/second'\], expected exactly one"
    ):
        ArraySource(tmp_path / "group.zarr")


def test_sharded_zarr_of_floats(tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (8, 3, 4, 4)).astype(np.float32)
    images[5, 0, 0, 0] = 300
    zarr.create_array(tmp_path / "a.zarr", data=images, chunks=(1, 3, 4, 4), shards=(4, 3, 4, 4))
    source = ArraySource(tmp_path / "a.zarr")
    np.testing.assert_array_equal(source.read([7, 2]), images[[7, 2]])
    with pytest.raises(StimulusError, match=r"a\.zarr, images 4 to 5: .*0–255"):
        source.read([4, 5])
    next(path for path in tmp_path.rglob("c/1/*/*/*") if path.is_file()).write_bytes(b"damaged")
    with pytest.raises(StimulusError, match=r"a\.zarr cannot be read"):
        source.read([7])


def test_zarr_that_holds_no_images(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no folder"):
        ArraySource(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(StimulusError, match=r"a\.zarr cannot be read"):
        ArraySource(tmp_path / "a.zarr")
    for text in ("{", "[]", "null", '{"zarr_format": 3, "node_type": "array"}'):
        (tmp_path / "a.zarr" / "zarr.json").write_text(text)
        with pytest.raises(StimulusError, match=r"a\.zarr cannot be read"):
            ArraySource(tmp_path / "a.zarr")
    zarr.create_group(tmp_path / "b.zarr").create_array("responses", data=np.zeros((3, 4)))
    with pytest.raises(StimulusError, match=r"0 arrays of four axes"):
        ArraySource(tmp_path / "b.zarr")
    zarr.create_array(tmp_path / "c.zarr", data=np.zeros((3, 4), np.uint8))
    with pytest.raises(StimulusError, match=r"0 arrays of four axes"):
        ArraySource(tmp_path / "c.zarr")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_zarr_never_unpickles(dtype: str, tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    array = {"zarr_format": 2, "shape": [1, 3, 2, 2], "chunks": [1, 3, 2, 2], "dtype": dtype, "order": "C"}
    array |= {"compressor": None, "fill_value": 0, "filters": [{"id": "pickle", "protocol": 5}]}
    (folder / ".zarray").write_text(json.dumps(array))
    (folder / "0.0.0.0").write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    with pytest.raises(StimulusError, match="cannot be read"):
        ArraySource(folder).read([0])
    assert not (tmp_path / "evil").exists()


# Generated images


def noise(key: jax.Array, indices: jax.Array) -> jax.Array:
    return jax.vmap(lambda index: jax.random.uniform(jax.random.fold_in(key, index), (3, 8, 8), maxval=255))(indices)


def gratings(key: jax.Array, indices: jax.Array) -> jax.Array:
    seed = jax.random.key_data(key)[-1]
    x, y, channel = jnp.arange(9.0)[None, None, None], jnp.arange(9.0)[None, None, :, None], jnp.arange(3.0)
    angle, phase = (indices * 0.1)[:, None, None, None], seed + channel[None, :, None, None]
    return 127.5 + 127.5 * jnp.sin(x * jnp.cos(angle) + y * jnp.sin(angle) + phase)


def flat(key: jax.Array, indices: jax.Array) -> jax.Array:
    return jnp.broadcast_to(indices[:, None, None, None] * 10.0, (len(indices), 3, 8, 8))


@pytest.mark.parametrize("generate", [gratings, pytest.param(noise, marks=pytest.mark.nightly)])
def test_generated_images_are_the_same_in_every_batch(generate: Callable) -> None:
    source = GeneratedSource(generate, jax.random.key(3), 100, "image", 1)
    chance = np.random.default_rng(0)
    seen: dict[int, np.ndarray] = {}
    for _ in range(40):
        indices = chance.integers(0, 100, 8)
        images = source.read(indices)
        assert isinstance(images, jax.Array)
        assert images.shape == (8, 3, *source.shape[1:])
        for index, image in zip(indices, np.asarray(images), strict=True):
            np.testing.assert_array_equal(image, seen.setdefault(int(index), image))
    assert len(seen) > 80
    assert len({image.tobytes() for image in seen.values()}) == len(seen)
    if generate is gratings:
        channel, y, x = np.mgrid[:3, :9, :9]
        expected = 127.5 + 127.5 * np.sin(x * np.cos(4.2) + y * np.sin(4.2) + 3 + channel)
    else:
        expected = jax.random.uniform(jax.random.fold_in(jax.random.key(3), 42), (3, 8, 8), maxval=255)
    np.testing.assert_allclose(source.read([42] * 8)[5], expected, atol=1e-3)


def test_generators_compile_once_a_batch_size() -> None:
    traced = []

    def counted(key: jax.Array, indices: jax.Array) -> jax.Array:
        assert indices.dtype == jnp.int32
        traced.append(indices.shape)
        return flat(key, indices)

    source = GeneratedSource(counted, jax.random.key(3), 20, "flat", 1)
    traced.clear()
    for indices in (range(8), [7] * 8, np.arange(8, 16), jnp.arange(8)):
        images = source.read(indices)
        np.testing.assert_array_equal(images[:, 0, 0, 0], 10 * np.asarray(indices))
    assert traced == [(8,)]
    source.read([1, 2])
    assert traced == [(8,), (2,)]


def test_generated_images_have_names_and_a_fingerprint() -> None:
    made = {"generate": flat, "key": jax.random.key(0), "n": 3, "name": "flat", "version": 1}
    source = GeneratedSource(**made)
    assert len(source) == 3
    assert source.ids == ["flat-0", "flat-1", "flat-2"]
    assert GeneratedSource(**made).fingerprint == source.fingerprint
    changes = [
        {"key": jax.random.key(1)},
        {"key": jax.random.key(0, impl="rbg")},
        {"n": 4},
        {"name": "fla"},
        {"version": 2},
        {"version": "1"},
        {"generate": lambda key, indices: flat(key, indices)[..., :4, :4]},
        {"generate": lambda key, indices: flat(key, indices).astype(jnp.uint8)},
    ]
    others = {GeneratedSource(**{**made, **change}).fingerprint for change in changes}
    assert len(others | {source.fingerprint}) == 9
    part = Subset(source, np.array([2, 0]))
    assert part.ids == ["flat-2", "flat-0"]
    np.testing.assert_array_equal(part.read([0, 1]), source.read([2, 0]))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"n": 0}, InvalidParameterError, "n must be"),
        ({"n": 1 << 31}, InvalidParameterError, "n must be"),
        ({"n": 2.0}, InvalidParameterError, "n must be"),
        ({"key": 3}, InvalidParameterError, r"one key of jax\.random\.key"),
        ({"key": jax.random.split(jax.random.key(0))}, InvalidParameterError, "one key"),
        ({"key": jax.random.PRNGKey(0)}, InvalidParameterError, "one key"),
        ({"name": ""}, InvalidParameterError, "name and version"),
        ({"version": None}, InvalidParameterError, "name and version"),
        ({"generate": lambda key, indices: flat(key, indices)[..., :4]}, StimulusError, "square, got 8 × 4"),
        ({"generate": lambda key, indices: flat(key, indices)[0]}, StimulusError, "got shape"),
        ({"generate": lambda key, indices: flat(key, indices)[:, :1]}, StimulusError, "3 channels"),
        ({"generate": lambda key, indices: flat(key, indices)[:1]}, StimulusError, "1 images of 2 numbers"),
        ({"generate": lambda key, indices: flat(key, indices) > 3}, StimulusError, "bool"),
        ({"generate": lambda key, indices: (flat(key, indices),)}, StimulusError, "got tuple"),
    ],
)
def test_generators_that_make_no_images(change: dict, error: type, said: str) -> None:
    made = {"generate": flat, "key": jax.random.key(0), "n": 3, "name": "flat", "version": 1}
    with pytest.raises(error, match=said):
        GeneratedSource(**{**made, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images / 60, "look like 0–1"),
        (lambda images: images - 200, "must be in 0–255, got -"),
        (lambda images: images.at[1, 0, 0, 0].set(jnp.nan), "NaN"),
        (lambda images: images.at[1, 0, 0, 0].set(jnp.inf), "NaN or infinity"),
        (lambda images: images.astype(jnp.int32) * 7, "must be in 0–255, got"),
    ],
)
def test_generated_values_out_of_range(change: Callable, said: str) -> None:
    source = GeneratedSource(lambda key, indices: change(flat(key, indices)), jax.random.key(0), 9, "bad", 1)
    with pytest.raises(StimulusError, match=f"bad-4 to bad-6: .*{said}"):
        source.read([4, 5, 6])


# From a path


def test_what_a_path_stands_for(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(encoded(pixels(0)))
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "a.tar", png("a.png"))
    (tmp_path / "shards" / "meta.json").touch()
    (tmp_path / "list.TXT").write_text("images/a.png")
    np.save(tmp_path / "a.npy", pixels(0).transpose(2, 0, 1)[None])
    zarr.create_array(tmp_path / "a.zarr", data=pixels(0)[None])
    for name, kind, ids in (
        ("images", FolderSource, ["a.png"]),
        ("shards", TarSource, ["a/a.png"]),
        ("shards/a.tar", TarSource, ["a/a.png"]),
        ("list.TXT", ListSource, ["images/a.png"]),
        ("a.npy", ArraySource, ["0"]),
        ("a.zarr", ArraySource, ["0"]),
    ):
        source = open_source(str(tmp_path / name))
        assert type(source) is kind
        assert source.ids == ids
        np.testing.assert_array_equal(source.read([0]), pixels(0).transpose(2, 0, 1)[None])
        if kind is not ArraySource:
            with pytest.raises(InvalidParameterError, match="layout is for arrays"):
                open_source(tmp_path / name, layout="NCHW")
        with pytest.raises(InvalidParameterError, match="fit must be one of"):
            open_source(tmp_path / name, "zoom")
    (tmp_path / "shards" / "b.png").write_bytes(encoded(pixels(1)))
    assert open_source(tmp_path / "shards").ids == ["b.png"]
    assert open_source(tmp_path / "a.zarr", layout="NHWC").layout == "NHWC"


def test_paths_that_stand_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InvalidParameterError, match=r"a\.mp4 is no source of images: give a folder.*\.npy.*\.tar"):
        open_source(tmp_path / "a.mp4")
    for name, said in (
        ("no", r"folder .*no\. Give a folder of image files, or a \.npy"),
        ("no.png", r"file .*no\.png\. Give a folder of image files, or a \.npy"),
        ("no.npy", "file"),
        ("no.zarr", "folder"),
        ("no.tar", "file"),
        ("no.txt", ""),
    ):
        with pytest.raises(ModelNotFoundError, match=f"There is no {said}"):
            open_source(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StimulusError, match="holds no image files"):
        open_source(tmp_path / "empty")
