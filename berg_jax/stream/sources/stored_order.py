"""Images in the order of an output's: those that it has, by their names, then new ones."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Num, UInt64

from ...errors import InvalidParameterError, ResourceError, StimulusError
from .account import Account
from .contents import content_digests, fingerprint
from .image_files import Source

_SHOWN = 5  # images that a message names


class StoredOrder:
    """Images of a source in the order of an output's: those that the output has, then the source's others.

    Parameters
    ----------
    source
        The source, which may lack images of the output.
    names, digests
        Names of the output's images, and digests of their contents.
    may_change
        Images of the output that may have other contents now, because they were skipped.
    take_new
        Whether images follow that the output lacks. Otherwise they are an error.
    found
        Account of the output's images.

    Raises
    ------
    InvalidParameterError
        The contents of the source's images are not known, or it has new ones although there should be none.
    ResourceError
        Images have the names of stored ones, and other contents.
    """

    def __init__(
        self,
        source: Source,
        names: Sequence[str],
        digests: UInt64[np.ndarray, " images"],
        *,
        may_change: Collection[int],
        take_new: bool,
        found: Mapping[str, Any] | None = None,
    ) -> None:
        self._source, self._before = source, len(names)
        fresh = content_digests(source)
        if fresh is None:
            raise InvalidParameterError("The contents of these images are not known, so they cannot be compared.")
        row_of = {name: row for row, name in enumerate(source.ids)}
        known = set(names)
        new = [name for name in source.ids if name not in known]
        if new and not take_new:
            raise InvalidParameterError(
                f"{len(new):,} images are not in the output: {_listed(new)}. Add them with --append, after the "
                "skipped ones were filled or without them."
            )
        self.ids = [*names, *new]
        self._rows = np.array([row_of.get(name, -1) for name in self.ids], int)
        now = np.where(self._rows >= 0, fresh[self._rows], 0)
        self._numbers = np.concatenate([digests, now[len(names) :]])
        differs = np.flatnonzero((now[: len(names)] != digests) & (now[: len(names)] != 0) & (digests != 0))
        refused = [names[image] for image in differs if int(image) not in may_change]
        if refused:
            raise ResourceError(
                f"{len(refused):,} images have names that the output has, and other contents: {_listed(refused)}. "
                "Stored responses are not changed: give the images other names, or choose another output."
            )
        if not take_new:
            self._numbers[differs] = now[differs]
        self._found = found

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def new(self) -> int:
        """Number of images that the output lacks."""
        return len(self.ids) - self._before

    def lacks(self, images: Int[np.ndarray, " n"]) -> list[str]:
        """Return the names of those of these images that the source lacks."""
        return [self.ids[image] for image in images if self._rows[image] < 0]

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of all images' names and contents, as of a source that has them in this order."""
        return fingerprint(self)

    def digests(self, rows: Int[np.ndarray, " n"]) -> dict[int, bytes]:
        """Return a digest of each of these images, by its position among ``rows``, as far as it is known."""
        numbers = {position: int(self._numbers[row]) for position, row in enumerate(rows)}
        return {position: number.to_bytes(8, "little") for position, number in numbers.items() if number}

    @property
    def account(self) -> Account | None:
        """Account of all images: the output's and the source's, what both have counted once."""
        account = getattr(self._source, "account", None)
        if account is None or self._found is None:
            return account
        if (self._rows[: self._before] >= 0).all():  # the source has all images
            passed_over, skipped = Counter(account.passed_over), dict(account.skipped)
        else:
            passed_over = Counter(self._found["passed_over"]) + Counter(account.passed_over)
            given = set(self._source.ids)
            before = {name: why for name, why in self._found["skipped"].items() if name not in given}
            skipped = {**before, **account.skipped}
        images = set(self.ids)
        usable = len(images) - sum(name in images for name in skipped)
        return Account(encoded=usable, skipped=skipped, passed_over=passed_over)

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """Read the images at these positions.

        Raises
        ------
        StimulusError
            An image cannot be read, or the source lacks it.
        """
        rows = self._rows[np.asarray(indices)]
        if (rows < 0).any():
            raise StimulusError(f"The images lack {self.ids[int(np.asarray(indices)[rows < 0][0])]}. Give it, too.")
        return self._source.read(rows)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
