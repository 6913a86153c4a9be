"""Files that are whole or not there: checksums, folders that appear at once, room on the disk."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import logging
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import BERGError, IntegrityError, ModelLoadError, ResourceError

_PARTIAL = ".partial-"
_SMALL = 1 << 26  # bytes of a file that is read at once
_log = logging.getLogger(__name__)


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_many(paths: Iterable[Path]) -> list[str]:
    """The sha256 of each file, hashed side by side (hashing leaves the interpreter lock free)."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        return list(pool.map(sha256, paths))


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise ResourceError unless the disk that holds ``folder`` has ``needed`` bytes free."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ResourceError(
            f"{purpose} needs {needed / 1e9:.2f} GB of disk at {folder}, which has {free / 1e9:.2f} GB free. "
            "Make room there or choose another output folder."
        )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that has at any moment either its old bytes or all of its new ones, which are on the disk."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def reserve(folder: Path, needed: int) -> None:
    """Raise OSError if ``needed`` bytes cannot be written now, be it for a full disk or for a quota.

    Better asked of the system than met in the middle of a write by many threads.
    """
    path = folder / "reserved"
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, needed)
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def explained(what: str, path: Path) -> Iterator[None]:
    """Turn the system's refusals (full disk, no permission, …) into a ResourceError that names the path."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = f"{'Make room there' if full else 'Check the path'} or choose another output folder."
        if what == "read":
            remedy = "Check the path and its permissions."
        raise ResourceError(f"Cannot {what} {path}: {error.strerror or error}. {remedy}") from error


@contextlib.contextmanager
def readable(
    path: object,
    kind: type[BERGError] = ModelLoadError,
    remedy: str = "It may be truncated or damaged: get the file again.",
) -> Iterator[None]:
    """Turn whatever is raised while a file is read into one error of this kind that names the file.

    A damaged file can make a library fail in any way, and none of them is the caller's to handle.
    """
    said = "is damaged" if issubclass(kind, IntegrityError) else "cannot be read"
    try:
        yield
    except (RecursionError, MemoryError) as error:
        raise kind(f"{path} {said}: it is nested too deeply or asks for too much memory. {remedy}") from error
    except BERGError as error:
        raise kind(f"{path} {said}: {str(error).removesuffix('.')}. {remedy}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        raise kind(f"{path} {said}: {reason}. {remedy}") from error


def read_small(path: Path, most: int = _SMALL) -> bytes:
    """The bytes of a file of moderate size. Pipes and devices, which may never end, are no files.

    Raises
    ------
    OSError, ValueError
        It cannot be read; it is no file, or too large. Call it inside :func:`readable` or :func:`explained`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no file")
    if status.st_size > most:
        raise ValueError(f"it has {status.st_size:,} bytes, expected at most {most:,}")
    return path.read_bytes()


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock of this name while the block runs; while another process holds it, log ``waiting`` and wait.

    The system frees a lock when its process ends, however it ends. The lock's file is removed with it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    with explained("lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = path.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning("%s", waiting)
                fcntl.flock(file, fcntl.LOCK_EX)
            # Its last holder may have removed it meanwhile, and then another process may hold a new file.
            if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                break
            file.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


@contextlib.contextmanager
def atomic_folder(destination: Path, replace: bool) -> Iterator[Path]:
    """A folder to fill, which becomes ``destination`` when the block ends well, and vanishes otherwise.

    The folder lies beside the destination under a name that says it is partial. What processes of this
    machine that were killed have left there is removed first. With ``replace`` an existing destination is
    moved away just before and removed after.
    """
    with explained("write", destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(destination)
        partial = destination.parent / (
            f".{destination.name}{_PARTIAL}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        )
        partial.mkdir()
    try:
        yield partial
        with explained("write", destination):
            _flush(partial)
            if replace and destination.exists():
                old = partial.with_name(partial.name + "-old")
                destination.rename(old)
                partial.rename(destination)
                shutil.rmtree(old)
            else:
                partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _remove_leftovers(destination: Path) -> None:
    prefix = f".{destination.name}{_PARTIAL}{socket.gethostname()}-"
    for path in destination.parent.glob(f".{glob.escape(destination.name)}{_PARTIAL}*"):
        process = path.name.removeprefix(prefix).partition("-")[0]
        if path.name.startswith(prefix) and process.isdigit() and not _alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
