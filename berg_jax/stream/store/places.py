"""Places of outputs: folders, and prefixes of object stores that tensorstore can reach.

Files and objects appear complete or not at all, and are durable when a call returns: a file on a disk is flushed and
then renamed, an object is written by one put. A place on a disk is a plain ``Path``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import tensorstore

from ...errors import IntegrityError, InvalidParameterError, ResourceError
from ...files import disk as files

# Number of times that a request is tried: about two minutes, or briefly to find out whether a store can be reached.
_TRIES, _FIRST_TRIES = 9, 3
_LARGEST = 1 << 36  # largest number of bytes of a file that is read at once
_MEMORY = tensorstore.Context()  # the contents of memory:// in this process


@dataclass(frozen=True)
class Remote:
    """An object of an object store, or all objects under a prefix.

    Attributes
    ----------
    url
        URL of the output, as given by the user.
    spec
        Specification of the output for tensorstore.
    key
        Key of the object, below the output.
    """

    url: str
    spec: dict[str, Any] = field(compare=False, repr=False)
    key: str = ""

    def __truediv__(self, name: str) -> Remote:
        return replace(self, key=f"{self.key}/{name}".lstrip("/"))

    def __str__(self) -> str:
        return f"{self.url}/{self.key}".rstrip("/")

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition("/")[2]

    def store(self, tries: int | None = None) -> tensorstore.KvStore:
        """Open the store of the output. A request is tried ``tries`` times, by default for about two minutes."""
        retries = {"max_retries": tries or _TRIES, "initial_delay": "0.5s", "max_delay": "32s"}
        context = tensorstore.Context({"s3_request_retries": retries, "gcs_request_retries": retries}, parent=_MEMORY)
        return tensorstore.KvStore.open(self.spec, context=context).result()


Place = Path | Remote


def find_place(path: str | Path | Remote) -> Place:
    """Return the place that a path or URL stands for.

    ``s3://bucket/prefix``, ``gs://bucket/prefix`` and other URLs that tensorstore knows are object stores.
    ``file://`` and all others are paths. The environment variable ``AWS_ENDPOINT_URL`` gives the address of stores
    that use the S3 protocol but are not Amazon's.

    Raises
    ------
    InvalidParameterError
        Tensorstore does not know the URL, or a slash is missing.

    Examples
    --------
    >>> find_place("file:///data/responses.zarr")
    PosixPath('/data/responses.zarr')
    """
    if isinstance(path, Remote):
        return path
    if re.match(r"(s3|gs):/(?!/)", str(path)):
        raise InvalidParameterError(
            f"{str(path)!r} is no place for an output: a URL has two slashes, as in s3://bucket/prefix, which a Path "
            "does not keep. Give it as text."
        )
    if isinstance(path, Path):
        return path
    if "://" not in path:
        return Path(path)
    if path.startswith("file://"):
        return Path(url2pathname(urlsplit(path).path))
    try:
        spec = tensorstore.KvStore.Spec(path).to_json()
    except ValueError as error:
        raise InvalidParameterError(
            f"{path!r} is no place for an output: give a folder, s3://bucket/prefix or gs://bucket/prefix. ({error})"
        ) from error
    prefix = spec.get("path", "").rstrip("/")
    spec["path"] = f"{prefix}/" if prefix else ""
    if spec["driver"] == "s3":
        spec |= _s3_environment()
    return Remote(path.rstrip("/"), spec)


def _s3_environment() -> dict[str, Any]:
    """Return settings that Amazon's tools read from the environment and tensorstore does not."""
    found: dict[str, Any] = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        found = {"endpoint": endpoint.rstrip("/"), "aws_region": region}
    if "AWS_ACCESS_KEY_ID" in os.environ:  # otherwise tensorstore complains about missing configuration files
        found["aws_credentials"] = {"type": "environment"}
    return found


def exists(place: Place) -> bool:
    """Return whether there is a file or a folder at this place, or an object with this key.

    Raises
    ------
    ResourceError
        The object store cannot be reached, or refuses access; the message says why.
    """
    if isinstance(place, Path):
        return place.exists()
    with explained("read", place):  # a list, because reading from a missing bucket only says "missing"
        keys = place.store(_FIRST_TRIES).list(_below(place.key)).result()
    return place.key.encode() in keys


def read(place: Place) -> bytes:
    """Read the bytes of a file or object.

    Raises
    ------
    FileNotFoundError
        There is no file or object.
    ValueError
        The file is a pipe or device.
    """
    return (
        files.read_small(place, _LARGEST) if isinstance(place, Path) else _read(place, place.store().read(place.key))
    )


def read_all(folder: Place, suffix: str) -> Iterator[tuple[Place, bytes]]:
    """Yield the files or objects directly in a folder whose name has this suffix, sorted by name, and their bytes.

    Raises
    ------
    IntegrityError
        A file cannot be read.
    ResourceError
        A file or object that was listed has vanished since; the object store does not answer.
    """
    found = list_folder(folder, suffix)
    if isinstance(folder, Path):
        for path in found:
            with listed(path), files.readable(path, IntegrityError, "Remove it."):
                data = files.read_small(path)
            yield path, data
        return
    store = folder.store()
    for place, result in [(place, store.read(place.key)) for place in found]:  # all requests at once
        with listed(place):
            data = _read(place, result)
        yield place, data


@contextlib.contextmanager
def listed(place: Place) -> Iterator[None]:
    """Turn the error of a file or object that has vanished since it was listed into a ResourceError that says so."""
    try:
        yield
    except (FileNotFoundError, IntegrityError) as error:
        if not isinstance(error, FileNotFoundError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise ResourceError(
            f"{place} was there a moment ago and is gone: another process is removing or replacing it, or the store "
            "lists what it does not have. The same command goes on with what is there."
        ) from error


def list_folder(folder: Place, suffix: str) -> list[Place]:
    """Return the places directly in a folder whose name has this suffix, sorted by name; none without the folder."""
    if isinstance(folder, Path):
        return sorted(folder.glob(f"*{suffix}"))
    with explained("read", folder):
        keys = folder.store().list(_below(f"{folder.key}/")).result()
    names = (key.decode().removeprefix(f"{folder.key}/") for key in keys)
    return [folder / name for name in sorted(names) if name.endswith(suffix) and "/" not in name]


def write(place: Place, data: bytes) -> None:
    """Write a file or object completely and durably, replacing an earlier one.

    Raises
    ------
    ResourceError
        The file or object cannot be written.
    """
    with explained("write", place):
        if isinstance(place, Path):
            place.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(place, data)
            _flush_folder(place.parent)
        else:
            place.store().write(place.key, data).result()


def write_new(place: Remote, data: bytes) -> bool:
    """Write an object if there is none with this key, and return whether it was written.

    If several processes try this at once, it is true for only one of them.
    """
    with explained("write", place):
        store = place.store()
        absent = store.read(place.key).result()
        if absent.state != "missing":
            return False
        return bool(store.write(place.key, data, if_equal=absent.stamp.generation).result().generation)


@contextlib.contextmanager
def explained(action: str, place: Place) -> Iterator[None]:
    """Turn an error of the system or an object store into a ResourceError that names the place and the remedy."""
    try:
        with files.explained(action, place) if isinstance(place, Path) else contextlib.nullcontext():
            try:
                yield
            except ValueError as error:  # the form in which tensorstore reports errors of the system
                if not isinstance(place, Path):
                    raise
                number = re.search(r"os_error_code='(\d+)'", str(error))
                reason = os.strerror(int(number[1])) if number else str(error)[:300]
                raise OSError(int(number[1]) if number else None, reason) from error
    except (ValueError, OSError, NotImplementedError) as error:
        if isinstance(place, Path):
            raise
        raise ResourceError(f"Cannot {action} {place}: {_reason(place, str(error))}") from error


def _reason(place: Remote, said: str) -> str:
    """Return why an object store refused a request, and what to do."""
    bucket, short = place.spec.get("bucket"), said.partition(" [")[0][:300]
    endpoint = " and AWS_ENDPOINT_URL" if place.spec["driver"] == "s3" else ""
    at = f" at {place.spec['endpoint']}" if "endpoint" in place.spec else ""
    if "NoSuchBucket" in said or ("bucket does not exist" in said and bucket):
        return f"there is no bucket {bucket!r}{at}. Create it, or check its name{endpoint}. ({short})"
    if re.search(r"http_response_code='40[13]'|PERMISSION_DENIED|UNAUTHENTICATED|AccessDenied", said):
        return (
            f"access to bucket {bucket!r}{at} is denied. Give credentials that may list, read and write there: "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE for s3://, GOOGLE_APPLICATION_CREDENTIALS "
            f"for gs://. ({short})"
        )
    return (
        f"the store{at} does not answer as it should. Check the URL, the network{endpoint}; what is recorded there "
        f"is kept, and the same command goes on with the rest. ({short})"
    )


def _read(place: Remote, result: Any) -> bytes:
    with explained("read", place):
        found = result.result()
    if found.state != "value":
        raise FileNotFoundError(f"There is no {place}.")
    return found.value


def _below(prefix: str) -> tensorstore.KvStore.KeyRange:
    """Return the range of all keys with this prefix."""
    return tensorstore.KvStore.KeyRange(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))


def _flush_folder(folder: Path) -> None:
    """Flush a folder, so that the name of a new file in it is durable, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
