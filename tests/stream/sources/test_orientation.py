"""Photographs that a camera stored turned or mirrored: they are encoded upright, as viewers show them."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from berg_jax import read_images
from berg_jax.errors import StimulusError
from berg_jax.stream.sources import decoding
from berg_jax.stream.sources.contents import file_digest
from berg_jax.stream.sources.folders import FolderSource
from berg_jax.stream.sources.tars import TarSource

from .image_files import encoded, member, pixels, write_tar


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def shown(contents: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(contents)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("fast", [True, False])
def test_all_eight_orientations(kind: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(decoding, "simplejpeg", None)
    for orientation in range(1, 9):
        contents = encoded(pixels(0, 16, 24), kind, exif=exif(orientation))
        path = tmp_path / f"a.{kind.lower()}"
        path.write_bytes(contents)
        expected = shown(contents)
        assert expected.shape == ((24, 16, 3) if orientation > 4 else (16, 24, 3))
        with pytest.raises(StimulusError, match="16 × 24 pixels" if orientation > 4 else "24 × 16 pixels"):
            FolderSource(tmp_path)
        square = expected[4:-4] if orientation > 4 else expected[:, 4:-4]
        np.testing.assert_array_equal(FolderSource(tmp_path, "crop").read([0])[0].transpose(1, 2, 0), square)
        np.testing.assert_array_equal(read_images(path, fit="crop")[0].transpose(1, 2, 0), square)


def test_a_phone_s_photograph_is_upright_in_a_tar_file_too(tmp_path: Path) -> None:
    """A phone stored a photograph turned, with a tag that says so → it is encoded upright."""
    stored = pixels(0, 16)
    shard = write_tar(tmp_path / "shard.tar", member("a.png", encoded(stored, exif=exif(6))))
    np.testing.assert_array_equal(TarSource(shard).read([0])[0].transpose(1, 2, 0), np.rot90(stored, -1))


def test_orientation_in_xmp_or_behind_the_pixels(tmp_path: Path) -> None:
    stored = pixels(0, 16)
    xmp = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
    (tmp_path / "a.jpg").write_bytes(encoded(stored, "JPEG", xmp=xmp))
    tagged, plain = encoded(stored, exif=exif(3)), encoded(stored)
    start = tagged.index(b"eXIf") - 4
    chunk = tagged[start : start + 12 + int.from_bytes(tagged[start : start + 4])]
    (tmp_path / "b.png").write_bytes(plain[:-12] + chunk + plain[-12:])
    jpeg, png = FolderSource(tmp_path).read([0, 1]).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(jpeg, shown((tmp_path / "a.jpg").read_bytes()))
    np.testing.assert_array_equal(png, stored[::-1, ::-1])


def test_damaged_metadata_turn_nothing(tmp_path: Path) -> None:
    upright = encoded(pixels(0, 16), "JPEG")
    tagged = encoded(pixels(0, 16), "JPEG", exif=exif(6))
    (tmp_path / "a.jpg").write_bytes(re.sub(rb"Exif\0\0....", b"Exif\0\0XXXX", tagged, flags=re.DOTALL))
    (tmp_path / "b.jpg").write_bytes(encoded(pixels(0, 16), "JPEG", exif=exif(77)))
    (tmp_path / "c.jpg").write_bytes(upright)
    damaged, unknown, expected = FolderSource(tmp_path).read([0, 1, 2])
    np.testing.assert_array_equal(damaged, expected)
    np.testing.assert_array_equal(unknown, expected)


def test_output_of_images_unturned_is_of_other_images(tmp_path: Path) -> None:
    """Outputs begun before images were turned are refused if they hold such images, and go on if not."""
    (tmp_path / "a.png").write_bytes(encoded(pixels(0), exif=exif(6)))
    (tmp_path / "b.png").write_bytes(encoded(pixels(1), exif=exif(1)))
    (tmp_path / "c.png").write_bytes(encoded(pixels(2)))
    digests = FolderSource(tmp_path).digests(np.arange(3))
    before = [
        file_digest(io.BytesIO(contents), len(contents), True)
        for contents in (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    ]
    assert digests[0] != before[0]
    assert [digests[1], digests[2]] == before[1:]
