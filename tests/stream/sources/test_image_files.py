"""Where images come from: lists and folders of files; that they are Pillow's pixels; and what is refused."""

from __future__ import annotations

import io
import itertools
import os
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from berg_jax.demo import photographs
from berg_jax.errors import ModelNotFoundError, StimulusError
from berg_jax.model.nn.preprocess import STD, preprocess
from berg_jax.stream.sources import decoding
from berg_jax.stream.sources.folders import FolderSource, ListSource
from berg_jax.stream.sources.image_files import fit_square
from berg_jax.stream.sources.subset import Subset

from .image_files import by_pillow, encoded, pixels

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
        (
            b"good.png\nwide.png\n",
            StimulusError,
            r"list\.txt, line 2: .*wide\.png is not square: 9 × 8 .*--fit-images",
        ),
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
    monkeypatch.setattr(decoding, "simplejpeg", None)
    before = len(calls)
    np.testing.assert_array_equal(FolderSource(folder).read([0])[0], by_pillow(contents))
    assert len(calls) == before
