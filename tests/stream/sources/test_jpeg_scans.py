"""Scans of a JPEG: counted up to its end marker, as decoders do, wherever else their marker's bytes stand."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from berg_jax.errors import StimulusError
from berg_jax.stream.sources.decoding import _scans
from berg_jax.stream.sources.folders import FolderSource

from .image_files import by_pillow, encoded, pixels

PLAIN = encoded(pixels(0, 40), "JPEG")
PROGRESSIVE = encoded(pixels(0, 40), "JPEG", progressive=True)
SCAN = b"\xff\xda"


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize("jpeg", [PLAIN, PROGRESSIVE], ids=["plain", "progressive"])
def test_a_video_behind_a_picture_is_no_part_of_it(jpeg: bytes, tmp_path: Path) -> None:
    """A motion photo, a JPEG with a video behind its end marker → decoded as the picture alone."""
    video = b"ftypmp42" + np.random.default_rng(0).bytes(1 << 16) + SCAN * 500
    (tmp_path / "a.jpg").write_bytes(jpeg + video)
    np.testing.assert_array_equal(FolderSource(tmp_path).read([0])[0], by_pillow(jpeg))
    assert _scans(jpeg + video) == _scans(jpeg)


def test_the_picture_of_another_inside_a_segment_is_not_counted(tmp_path: Path) -> None:
    """A JPEG with thumbnails of many scans in its metadata → decoded."""
    body = (b"\xff\xd9" + SCAN) * 300
    jpeg = PLAIN[:2] + segment(0xE1, body) + segment(0xFE, body) + PLAIN[2:]
    (tmp_path / "a.jpg").write_bytes(jpeg)
    np.testing.assert_array_equal(FolderSource(tmp_path).read([0])[0], by_pillow(PLAIN))


def test_scans_are_counted_as_decoders_count_them() -> None:
    assert _scans(PLAIN) == 1
    info = Image.open(io.BytesIO(PROGRESSIVE))
    assert info.info["progressive"]
    assert _scans(PROGRESSIVE) == PROGRESSIVE.count(SCAN) > 5
    restarts = encoded(pixels(0, 200), "JPEG", restart_marker_blocks=1, quality=95)
    assert any(restarts.count(bytes([0xFF, 0xD0 + number])) > 5 for number in range(8))
    assert _scans(restarts) == 1
    assert _scans(PLAIN[:-2]) == 1  # without an end marker
    assert _scans(PLAIN[:-2] + b"\xff\xff\xff" + PLAIN[-2:] + SCAN) == 1  # filled
    assert _scans(b"\xff\xd8" + segment(0xFE, b"")) == 0
    assert _scans(b"\xff\xd8\xff") == 0


@pytest.mark.parametrize(
    "between", [b"", b"\0\0\0", b"\xff\xff", b"\xff\x00", b"\xff\xd3", segment(0xFE, b"\xff\xd9")]
)
def test_scans_before_the_end_are_counted_whatever_lies_between(between: bytes, tmp_path: Path) -> None:
    """A JPEG of 500 scans, each as slow as all of it → refused, however they are hidden."""
    scan = PROGRESSIVE[PROGRESSIVE.rindex(SCAN) : -2]
    (tmp_path / "a.jpg").write_bytes(PROGRESSIVE[:-2] + (between + scan) * 500 + PROGRESSIVE[-2:])
    with pytest.raises(StimulusError, match=r"has 5\d\d scans"):
        FolderSource(tmp_path).read([0])


def test_endless_segments_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PLAIN[:2] + segment(0xFE, b"") * 200_000 + PLAIN[2:])
    with pytest.raises(StimulusError, match="scans"):
        FolderSource(tmp_path).read([0])
