"""Images in tar files, as webdataset writes them: found once by their headers, then read where they lie."""

from __future__ import annotations

import io
import os
import re
import tarfile
import weakref
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from ...errors import BERGError, ModelNotFoundError, ResourceError, StimulusError
from .image_files import EXTENSIONS, FilesSource, natural

COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PIECE = 1 << 20
_MOST_GLOBAL = 1000  # entries that every member has, which tarfile copies for each
_MOST_DIGITS = 300  # in a row: tarfile of Python before 3.11.10 takes as long as their number squared


class TarSource(FilesSource):
    """The images in tar files ("shards"), in the order in which they lie there.

    Members that are no images by their name are passed over, such as webdataset's ``.json`` and ``.cls``; so are
    folders and hidden files. Nothing is extracted: images are read from where they lie, and every shard stays open
    as long as the source. An image is called ``shard/name``, such as ``train-0003/000017.jpg``.

    Parameters
    ----------
    shards
        One ``.tar`` file, a folder of them (in natural order, 2 before 10), or several files. Not compressed.
    fit
        As for :class:`~berg_jax.stream.sources.image_files.FilesSource`, which says what is done with the images.

    Raises
    ------
    ModelNotFoundError
        There is no such file or folder.
    StimulusError
        A shard is compressed, damaged, cut short or no tar file; two shards have one name, two images one key (the
        name up to its first dot); an image is a link or a device, or cannot be used.
    ResourceError
        There are more shards than may be open at once.
    """

    def __init__(self, shards: str | Path | Sequence[str | Path], fit: str = "error") -> None:
        paths = _paths(shards)
        members = [member for path in paths for member in _members(_Shard(path))]
        if not members:
            where = f"{paths[0]} and {len(paths) - 1} more hold" if len(paths) > 1 else f"{paths[0]} holds"
            raise StimulusError(f"{where} no image files ({', '.join(EXTENSIONS)}).")
        super().__init__(members, fit)


class _Shard:
    """A tar file that is open as long as someone has it, for reads by many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ModelNotFoundError(f"There is no file {path}. Give .tar files, or a folder of them.")
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise ResourceError(
                f"{path} cannot be opened: {error}. Every shard stays open; if they are too many, raise the limit "
                "(ulimit -n) or make fewer, larger ones."
            ) from error
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes, at least one."""
        found = os.pread(self.descriptor, size, offset)
        if not found:
            raise EOFError(f"{self.path} is shorter than it was")
        return found


class _Member(NamedTuple):
    """An image file inside a shard."""

    name: str
    size: int
    offset: int
    shard: _Shard

    def __str__(self) -> str:
        return f"{self.shard.path}: {self.name.partition('/')[2]!r}"

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Window(self))


class _Window(io.RawIOBase):
    """The bytes of a member."""

    def __init__(self, member: _Member) -> None:
        self._member, self._place = member, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = place + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._member.size}[whence]
        if self._place < 0:
            raise ValueError("a place before the image's first byte")
        return self._place

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), self._member.size - self._place)
        if wanted <= 0:
            return 0
        found = self._member.shard.read(wanted, self._member.offset + self._place)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)

    def readall(self) -> bytes:  # the default asks for a few kilobytes at a time
        pieces = []
        while (left := self._member.size - self._place) > 0:
            pieces.append(self._member.shard.read(left, self._member.offset + self._place))
            self._place += len(pieces[-1])
        return b"".join(pieces)


class _Headers:
    """A stream for tarfile, which reads headers alone, and as much at once as a header says."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > _PIECE:
            raise ValueError(f"a header of {size:,} bytes")
        found = self._stream.read(size)
        if size > tarfile.BLOCKSIZE and any(len(digits) > _MOST_DIGITS for digits in re.findall(rb"\d+", found)):
            raise ValueError(f"a number of more than {_MOST_DIGITS} digits in a header")
        return found


def _paths(shards: str | Path | Sequence[str | Path]) -> list[Path]:
    """The shards' files, whose names without ``.tar`` are different."""
    if isinstance(shards, (str, Path)):
        path = Path(shards)
        if not path.is_dir():
            return [path]
        paths = [p for p in path.iterdir() if p.suffix.lower() == ".tar" and p.is_file()]
        paths.sort(key=lambda p: natural(p.name))
    else:
        paths = [Path(shard) for shard in shards]
    if not paths:
        raise StimulusError(f"{shards} holds no .tar files. Give one, or a folder of them.")
    first: dict[str, Path] = {}
    for path in paths:
        if path.stem in first:
            raise StimulusError(f"{first[path.stem]} and {path} would give their images the same names. Rename one.")
        first[path.stem] = path
    return paths


def _members(shard: _Shard) -> list[_Member]:
    """The images of a shard, by reading nothing but headers."""
    members: list[_Member] = []
    keys: dict[tuple[str, str], str] = {}
    try:
        with (
            open(shard.descriptor, "rb", closefd=False) as stream,
            tarfile.open(fileobj=_Headers(stream), mode="r:") as archive,
        ):
            end, after = os.fstat(shard.descriptor).st_size, 0
            while (item := archive.next()) is not None:
                if archive.offset <= after or archive.offset > end:
                    raise StimulusError(f"{shard.path} ends before its member {item.name!r} does. Get it again.")
                if len(archive.pax_headers) > _MOST_GLOBAL:
                    raise StimulusError(f"{shard.path} has too many global headers. Write it anew, without them.")
                after = archive.offset
                archive.members.clear()  # where tarfile keeps all that it has read
                name = item.name.removeprefix("./")
                folder, _, base = name.rpartition("/")
                if item.isdir() or base.startswith(".") or PurePosixPath(base).suffix.lower() not in EXTENSIONS:
                    continue
                _check(shard, name, item, end)
                key = folder, base.partition(".")[0]
                if key in keys:
                    both = f"{keys[key]!r} and {name!r}"
                    raise StimulusError(f"{shard.path} holds {both}, two images of one key. Keep one of them.")
                keys[key] = name
                members.append(_Member(f"{shard.path.stem}/{name}", item.size, item.offset_data, shard))
            _check_end(shard, stream, archive.offset)
    except BERGError:
        raise
    except Exception as error:  # tarfile raises many, such as OverflowError at a made-up size
        start = os.pread(shard.descriptor, 8, 0)
        for magic, kind in _MAGIC.items():
            if start.startswith(magic):
                raise StimulusError(refusal(shard.path, kind)) from error
        raise StimulusError(f"{shard.path} cannot be read as a tar file: {error}. Get it again.") from error
    return members


def refusal(path: Path, kind: str) -> str:
    """What to say of a compressed shard."""
    return (
        f"{path} is compressed ({kind}), so its images cannot be read one by one. Undo the compression and give the "
        ".tar; images hardly grow by it."
    )


def _check(shard: _Shard, name: str, item: tarfile.TarInfo, end: int) -> None:
    """Raise StimulusError unless an image is a plain file under a name that stays inside."""
    if name.startswith("/") or ".." in name.split("/"):
        raise StimulusError(f"{shard.path} holds {name!r}, a name that leads out of it. Rename it.")
    if item.islnk() or item.issym():
        raise StimulusError(f"{shard.path} holds {name!r}, a link to {item.linkname!r}. Put the image itself there.")
    if not item.isreg() or item.issparse():
        raise StimulusError(f"{shard.path} holds {name!r}, which is no plain file. Put the image itself there.")
    if not 0 <= item.size <= end - item.offset_data:  # a global header may set it to anything
        raise StimulusError(f"{shard.path} ends before its member {name!r} does. Get it again.")


def _check_end(shard: _Shard, stream: BinaryIO, offset: int) -> None:
    """Zeros must follow the last member: at a header that it cannot read tarfile stops without a word."""
    stream.seek(offset)
    piece = stream.read(_PIECE)
    if not piece:
        raise StimulusError(f"{shard.path} has no end mark, so it may be cut. Write it again, to its end.")
    while piece:
        if piece.strip(b"\0"):
            raise StimulusError(
                f"{shard.path} holds more after byte {offset:,}: a damaged header, or a second archive. Get it "
                "again, or keep each archive in a file of its own."
            )
        piece = stream.read(_PIECE)
