"""Changes between the run that began an output and one that goes on with it: of its settings and of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from jaxtyping import UInt64

from .ledger import Ledger
from .places import Place, explained
from .remote_zarr import zarr_store

DIGEST = "digest"  # coordinate of the images' digests
_SHOWN = 5  # changed images that a message names


@dataclass(frozen=True)
class Changes:
    """Changes of images in words, and those that may be accepted.

    Attributes
    ----------
    words
        How the images differ from those that the output was begun with.
    accepted
        Digest of each changed image, by its number, if none of them has been encoded.
    """

    words: str
    accepted: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.words

    @classmethod
    def of(
        cls,
        path: Place,
        ledger: Ledger,
        accepted_before: Mapping[str, str],
        names: Sequence[str],
        digests: UInt64[np.ndarray, " images"] | None,
        skipped_too: bool = False,
    ) -> Changes:
        """Return the changes since an output was begun.

        Parameters
        ----------
        path, ledger
            The output, which records names and digests, and its ledger.
        accepted_before
            Changes that were accepted before.
        names, digests
            Names of the images now, and digests of their contents.
        skipped_too
            Whether images that were skipped may have changed, as those may that have not been encoded.
        """
        with explained("read", path):
            group = zarr.open_group(zarr_store(path), mode="r", use_consolidated=False)
            before = group["image"][:].tolist()
            known = group[DIGEST][:] if DIGEST in group else None
        if len(before) != len(names):
            hint = " (encode --append adds new ones)" if set(before) < set(names) else ""
            return cls(f"it has {len(before):,} images, and there are {len(names):,} now{hint}")
        if others := [(old, new) for old, new in zip(before, names, strict=True) if old != new]:
            old, new = others[0]
            return cls(f"{len(others):,} images have other names, such as {new!r:.80} in place of {old!r:.80}")
        if known is None or digests is None:
            return cls("the images have changed: they have the same names, but other contents, sizes or types")
        for image, digest in accepted_before.items():
            known[int(image)] = int(digest, 16)
        changed = np.flatnonzero(known != digests)
        done = np.zeros(len(names), bool)
        for block, count in ledger.done().items():
            start, _ = ledger.range(block)
            done[start : start + count] = True
        if skipped_too:
            done[[image for entry in ledger.entries().values() for image in entry.get("skipped", [])]] = False
        first = ", ".join(repr(names[image]) for image in changed[:_SHOWN])
        words = f"{len(changed):,} images have changed since: {first}{', …' if len(changed) > _SHOWN else ''}"
        accepted = {} if done[changed].any() else {str(image): f"{int(digests[image]):x}" for image in changed}
        return cls(words, {**accepted_before, **accepted} if accepted else {})


_FACTS_APART = ("identity", "found")  # a hash, and the account of the images, whose changes are told by themselves
_WORDS = {
    "selection's roi": "the ROI",
    "selection's hemisphere": "the hemisphere",
    "selection's min_ncsnr": "the least ncsnr",
    "selection's min_explained_variance": "the least explained variance",
    "fit": "the images' fit",
}
_LONGEST = 80  # characters of a value
# Entries of a run's description that are hashes.
_HASHES = {
    "identity": "a hash of the subject's files, the vertices and the precision",
    "reducers": "hashes of the design, the ROIs or the probes",
}


def differences_of(recorded: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the differences between two runs' descriptions in words, entry by entry for nested values."""
    found = []
    for name, value in now.items():
        other = recorded.get(name)
        if other == value:
            continue
        if isinstance(value, Mapping) and isinstance(other, Mapping) and value.keys() == other.keys():
            found += differences_of(other, value, f"{name}'s ")
        else:
            words = _WORDS.get(f"{prefix}{name}", f"{prefix}{name}")
            found.append(f"{words} is {_shown(other)} there and {_shown(value)} now")
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    half = _LONGEST // 2  # paths often differ at their end alone
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half:]}"


def run_differences(
    recorded: Mapping[str, Any], now: Mapping[str, Any], facts_there: Mapping[str, Any], facts: Mapping[str, Any]
) -> list[str]:
    """Return the differences between two runs in words: hashes that differ are explained by the facts beside them.

    Parameters
    ----------
    recorded, now
        Descriptions of the run that began the output, and of this one; they must be the same.
    facts_there, facts
        Attributes of the output, and those that this run would give it, such as the subject, the selection and the
        precision. They explain a difference, and are none by themselves.
    """
    plain = {name: value for name, value in now.items() if name not in _HASHES}
    found = differences_of(recorded, plain)
    hidden = [name for name in _HASHES if name in now and recorded.get(name) != now[name]]
    if not hidden:
        return found
    apart = {*plain, *_FACTS_APART}
    known = {name: value for name, value in facts.items() if name in facts_there and name not in apart}
    reasons = differences_of(facts_there, known)
    if reasons or found:
        return [*found, *reasons]
    return [
        f"{difference} ({_HASHES[name]})"
        for name in hidden
        for difference in differences_of(recorded, {name: now[name]})
    ]
