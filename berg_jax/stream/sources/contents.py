"""Digests of a source's contents, by which a later run notices that images have changed."""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt64

WHOLE = 1 << 28  # bytes up to which a source is read whole; of larger ones a sample is
_SAMPLE = 1 << 26  # bytes of the sample of an array, with what is read beside it
_PIECE = 4096  # bytes read at the beginning, middle and end of a large file
LENGTH = 16  # bytes of a digest
_VERSION = "2:"  # of fingerprints; those before had no contents and no prefix


def file_digest(stream: BinaryIO, size: int, whole: bool) -> bytes:
    """Return the digest of a file of this size: of all bytes, or of its size and pieces spread over it."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=LENGTH)
    if whole or size <= 3 * _PIECE:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    else:
        for start in (0, (size - _PIECE) // 2, size - _PIECE):
            stream.seek(start)
            digest.update(stream.read(_PIECE))
    return digest.digest()


def sample(count: int, row_bytes: int, chunk_rows: int = 1) -> list[int]:
    """Return the positions of the rows to read for a digest: all if they are 256 MB at most, else some of them.

    Parameters
    ----------
    count
        Number of rows that are used.
    row_bytes
        Bytes of a row.
    chunk_rows
        Rows that are read together, whichever of them is asked for.
    """
    most = count if count * row_bytes <= WHOLE else max(8, _SAMPLE // (row_bytes * chunk_rows))
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def content_digests(source: Any) -> UInt64[np.ndarray, " images"] | None:
    """Return a number for the contents of each of a source's images, 0 for those that are not in its sample.

    None stands for sources of one's own without the method ``digests``.
    """
    if not hasattr(source, "digests"):
        return None
    numbers = np.zeros(len(source), np.uint64)
    for image, digest in source.digests(np.arange(len(source))).items():
        numbers[image] = int.from_bytes(digest[:8], "little") or 1
    return numbers


def fingerprint(source: Any) -> str:
    """Return the fingerprint of a source, of its images' names and contents."""
    digest = hashlib.sha256("\n".join(source.ids).encode("utf-8", "surrogateescape"))
    digest.update(content_digests(source))
    return _VERSION + digest.hexdigest()
