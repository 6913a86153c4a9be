"""Kinds of files: which are pictures, by name and by first bytes, and which are left by other programs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import BinaryIO

DECODED = {
    "AVIF": (".avif",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpeg", ".jpg", ".jpe", ".jfif", ".jif"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}  # formats of pictures and their suffixes, as far as decoding them is safe in files from anywhere
_NOT_DECODED = {
    "HEIC": (".heic", ".heif"),
    "JPEG 2000": (".jp2", ".j2k", ".jpx", ".j2c"),
    "JPEG XL": (".jxl",),
    "Targa": (".tga",),
    "OpenEXR": (".exr",),
    "camera raw": (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"),
}
_SUFFIXES = {suffix: kind for kinds in (DECODED, _NOT_DECODED) for kind, group in kinds.items() for suffix in group}
# Files whose contents need not be looked at: there may be one beside each of a million images.
_OTHER_NAMES = (
    ".bz2 .cfg .cls .csv .db .doc .docx .eps .gz .h5 .hdf5 .htm .html .id .idx .ini .ipynb .json .jsonl .key "
    ".label .log .m .mat .md .mov .mp3 .mp4 .npy .npz .ods .odt .pdf .pkl .ppt .pptx .ps .psd .pt .pth .py .r "
    ".rst .sh .svg .tar .tgz .toml .tsv .txt .wav .xcf .xls .xlsx .xml .xz .yaml .yml .zip .zst"
)
_OTHER = frozenset(_OTHER_NAMES.split())
_LEFT_BY_PROGRAMS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db"}
_HEAD = 32  # bytes that tell what a file is
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIC")}
_OTHER_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: git lfs pull fetches it"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "PostScript"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"8BPS", "a Photoshop document"),
)


def passed_over(name: str) -> str | None:
    """Return why a file or folder is no stimulus, by its name alone: a hidden one, or one left by another program."""
    if name in _LEFT_BY_PROGRAMS:
        return f"left by other programs ({name})"
    return "hidden" if name.startswith(".") and name not in (".", "..") else None


def by_suffix(name: str) -> str | None:
    """Return the kind of picture that a file's name announces, such as ``"JPEG"``."""
    return _SUFFIXES.get(PurePosixPath(name).suffix.lower())


def is_picture(name: str, stream: BinaryIO | None) -> bool:
    """Return whether a file is a picture, by its name or, where that tells nothing, by its first bytes."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _SUFFIXES:
        return True
    return suffix not in _OTHER and stream is not None and by_contents(stream.read(_HEAD)) is not None


def by_contents(head: bytes) -> str | None:
    """Return the kind of picture that a file's first bytes announce."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def explain(head: bytes, size: int) -> str | None:
    """Return what a file really is that cannot be decoded as a picture, in words, or None if that is unknown."""
    if size == 0:
        return "it is empty"
    kind = by_contents(head)
    if kind is not None and kind not in DECODED:
        return f"it is {kind}, which is not decoded here. Convert it to PNG or JPEG"
    if kind is not None:
        return f"it begins as {kind} does and is damaged or incomplete"
    for start, words in _OTHER_STARTS:
        if head.startswith(start):
            return f"it is {words}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "it is an HTML page, which a server may have sent in place of the image"
    if text.startswith((b"<?xml", b"<svg")):
        return "it is XML or SVG, not a picture of pixels"
    return "it is only zeros" if not head.strip(b"\0") else None
