"""Mirrors of the public bucket: S3 buckets, web servers and folders, with retried requests."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import re
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ResourceError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PUBLIC = "s3://brain-encoding-response-generator"
_REGION = "us-west-2"  # of the public bucket
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between attempts
_SILENCE = "30s"  # time without data after which a connection counts as dead
_log = logging.getLogger(__name__)


class _CutError(Exception):
    """An answer that is shorter than requested."""


class Mirror:
    """A bucket, web server or folder that holds files. Every request is tried several times.

    Parameters
    ----------
    url
        Address of the mirror: see :func:`~berg_jax.published.fetch.fetch`.
    files
        Destinations of the wanted files, by their keys.
    attempts
        Number of times that a request is tried.
    """

    def __init__(self, url: str, files: dict[str, Path], attempts: int) -> None:
        self.url = url.rstrip("/")
        self.files = files
        self.attempts = attempts
        self.store = _open(self.url)
        self.stopped = threading.Event()  # set when a request has finally failed, so that the others stop trying

    def versions(self) -> dict[str, tuple[int, str | None]]:
        """Return the size and the ETag of every wanted file."""
        metas = {key: self._persist(key, lambda key=key: self.store.head(key)) for key in self.files}
        return {key: (meta["size"], meta["e_tag"]) for key, meta in metas.items()}

    def read(self, key: str, version: tuple[int, str | None], start: int, end: int) -> Any:
        """Return the bytes of a file from ``start`` up to ``end`` as a buffer.

        Raises
        ------
        IntegrityError
            The file's size and ETag are no longer those of ``version``.
        """

        def request() -> Any:
            answer = self.store.get(key, options={"range": (start, end)})
            current = (answer.meta["size"], answer.meta["e_tag"])
            if current != version:
                raise IntegrityError(
                    f"{key} changed on {self.url} while it was fetched: its size and ETag were {version} and "
                    f"are now {current}. Fetch again: this file will start anew."
                )
            data = answer.bytes()
            if len(data) != end - start:
                raise _CutError(f"{len(data)} bytes came instead of {end - start}")
            return data

        return self._persist(key, request)

    def _persist(self, key: str, request: Callable[[], Any]) -> Any:
        from obstore.exceptions import BaseError, NotSupportedError, PermissionDeniedError, UnauthenticatedError

        for attempt in itertools.count(1):
            try:
                return request()
            except FileNotFoundError as error:
                raise ModelNotFoundError(f"There is no {key} in {self.url}.{self._neighbors(key)}") from error
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise ModelNotFoundError(f"{self.url} refuses {key}: it is not there, or not public.") from error
            except NotSupportedError as error:
                raise ResourceError(f"{self.url} serves no parts of files: choose another mirror.") from error
            except (BaseError, _CutError) as error:
                reason = str(error).partition("\n")[0].rpartition(" - ")[2][:200]
                pause = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)
                if attempt < self.attempts and not self.stopped.is_set():
                    _log.warning("%s: %s. Trying again (%d of %d).", key, reason, attempt + 1, self.attempts)
                    if not self.stopped.wait(pause):
                        continue
                raise ResourceError(
                    f"Cannot fetch {key} from {self.url}, tried {attempt} times: {reason}. Is the network up? "
                    f"All that has been fetched is kept: fetch again to go on.{self._by_hand()}"
                ) from error

    def _neighbors(self, key: str) -> str:
        """Return a sentence that lists the files beside a missing one, if the mirror can list them."""
        from obstore.exceptions import BaseError

        names = []
        if not self.url.startswith("http"):
            with contextlib.suppress(BaseError, OSError):
                found = self.store.list_with_delimiter(key.rpartition("/")[0])["objects"]
                names = sorted(meta["path"].rpartition("/")[2] for meta in found)
        return f" There are: {', '.join(names)}." if names else ""

    def _by_hand(self) -> str:
        """Return commands that fetch the missing files without this package."""
        if self.url.startswith("file:"):
            return ""
        command = "curl -fL --create-dirs {} -o {}"
        if self.url.startswith("s3:"):
            command = "aws s3 cp --no-sign-request {} {}"
        lines = [
            command.format(shlex.quote(f"{self.url}/{key}"), shlex.quote(str(destination)))
            for key, destination in self.files.items()
            if not destination.exists()
        ]
        return "\n".join(["\nOr by hand:", *lines])


def _open(url: str) -> ObjectStore:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/.*)?|https?://[^/?#@]+(/[^?#]*)?|file:///.+", url):
        raise InvalidParameterError(
            f"mirror must begin with s3://bucket, https://host, http://host or file:///folder, got {url!r}."
        )
    try:
        from obstore.store import HTTPStore, LocalStore, S3Store
    except ImportError as error:
        raise ResourceError("Fetching needs obstore. Install it: pip install 'berg_jax[fetch]'") from error
    scheme, _, place = url.partition("://")
    if scheme == "file":
        folder = Path(unquote(place))
        if not folder.is_dir():
            raise ModelNotFoundError(f"There is no folder {folder}, which the mirror {url} names.")
        return LocalStore(folder)
    server = url
    if scheme == "s3":
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        server = next((os.environ[name] for name in names if os.environ.get(name)), url)
    # A range may take long on a slow connection. obstore tries once; _persist tries again and logs it.
    client = {"allow_http": server.startswith("http://"), "timeout": "1h", "read_timeout": _SILENCE}
    options: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
    if scheme != "s3":
        try:
            return HTTPStore(url, **options)
        except ValueError as error:
            raise InvalidParameterError(f"mirror must be the address of a server, got {url!r}: {error}.") from error
    bucket, _, prefix = place.partition("/")
    region = {"region": _REGION} if url == PUBLIC else {}
    return S3Store(
        bucket, prefix=prefix, skip_signature=True, virtual_hosted_style_request=False, **region, **options
    )
