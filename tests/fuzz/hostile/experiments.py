"""Hostile responses, tables and maps."""

from __future__ import annotations

import struct
import zipfile

import numpy as np

from ..targets.common import SIZE
from ..targets.experiments import mgh
from .case import Hostile
from .contents import (
    BOMB,
    LAUGHS,
    declared,
    design,
    gifti,
    huge_member,
    huge_mgh,
    huge_stored,
    saved,
    zipped,
)
from .costly import (
    endless_axes,
    gzipped,
    long_session,
    many_arrays,
    many_matrices,
    signaling,
    signaling_map,
    unpacked_map,
    wide_table,
)

CASES = [
    Hostile("npz", "an array that says it takes 2 GB in the archive", huge_stored, "which it must not"),
    Hostile("npz", "a compressed array that says it becomes 2 GB", huge_member, "which it must not"),
    Hostile(
        "npz",
        "a compression whose memory has no bound",
        zipped(("lh.npy", b""), ("rh.npy", b""), method=zipfile.ZIP_LZMA),
        "is compressed",
    ),
    Hostile("npz", "two arrays of one name", zipped(("lh.npy", b""), ("lh.npy", b""), ("rh.npy", b"")), "two arrays"),
    Hostile(
        "npz",
        "arrays that are more than their data",
        zipped(("lh.npy", declared("(999999999,)")), ("rh.npy", b"")),
        "do not fit",
    ),
    Hostile(
        "design",
        "trials that count from 0, which would be the last image",
        lambda path, valid: design(0),
        "count from 1",
    ),
    Hostile("design", "trials that are no numbers", lambda path, valid: design(np.nan), "whole numbers"),
    Hostile(
        "betas",
        "a header of 2^60 values",
        lambda path, valid: valid[:4] + struct.pack(">iiii", 2**30, 2**30, 1, 1) + valid[20:],
        "vertices|cannot be read",
    ),
    Hostile(
        "betas",
        "an infinite response",
        lambda path, valid: mgh(np.full((2, 1, 1, 750), np.inf, np.float32)),
        "infinite",
    ),
    Hostile(
        "trials",
        "responses too large for float32",
        lambda path, valid: saved(np.full((4, 2 * SIZE), 1e300)),
        "infinite",
    ),
    Hostile("table", "a field of 200,000 characters", b"image,session,category\n" + b"x" * 200_000, "table.csv"),
    Hostile("table", "bytes that are no text", b"image,session,category\n\xff\xfe", "table.csv"),
    Hostile(
        "gifti",
        "entities that become a terabyte",
        gifti("&l11;", "ASCII", f"<!DOCTYPE GIFTI [{LAUGHS}]>"),
        "entities",
    ),
    Hostile(
        "gifti",
        "a file of passwords as values",
        gifti("", "ExternalFileBinary", more='ExternalFileName="/etc/passwd" ExternalFileOffset="0"'),
        "which is not read",
    ),
    Hostile("gifti", "values that unpack to 80 MB", gifti(BOMB), "takes more than"),
    Hostile("gifti", "20 arrays that unpack to 40 MB each", many_arrays(), "takes more than"),
    Hostile("gifti", "values before an element, which hides them", gifti(BOMB + "<Data/>"), "lies among"),
    Hostile("gifti", "an array of 10^12 axes", endless_axes, "expected 1 to 6"),
    Hostile("npz", "an array that unpacks to 250 MB, and eight times that as float64", unpacked_map, "must not"),
    Hostile(
        "table", "50,000 short rows of 50,000 columns, to be filled up", wide_table(), "must be numbers of shape"
    ),
    Hostile("table", "a session's name so long that each would take its room", long_session, "were never shown"),
    Hostile("design", "200 matrices that unpack to 60 MB each", many_matrices, "matrices of more than"),
    Hostile("mgh", "a header of 2^30 values", huge_mgh, "more than any map"),
    Hostile("mgh", "a gzip archive of 1 MB that becomes 200 MB", gzipped, "takes more than"),
    Hostile("mgh", "signaling NaNs, which are NaN", mgh(signaling((SIZE, 1, 1))), None),
    Hostile("npz", "signaling NaNs of two types", signaling_map, None),
    Hostile("trials", "signaling NaNs in responses", saved(signaling((4, 2 * SIZE), 8)), None),
]
