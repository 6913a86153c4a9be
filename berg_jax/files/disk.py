"""Atomic files and folders, checksums, locks, free disk space, and errors that name the file."""

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
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import BERGError, IntegrityError, ModelLoadError, ResourceError
from .trouble import machine_trouble

_PARTIAL, _PARTIAL_FILE = ".partial-", ".partial"
_OLD = 24 * 3600  # seconds after which a partial file of another machine has been left by a process that was killed
_SMALL = 1 << 26  # largest number of bytes that are read at once
_log = logging.getLogger(__name__)


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_many(paths: Iterable[Path]) -> list[str]:
    """Return the sha256 of each file, hashed in parallel threads (hashing releases the interpreter lock)."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        return list(pool.map(sha256, paths))


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise ResourceError unless the disk that holds ``folder`` has ``needed`` bytes free."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ResourceError(
            f"{purpose} needs {_size(needed)} of disk at {folder}, which has {_size(free)} free. "
            "Make room there or choose another output folder."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file durably and atomically: at any moment it has either its old contents or all of the new ones."""
    partial = path.with_name(f"{path.name}.{_place()}{os.getpid()}{_PARTIAL_FILE}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def remove_partial_files(folder: Path) -> None:
    """Remove what processes that were killed in the middle of :func:`write_whole` have left in a folder.

    Files of living processes stay: of this machine's processes it is known which are gone, and another machine's file
    is removed when it is a day old.
    """
    for path in folder.glob(f"*{_PARTIAL_FILE}"):
        _, here, process = path.name.removesuffix(_PARTIAL_FILE).rpartition(f".{_place()}")
        with contextlib.suppress(OSError):  # another process may remove it at the same time
            gone = not _alive(int(process)) if here and process.isdecimal() else None
            if gone if gone is not None else time.time() - path.stat().st_mtime > _OLD:
                path.unlink()


def _place() -> str:
    """Return the name of this machine, and of its numbers of processes, which containers have of their own."""
    try:
        numbers = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        numbers = 0
    return f"{socket.gethostname()}-{numbers}-"


def reserve(folder: Path, needed: int) -> None:
    """Raise OSError if ``needed`` bytes cannot be written now, because of a full disk or a quota.

    This is checked beforehand, because the error could otherwise occur in the middle of a write by many threads.
    """
    path = folder / "reserved"
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # does not exist on macOS
                os.posix_fallocate(file.fileno(), 0, needed)
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError (full disk, no permission, …) into a ResourceError that names the action and the path."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = f"{'Make room there' if full else 'Check the path'} or choose another output folder."
        if action == "read":
            remedy = "Check the path and its permissions."
        raise ResourceError(f"Cannot {action} {path}: {error.strerror or error}. {remedy}") from error


class Unsuitable(Exception):
    """A whole file that does not fit, with sentences on why and what to do in place of :func:`readable`'s remedy."""


@contextlib.contextmanager
def readable(
    path: object,
    kind: type[BERGError] = ModelLoadError,
    remedy: str = "It may be truncated or damaged: get the file again.",
) -> Iterator[None]:
    """Turn any exception that is raised while a file is read into an error of type ``kind`` that names the file.

    A damaged file can make a library raise any exception, and callers should not have to know them all. The remedy is
    for a damaged file: :class:`Unsuitable` and trouble with the machine bring their own.
    """
    problem = "is damaged" if issubclass(kind, IntegrityError) else "cannot be read"
    try:
        yield
    except Unsuitable as error:
        raise kind(f"{path} {problem}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise kind(f"{path} {problem}: it is nested too deeply or asks for too much memory. {remedy}") from error
    except BERGError as error:
        raise kind(f"{path} {problem}: {str(error).removesuffix('.')}. {remedy}") from error
    except Exception as error:
        trouble = machine_trouble(error)
        reason = f"{type(error).__name__}: {error}"[:300]
        raise kind(
            f"{path} cannot be read: {trouble}" if trouble else f"{path} {problem}: {reason}. {remedy}"
        ) from error


def read_small(path: Path, limit: int = _SMALL) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes, by default 64 MB.

    Pipes and devices are refused, because reading them may never end. Call this function inside :func:`readable` or
    :func:`explained`.

    Raises
    ------
    OSError, ValueError
        The file cannot be read; it is not a regular file, or is too large.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no file")
    if status.st_size > limit:
        raise ValueError(f"it has {status.st_size:,} bytes, expected at most {limit:,}")
    return path.read_bytes()


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold a lock file while the block runs; if another process holds it, log ``waiting`` and wait.

    The operating system releases the lock when its process ends, in whatever way. The lock file is removed then.
    """
    try:
        import fcntl
    except ImportError:  # Windows does not have these locks
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
            # The previous holder may have removed the file meanwhile, and another process may then hold a new one.
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
    """Yield a folder to fill, which becomes ``destination`` if the block succeeds, and is removed otherwise.

    The folder lies beside the destination under a name that marks it as partial. Partial folders that killed
    processes of this machine have left there are removed first. With ``replace``, an existing destination is moved
    away immediately before the new one takes its place, and removed afterwards.
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
