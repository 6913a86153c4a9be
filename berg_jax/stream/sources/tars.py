"""Source of images in tar files, such as webdataset's shards, which are indexed once and then read in place."""

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
from ...files.trouble import machine_trouble
from .account import Account
from .folders import TARS
from .image_files import FilesSource, OnError, natural
from .kinds import is_picture, passed_over

COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PIECE = 1 << 20
_MOST_GLOBAL = 1000  # global header entries, which tarfile copies for every member
_MOST_DIGITS = 300  # consecutive digits, for which tarfile before Python 3.11.10 takes quadratic time


class TarSource(FilesSource):
    """The images in tar files ("shards"), in their order there.

    Members whose names are not those of images are ignored, such as webdataset's ``.json`` and ``.cls``, and so are
    folders and hidden files. Nothing is extracted: images are read in place, and every shard stays open as long as
    the source exists. The name of an image is ``shard/name``, such as ``train-0003/000017.jpg``.

    Parameters
    ----------
    shards
        One ``.tar`` file, a folder of them (in natural order, 2 before 10), or several files. They must not be
        compressed.
    fit
        Treatment of images that are not square: see :class:`~berg_jax.stream.sources.image_files.FilesSource`.
    on_error
        Treatment of images that cannot be used, ``"error"`` or ``"skip"``; a damaged shard is always an error.

    Raises
    ------
    ModelNotFoundError
        There is no such file or folder.
    StimulusError
        A shard is compressed, damaged, truncated or not a tar file; two shards or two images have one name; an image
        is a link or a device, or cannot be used.
    ResourceError
        There are more shards than files that may be open at once.

    See Also
    --------
    FolderSource, ListSource : Images in separate files.
    """

    def __init__(
        self, shards: str | Path | Sequence[str | Path], fit: str = "error", on_error: OnError = "error"
    ) -> None:
        account = Account()
        paths = _paths(shards, account)
        members = [member for path in paths for member in _members(_Shard(path), account)]
        if not members:
            where = f"{paths[0]} and {len(paths) - 1} more hold" if len(paths) > 1 else f"{paths[0]} holds"
            others = ", ".join(f"{count:,} {reason}" for reason, count in sorted(account.passed_over.items()))
            raise StimulusError(f"{where} no image files{f'; passed over: {others}' if others else ''}.")
        super().__init__(members, fit, on_error, account)


class _Shard:
    """A tar file that stays open as long as it is referenced, for reads by many threads."""

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
        """Read up to ``size`` bytes, at least one."""
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
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.shard.path}: {self.name.partition('/')[2]!r}"

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Window(self))


class _Window(io.RawIOBase):
    """A stream of the bytes of a member."""

    def __init__(self, member: _Member) -> None:
        self._member, self._position = member, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._member.size}[whence]
        self._position = origin + offset
        if self._position < 0:
            raise ValueError("a place before the image's first byte")
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), self._member.size - self._position)
        if wanted <= 0:
            return 0
        found = self._member.shard.read(wanted, self._member.offset + self._position)
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def readall(self) -> bytes:  # the default reads a few kilobytes at a time
        pieces = []
        while (left := self._member.size - self._position) > 0:
            pieces.append(self._member.shard.read(left, self._member.offset + self._position))
            self._position += len(pieces[-1])
        return b"".join(pieces)


class _Headers:
    """A stream from which tarfile reads headers, which limits the amount that a header can make it read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > _PIECE:
            raise ValueError(f"a header of {size:,} bytes")
        found = self._stream.read(size)
        if size > tarfile.BLOCKSIZE and any(len(digits) > _MOST_DIGITS for digits in re.findall(rb"\d+", found)):
            raise ValueError(f"a number of more than {_MOST_DIGITS} digits in a header")
        return found


def _paths(shards: str | Path | Sequence[str | Path], account: Account) -> list[Path]:
    """Return the files of the shards, whose names without ``.tar`` must differ."""
    if isinstance(shards, (str, Path)):
        path = Path(shards)
        if not path.is_dir():
            return [path]
        paths = []
        for entry in path.iterdir():
            if why := passed_over(entry.name):
                account.passed_over[why] += 1
            elif entry.suffix.lower() in TARS and entry.is_file():
                paths.append(entry)
            elif entry.is_file():
                account.passed_over[f"no tar file ({entry.suffix.lower() or 'no suffix'})"] += 1
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


def _members(shard: _Shard, account: Account) -> list[_Member]:
    """Return the images of a shard, for which only headers are read."""
    members: list[_Member] = []
    there: set[str] = set()
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
                archive.members.clear()  # tarfile would keep all members that it has read
                name = item.name.removeprefix("./")
                if item.isdir():
                    continue
                if why := _passed_over(shard, name, item):
                    account.passed_over[why] += 1
                    continue
                _check_size(shard, name, item, end)
                if name in there:
                    raise StimulusError(f"{shard.path} holds {name!r} twice. Write it again, each image once.")
                there.add(name)
                problem = _problem(name, item)
                problem = problem and f"{shard.path} holds {name!r}, {problem}"
                members.append(_Member(f"{shard.path.stem}/{name}", item.size, item.offset_data, shard, problem))
            _check_end(shard, stream, archive.offset)
    except BERGError:
        raise
    except Exception as error:  # tarfile raises many kinds of exceptions, such as OverflowError at an invalid size
        start = os.pread(shard.descriptor, 8, 0)
        for magic, kind in _MAGIC.items():
            if start.startswith(magic):
                raise StimulusError(refusal(shard.path, kind)) from error
        if trouble := machine_trouble(error):
            raise ResourceError(f"{shard.path} cannot be read: {trouble}") from error
        raise StimulusError(f"{shard.path} cannot be read as a tar file: {error}. Get it again.") from error
    return members


def refusal(path: Path, kind: str) -> str:
    """Return the error message for a compressed shard."""
    return (
        f"{path} is compressed ({kind}), so its images cannot be read one by one. Undo the compression and give the "
        ".tar; images hardly grow by it."
    )


def _passed_over(shard: _Shard, name: str, item: tarfile.TarInfo) -> str | None:
    """Return why a member is no stimulus, or None if it is one."""
    if why := next(filter(None, map(passed_over, name.split("/"))), None):
        return why
    head = io.BytesIO(os.pread(shard.descriptor, 32, item.offset_data) if item.isreg() and item.size > 0 else b"")
    suffix = PurePosixPath(name).suffix.lower()
    return None if is_picture(name, head) else f"no picture ({suffix or 'no suffix'})"


def _problem(name: str, item: tarfile.TarInfo) -> str:
    """Return what is wrong with an image that is no plain file or whose name leads out of the shard."""
    if name.startswith("/") or ".." in name.split("/"):
        return "a name that leads out of it. Rename it."
    if item.islnk() or item.issym():
        return f"a link to {item.linkname!r}. Put the image itself there."
    if not item.isreg() or item.issparse():
        return "which is no plain file. Put the image itself there."
    return ""


def _check_size(shard: _Shard, name: str, item: tarfile.TarInfo, end: int) -> None:
    """Raise StimulusError unless a member ends before its shard does."""
    if not 0 <= item.size <= end - item.offset_data:  # a global header may set any size
        raise StimulusError(f"{shard.path} ends before its member {name!r} does. Get it again.")


def _check_end(shard: _Shard, stream: BinaryIO, offset: int) -> None:
    """Raise StimulusError unless only zeros follow the last member: tarfile silently stops at unreadable headers."""
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
