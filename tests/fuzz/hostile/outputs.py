"""Hostile files in place of those that runs leave behind."""

from __future__ import annotations

import numpy as np

from ..targets.common import mutated_npz
from .case import DEEP, PIPE, Hostile
from .contents import (
    beside,
    elsewhere,
    replaced,
)

CASES = [
    Hostile("ledger", "brackets that nest 100,000 deep", DEEP, "no entry of this ledger"),
    Hostile(
        "ledger", "a count of a million digits", b'{"done": ' + b"9" * 1_000_000 + b"}", "no entry of this ledger"
    ),
    Hostile("ledger", "a host that cannot be printed", replaced(b'"here"', b'"\\ud800"'), "no entry of this ledger"),
    Hostile(
        "ledger", "a time that is not", replaced(b'"time": ', b'"time": NaN, "then": '), "no entry of this ledger"
    ),
    Hostile(
        "ledger",
        "block 10^30",
        beside(lambda folder: (folder / f"{10**30}.json").write_text('{"done": 1}')),
        "no entry of this ledger",
    ),
    Hostile("ledger", "an entry that is a folder", lambda path, valid: path.mkdir(), "is damaged"),
    Hostile("ledger", "an entry that is a pipe", PIPE, "is damaged"),
    Hostile("output", "blocks of no images", replaced(b'"block": 2', b'"block": 0'), "is no output"),
    Hostile("output", "10^5 brackets", DEEP, "is no output"),
    Hostile("output", "a pipe", PIPE, "is no output"),
    Hostile("settings", "a reducer whose results would lie outside", elsewhere, "name must be"),
    Hostile(
        "state",
        "a state of another size",
        lambda path, valid: mutated_npz(valid, "moments.0", np.zeros(10**6)),
        "moments.0",
    ),
    Hostile(
        "state",
        "blocks that are text",
        lambda path, valid: mutated_npz(valid, "blocks", np.array(["0"])),
        "its blocks are",
    ),
    Hostile("state", "a state that is a pipe", PIPE, "is damaged"),
    Hostile(
        "checkpoint",
        "a latent of another type",
        lambda path, valid: mutated_npz(valid, "leaf.0", np.array([["x"] * 3] * 2)),
        "another optimization",
    ),
]
