"""Hostile files in place of those that BERG publishes."""

from __future__ import annotations

import struct
import zipfile

from ..targets.published import METADATA_START
from .case import Hostile
from .contents import (
    EXPANDED,
    MEGABYTES,
    circular,
    huge_record,
    metadata_of,
    plain,
    renamed_roi,
    shared,
    tensor,
    zipped,
)
from .costly import (
    DIGITS,
    OBJECTS,
    PAIRS,
    SCALARS,
    SETS,
    signaling_metadata,
    signaling_torch,
)

CASES = [
    Hostile(
        "torch",
        "two records of one name: which one counts?",
        zipped(("x/data.pkl", b"N."), ("x/data.pkl", b"N.")),
        "one name",
    ),
    Hostile(
        "torch",
        "a record with another name where it lies than in the directory",
        lambda path, valid: valid.replace(b"own/data/0", b"own/data/x", 1),
        "has another name",
    ),
    Hostile(
        "torch",
        "a compressed record, which may be a bomb",
        zipped(("x/data.pkl", b"N" * 999 + b"."), ("x/note", bytes(9999)), method=zipfile.ZIP_BZIP2),
        "compressed",
    ),
    Hostile(
        "pickle", "a call of os.system", b"cos\nsystem\n" + plain("touch pwned") + b"\x85R.", "posix.system|os.system"
    ),
    Hostile("torch", "a record that says it takes 2 GB in the archive", huge_record, None),
    Hostile(
        "pickle",
        "a view of an expanded tensor, past the end of its memory",
        tensor(plain((2**20,)), plain((1,)), EXPANDED) + b".",
        "no storage",
    ),
    Hostile(
        "pickle",
        "a size made of eight billion items that take one byte",
        b"ctorch\nSize\n" + EXPANDED + b"\x85R.",
        "the items of a ndarray",
    ),
    Hostile("pickle", "a set of as many", b"cbuiltins\nset\n" + EXPANDED + b"\x85R.", "the items of a ndarray"),
    Hostile("pickle", "a call with as many arguments", b"ctorch\nSize\n" + EXPANDED + b"R.", "for its arguments"),
    Hostile(
        "pickle",
        "a shape of numbers of 4 MB each, whose product takes hours",
        MEGABYTES + b"q\x010" + tensor(b"(" + b"h\x01" * 32 + b"t", plain((0,) * 32)) + b".",
        "not plain numbers",
    ),
    Hostile(
        "pickle",
        "100,000 lists, each in the last",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "nested too deeply",
    ),
    Hostile(
        "pickle", "bytes that say they are a terabyte", b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.", "x.pth"
    ),
    Hostile("pickle", "a frame that says it is a terabyte", b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.", None),
    Hostile("pickle", "an integer of a million digits", b"I" + b"9" * 1_000_000 + b"\n.", "x.pth"),
    Hostile(
        "metadata", "lists that share their parts: 2^40 numbers in a kilobyte", metadata_of(shared(40)), "lh_ncsnr"
    ),
    Hostile("metadata", "a list that holds itself twice", metadata_of(circular()), "lh_ncsnr"),
    Hostile("metadata", "an integer of 10,000 digits among numbers", metadata_of([1, 10**4000]), "lh_ncsnr"),
    Hostile("metadata", "a ROI's name that cannot be printed", renamed_roi, "cannot be printed"),
    Hostile(
        "metadata",
        "bytes that say they are a terabyte",
        METADATA_START + b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
        "metadata.npy",
    ),
    Hostile("roi", "10,000 parentheses", b"(" * 10_000, "parentheses"),
    Hostile("roi", "a million terms, each sorted anew", b" + ".join([b"V1v"] * 300_000), "at most 10,000 characters"),
    Hostile("roi", "bytes that are no text", b"V1v + \xff\xfe\xed\xa0\x80", "Invalid ROI"),
    Hostile("pickle", "a list made a set of 5000 times", SETS, "than its size warrants"),
    Hostile("pickle", "pairs made a dictionary of 5000 times", PAIRS, "than its size warrants"),
    Hostile("pickle", "500,000 digits made a number of 60,000 times", DIGITS, "than its size warrants"),
    Hostile("pickle", "4000 scalars of the same megabyte", SCALARS, "than its size warrants"),
    Hostile("pickle", "2000 arrays of the same list", OBJECTS, "than its size warrants"),
    Hostile("torch", "signaling NaNs", signaling_torch, None),
    Hostile("metadata", "signaling NaNs in one hemisphere", signaling_metadata, None),
]
