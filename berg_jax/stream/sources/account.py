"""Account of the files at a path of images: how many are usable, which are skipped, and which are passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_LISTED = 20  # skipped images that a message names


@dataclass
class Account:
    """Account of what was found: images found = usable + skipped + passed over.

    Attributes
    ----------
    encoded
        Number of images that can be used; of a finished output, that were encoded.
    skipped
        Files that cannot be used, by name, and why.
    passed_over
        Number of files that are no stimuli, by the reason.
    """

    encoded: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def found(self) -> int:
        """Number of files that were found."""
        return self.encoded + len(self.skipped) + self.passed_over.total()

    def as_json(self) -> dict[str, Any]:
        """Return the account as JSON values."""
        return {
            "found": self.found,
            "encoded": self.encoded,
            "skipped": dict(self.skipped),
            "passed_over": dict(self.passed_over),
        }

    def __str__(self) -> str:
        return account_text(self.as_json(), "usable")


def account_text(account: Mapping[str, Any], use: Literal["usable", "encoded"]) -> str:
    """Return an account in one line, and a line for each skipped file up to the first twenty.

    Parameters
    ----------
    account
        The account, as JSON values.
    use
        What the images are that are not skipped or passed over: usable, or already encoded.
    """
    skipped, passed_over = account["skipped"], account["passed_over"]
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(passed_over.items()))
    lines = [
        f"{account['found']:,} found = {account['encoded']:,} {use} + {len(skipped):,} skipped + "
        f"{sum(passed_over.values()):,} passed over{f' ({reasons})' if reasons else ''}"
    ]
    lines += [f"  skipped: {name}: {why}" for name, why in list(skipped.items())[:_LISTED]]
    if len(skipped) > _LISTED:
        lines.append(f"  … and {len(skipped) - _LISTED:,} more")
    return "\n".join(lines)
