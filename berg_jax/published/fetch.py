"""Resumable, checksummed download of subjects' files from the public bucket or a mirror of it; needs no JAX.

Files have the same paths in the bucket as below a berg_dir. Each file is fetched in ranges, several at a time, into
``<name>.part``, while ``<name>.part.json`` lists the ranges that are safely on the disk, so that an interrupted
download can be resumed. A complete file is hashed, recorded in ``SHA256SUMS.berg_jax`` in the model folder (which
``sha256sum --check`` also reads), and only then renamed to its final name.

A file from the public bucket must also be the one that the author published, if its sha256 is known. A mirror may
hold other subjects under the same names, such as synthetic ones, so a difference there is only logged.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ..errors import IntegrityError, InvalidParameterError, ResourceError
from ..files.disk import explained, locked, read_small, require_space, reserve, sha256, sha256_many, write_whole
from .berg_dir import MODEL_FOLDER, PUBLISHED, SubjectFiles, check_subject_id
from .mirror import PUBLIC, Mirror

CHECKSUMS = "SHA256SUMS.berg_jax"  # in the model folder
RANGE_SIZE = 8 * 2**20
CONNECTIONS = 8
ATTEMPTS = 6
_LOG_EVERY = 30.0  # seconds between lines in the log, where there is no terminal
_LOCK = ".fetch.lock"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """One file to download, and how much of it there is.

    Attributes
    ----------
    key
        Path of the file in the bucket, which is also its path below the berg_dir.
    destination
        Path of the file on this machine.
    size, etag
        Size on the mirror in bytes, and the mirror's ETag for this version of the file, if it gives one.
    state
        ``"complete"``, ``"partial"``, ``"missing"``, or ``"different"`` if there is another file than the mirror's.
    missing
        Number of bytes that are still to be fetched.
    note
        The difference of a different file, in words.
    """

    key: str
    destination: Path
    size: int
    etag: str | None
    state: str
    missing: int
    note: str = ""


def plan(
    subject_ids: Sequence[int], berg_dir: str | Path, *, mirror: str = PUBLIC, metadata_only: bool = False
) -> list[Download]:
    """Return what :func:`fetch` would do, without writing anything.

    The mirror is asked for sizes, and files that seem complete are hashed. Parameters and errors are those of
    :func:`fetch`.

    See Also
    --------
    fetch : Carry out the downloads.
    plan_text : The downloads as text.
    """
    berg_dir = Path(berg_dir).expanduser()
    source = Mirror(mirror, _wanted(subject_ids, berg_dir, metadata_only), ATTEMPTS)
    return _compare(source, source.versions(), berg_dir / MODEL_FOLDER)


def plan_text(downloads: Sequence[Download]) -> str:
    """Return downloads as text: each file's state and size, the total, the amount to fetch, and the free space."""
    lines = [f"{d.state:<10}{d.size:>14,} bytes  {d.key}" + (f" ({d.note})" if d.note else "") for d in downloads]
    total, missing = sum(d.size for d in downloads) / 1e9, sum(d.missing for d in downloads) / 1e9
    existing = next(folder for folder in downloads[0].destination.parents if folder.exists())
    lines.append(f"{len(downloads)} files, {total:.2f} GB, of which {missing:.2f} GB are to be fetched.")
    lines.append(f"{shutil.disk_usage(existing).free / 1e9:.2f} GB are free at {existing}.")
    return "\n".join(lines)


def fetch(
    subject_ids: Sequence[int],
    berg_dir: str | Path,
    *,
    mirror: str = PUBLIC,
    metadata_only: bool = False,
    overwrite: bool = False,
    show_progress: bool = True,
    range_size: int = RANGE_SIZE,
    connections: int = CONNECTIONS,
    attempts: int = ATTEMPTS,
) -> list[Download]:
    """Fetch the files that subjects need: both parts' weights, part 1's indices, and the metadata.

    If it is called again after a failure, only the missing ranges are fetched. If two processes fetch into the same
    berg_dir, one of them waits for the other.

    Parameters
    ----------
    subject_ids
        IDs of the subjects.
    berg_dir
        The folder to fetch into, which gets BERG's layout. It is created if it does not exist.
    mirror
        ``s3://bucket/prefix`` (read anonymously; the environment variables ``AWS_ENDPOINT_URL`` and ``AWS_REGION``
        name another server and another region), ``https://…`` or ``http://…`` (a server that serves ranges), or
        ``file:///folder``.
    metadata_only
        Whether only the metadata are fetched, without weights.
    overwrite
        Whether existing files that differ from the mirror's are replaced.
    show_progress
        Whether a progress bar is shown if there is a terminal; otherwise a line is logged every 30 seconds, at level
        INFO.
    range_size, connections
        Number of bytes per request, and number of simultaneous requests.
    attempts
        Number of times that a request is tried, with increasing pauses.

    Returns
    -------
    The state of the files before the download.

    Raises
    ------
    InvalidParameterError
        A subject, the mirror or a number is invalid.
    ModelNotFoundError
        The mirror lacks a file.
    ResourceError
        obstore is not installed; the disk is too full or cannot be written; an existing file is different and
        ``overwrite`` is not given; the mirror does not answer. Ranges that have been fetched are kept.
    IntegrityError
        A file from the public bucket is not the one that the author published, and is kept as ``<name>.mismatch``; or
        the mirror's file changed during the download.

    See Also
    --------
    plan : The same without downloading.
    """
    for name, value in (("range_size", range_size), ("connections", connections), ("attempts", attempts)):
        if value < 1:
            raise InvalidParameterError(f"{name} must be at least 1, got {value}.")
    berg_dir = Path(berg_dir).expanduser()
    model = berg_dir / MODEL_FOLDER
    source = Mirror(mirror, _wanted(subject_ids, berg_dir, metadata_only), attempts)
    versions = source.versions()
    downloads = _compare(source, versions, model)
    if all(download.state == "complete" for download in downloads):
        return downloads  # before any write, because a read-only folder may be complete, too
    with explained("write", model):
        model.mkdir(parents=True, exist_ok=True)
    with locked(model / _LOCK, f"Another process is fetching into {model}: waiting for it."):
        downloads = _compare(source, versions, model)
        incomplete = [download for download in downloads if download.state != "complete"]
        _require_place(incomplete, overwrite)
        with _progress(incomplete, show_progress) as advance:
            for download in incomplete:
                _fetch_ranges(source, download, range_size, connections, advance)
                _finish(source, download, model)
    return downloads


def _wanted(subject_ids: Sequence[int], berg_dir: Path, metadata_only: bool) -> dict[str, Path]:
    """Return the destinations of the files that subjects need, by their keys."""
    paths = []
    for subject_id in subject_ids:
        files = SubjectFiles(berg_dir, check_subject_id(subject_id))
        if files.is_demo:
            raise InvalidParameterError(
                f"{str(berg_dir)!r} stands for the demo subjects, which are built here. Choose another berg_dir."
            )
        paths += [files.metadata] if metadata_only else [files.part1, files.part2, files.indices, files.metadata]
    if not paths:
        raise InvalidParameterError("subjects must name at least one subject, got none.")
    return {path.relative_to(berg_dir).as_posix(): path for path in paths}


def _compare(source: Mirror, versions: dict[str, tuple[int, str | None]], model: Path) -> list[Download]:
    """Compare the mirror's files with those on this machine."""
    recorded = _recorded(model)
    downloads = []
    with explained("read", model):
        sizes = {key: path.stat().st_size for key, path in source.files.items() if path.is_file()}
        same_size = [key for key, size in sizes.items() if size == versions[key][0]]
        digests = dict(zip(same_size, sha256_many(source.files[key] for key in same_size), strict=True))
        for key, path in source.files.items():
            size, etag = versions[key]
            note = ""
            if path.is_dir():
                note = "a folder"
            elif key in sizes and key not in digests:
                note = f"of {sizes[key]} bytes instead of {size}"
            elif key in digests:
                published = PUBLISHED.get(path.name) if source.url == PUBLIC else None
                for expected in (published, recorded.get(_name(path, model))):
                    if expected not in (None, digests[key]):
                        note = f"of sha256 {digests[key]} instead of {expected}"
            range_size, done = _unfinished(path, size, etag) or (1, set())
            missing = 0 if key in digests and not note else size - _bytes(size, range_size, done)
            state = "different" if note else "complete" if key in digests else "partial" if done else "missing"
            downloads.append(Download(key, path, size, etag, state, missing, note))
    return downloads


def _require_place(downloads: Sequence[Download], overwrite: bool) -> None:
    """Raise ResourceError if the disk lacks space for the missing files, or if another file is in the way."""
    for download in downloads:
        is_folder = download.destination.is_dir()
        if download.state == "different" and (is_folder or not overwrite):
            raise ResourceError(
                f"{download.destination} is {download.note}. Move it away, "
                + ("" if is_folder else "replace it with --overwrite (overwrite=True), ")
                + "or choose another berg_dir."
            )
    missing = sum(download.missing for download in downloads)
    for folder in {download.destination.parent for download in downloads}:
        require_space(folder, missing, "Fetching")
        with explained("write", folder):
            folder.mkdir(exist_ok=True)
            reserve(folder, max(missing, 1))


def _part(destination: Path) -> Path:
    return destination.with_name(f"{destination.name}.part")


def _journal(destination: Path) -> Path:
    return destination.with_name(f"{destination.name}.part.json")


def _unfinished(destination: Path, size: int, etag: str | None) -> tuple[int, set[int]] | None:
    """Return the range size and finished ranges of an interrupted download of this version, if there is one."""
    # The suppressed errors mean that there is no journal, or that it is damaged.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        journal = json.loads(read_small(_journal(destination)))
        range_size = journal["range_size"]
        same_version = etag is not None and (journal["size"], journal["etag"]) == (size, etag)
        if same_version and _part(destination).stat().st_size == size and type(range_size) is int and range_size > 0:
            return range_size, {
                index for index in journal["done"] if type(index) is int and index in range(-(-size // range_size))
            }
    return None


def _bytes(size: int, range_size: int, indices: set[int]) -> int:
    return sum(min(range_size, size - index * range_size) for index in indices)


def _fetch_ranges(
    source: Mirror, download: Download, range_size: int, connections: int, advance: Callable[[int], None]
) -> None:
    """Fetch the missing ranges. The journal lists a range only after its bytes are on the disk."""
    part, journal = _part(download.destination), _journal(download.destination)
    done: set[int] = set()
    writing = threading.Lock()
    if unfinished := _unfinished(download.destination, download.size, download.etag):
        range_size, done = unfinished
    else:
        if journal.exists():
            _log.warning("%s is damaged or of another version of the file: starting anew.", part)
        with explained("write", part):
            journal.unlink(missing_ok=True)  # before the bytes that it lists are gone
            with part.open("wb") as file:
                file.truncate(download.size)

    def get(index: int) -> int:
        start = index * range_size
        end = min(start + range_size, download.size)
        data = source.read(download.key, (download.size, download.etag), start, end)
        with explained("write", part), part.open("r+b") as file:
            file.seek(start)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with writing:
            done.add(index)
            state = {"size": download.size, "etag": download.etag, "range_size": range_size, "done": sorted(done)}
            _replace(journal, json.dumps(state))
        return index

    missing = sorted(set(range(-(-download.size // range_size))) - done)
    with ThreadPoolExecutor(connections) as pool:
        futures = [pool.submit(get, index) for index in missing]
        try:
            for future in as_completed(futures):
                advance(_bytes(download.size, range_size, {future.result()}))
        except BaseException:
            source.stopped.set()
            pool.shutdown(cancel_futures=True)  # waits for the running requests
            raise


def _finish(source: Mirror, download: Download, model: Path) -> None:
    """Hash the fetched file, record its sha256, and rename it to its final name."""
    destination = download.destination
    part, journal = _part(destination), _journal(destination)
    with explained("write", destination):
        digest = sha256(part)
        expected = PUBLISHED.get(destination.name, digest)
        if part.stat().st_size != download.size:
            raise IntegrityError(f"{part} has {part.stat().st_size} bytes instead of {download.size}. Fetch again.")
        if digest != expected and source.url == PUBLIC:
            aside = destination.with_name(f"{destination.name}.mismatch")
            part.replace(aside)
            journal.unlink(missing_ok=True)
            raise IntegrityError(
                f"{download.key} is not the author's published file: expected sha256 {expected}, got {digest}. "
                f"It is kept aside as {aside}. Fetch again; if it stays so, the file in the bucket has changed."
            )
        if digest != expected:
            _log.warning("%s from %s is not the author's published file.", download.key, source.url)
        # Recorded before it is renamed, so that every file with its final name is recorded.
        _record(model, _name(destination, model), digest)
        part.replace(destination)
        journal.unlink(missing_ok=True)


def _name(path: Path, model: Path) -> str:
    return path.relative_to(model).as_posix()


def _lines(model: Path) -> list[str]:
    with explained("read", model / CHECKSUMS), contextlib.suppress(FileNotFoundError):
        return (model / CHECKSUMS).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return []


def _recorded(model: Path) -> dict[str, str]:
    """Return the recorded sha256 of files, by their path below the model folder."""
    return {line[66:]: line[:64] for line in _lines(model) if re.fullmatch(r"[0-9a-f]{64} [ *].+", line)}


def _record(model: Path, name: str, digest: str) -> None:
    """Record a file's sha256 in place of an earlier one, without changing any other line."""
    lines = [line for line in _lines(model) if line[66:] != name]
    _replace(model / CHECKSUMS, "".join(f"{line}\n" for line in [*lines, f"{digest}  {name}"]))


def _replace(path: Path, text: str) -> None:
    with explained("write", path):
        write_whole(path, text.encode(errors="surrogateescape"))


@contextlib.contextmanager
def _progress(downloads: Sequence[Download], show: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of received bytes and updates the progress bar or the log."""
    from tqdm import tqdm

    total = sum(download.size for download in downloads)
    received = total - sum(download.missing for download in downloads)
    logged = time.monotonic()
    with tqdm(total=total, initial=received, unit="B", unit_scale=True, disable=None if show else True) as bar:

        def advance(size: int) -> None:
            nonlocal logged, received
            received += size
            bar.update(size)
            if show and bar.disable and time.monotonic() - logged >= _LOG_EVERY:
                logged = time.monotonic()
                _log.info("Fetched %.0f of %.0f MB.", received / 1e6, total / 1e6)

        yield advance
