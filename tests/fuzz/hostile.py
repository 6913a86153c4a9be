"""Hostile files: what each of them tries, in a line, how it is made, and what the reader says to it.

A case takes the place of the file of a target of :mod:`tests.fuzz.targets`; the folder holds all the others.
"""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from .hostile_contents import (
    BOMB,
    EXPANDED,
    LAUGHS,
    MEGABYTES,
    YAML,
    YAML_LAUGHS,
    beside,
    bound,
    circular,
    declared,
    design,
    elsewhere,
    gifti,
    hdf5,
    huge_member,
    huge_mgh,
    huge_record,
    huge_stored,
    lazily,
    long_header,
    looping,
    many_scans,
    member,
    metadata_of,
    npy,
    other_file,
    pipe_as_chunk,
    plain,
    png,
    renamed_roi,
    replaced,
    saved,
    shared,
    swelling,
    tarred,
    tensor,
    virtual,
    with_tensor,
    zarr_with,
    zipped,
)
from .hostile_more import (
    DIGITS,
    OBJECTS,
    PAIRS,
    SCALARS,
    SETS,
    digits_in_header,
    endless_axes,
    gzipped,
    huge_tile,
    large_png,
    large_scans,
    long_session,
    lying_blosc,
    many_arrays,
    many_globals,
    many_matrices,
    packed_twice,
    signaling,
    signaling_map,
    signaling_metadata,
    signaling_torch,
    slow_lzf,
    unpacked_map,
    wide_table,
)
from .targets import METADATA_START, SIZE, mgh, mutated_npz

PIPE = "pipe"  # in place of contents
DEEP = b"[" * 100_000


class Hostile(NamedTuple):
    """``contents`` are the file's; or a function of its path and valid contents, which may write the file itself.

    ``said`` is in the error; None where the right answer is asked for.
    """

    target: str
    attack: str
    contents: bytes | str | Callable[[Path, bytes], bytes | None]
    said: str | None


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
    Hostile("npz", "an array that says it takes 2 GB in the archive", huge_stored, "which it must not"),
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
    Hostile("npy", "10^12 images", declared("(1000000000000, 3, 4, 4)"), "shape"),
    Hostile("npy", "sizes whose product overflows to nothing", declared("(4294967296, 4294967296, 3, 3)"), "shape"),
    Hostile("npy", "a negative size", declared("(-2, 3, 4, 4)"), "plain numbers"),
    Hostile("npy", "Python code in the header", declared("__import__('os').system('touch pwned')"), "x.npy"),
    Hostile("npy", "10,000 brackets in the header", npy("{'descr': " + "[" * 9000), "x.npy"),
    Hostile("npy", "an open bracket in the header, at which NumPy's tokenizer gives up", npy("{'descr': ("), "x.npy"),
    Hostile("npy", "a header that says it takes 4 GB", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "longer than"),
    Hostile("npy", "an archive under the name of an array", zipped(("x.npy", b"")), "x.npy"),
    Hostile("npy", "pickled objects", declared("(2, 3, 4, 4)", "'|O'"), "expected numbers"),
    Hostile("npy", "values of no bytes", declared("(99999999, 3, 4, 4)", "'|V0'"), "expected numbers"),
    Hostile("npy", "values with fields", declared("(2, 3, 4, 4)", "[('a', '|u1')]"), "expected numbers"),
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
    Hostile("tar", "a member that leads out of the folder", tarred(member("../../x.png")), "leads out of it"),
    Hostile(
        "tar",
        "a member that is a link to a file outside",
        tarred(member("x.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        "a link to",
    ),
    Hostile("tar", "a member of 10^18 bytes", tarred(member("x.png", pax_headers={"size": str(10**18)})), "x.tar"),
    Hostile(
        "tar",
        "a member with holes",
        tarred(member("x.png", pax_headers={"GNU.sparse.map": "0,999999999999"})),
        "no plain file",
    ),
    Hostile("tar", "a header that says it takes 8 GB", long_header, "a header of"),
    Hostile("image", "a PNG of 60,000 × 60,000 pixels", png(60_000, 60_000), "too large"),
    Hostile(
        "image", "a PNG of a row of 80 million pixels, which padding would square", png(80_000_000, 1), "too large"
    ),
    Hostile("image", "a row of 30,000 pixels, likewise", png(30_000, 1), "padded, is too large"),
    Hostile("image", "a JPEG of 500 scans, each as slow as all of it", many_scans, "scans"),
    Hostile(
        "image",
        "PostScript, for which Pillow starts a program",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "cannot be read as an image",
    ),
    Hostile("image", "a pipe beside the images", beside(lambda folder: os.mkfifo(folder / "a.png")), None),
    Hostile("image", "a socket beside the images", beside(lambda folder: bound(folder / "a.png")), None),
    Hostile("image", "links to the folder itself", beside(looping), None),
    Hostile(
        "image",
        "a link to zeros without end",
        beside(lambda folder: (folder / "a.png").symlink_to("/dev/zero")),
        None,
    ),
    Hostile("list", "a file of passwords", b"/etc/passwd\n", "cannot be read as an image"),
    Hostile("list", "zeros without end", b"/dev/zero\n", "no file"),
    Hostile("list", "a name longer than any", b"x" * 5000, "cannot be read"),
    Hostile("list", "a root that is no other's", b"//a.png\n/a.png", "no file"),
    Hostile("list", "a list that is a pipe", PIPE, "no"),
    Hostile("hdf5", "images that are another file's, as a virtual dataset", hdf5(virtual), "in other files"),
    Hostile(
        "hdf5",
        "a file of passwords as images",
        hdf5(lambda file, path: file.create_dataset("x", (2, 4, 4, 3), np.uint8, external=[("/etc/passwd", 0, 96)])),
        "in other files",
    ),
    Hostile(
        "hdf5",
        "a link to another file",
        hdf5(lambda file, path: file.__setitem__("x", h5py.ExternalLink(other_file(file, path), "x"))),
        "0 datasets",
    ),
    Hostile("hdf5", "a chunk of 48 bytes that unpacks to 1.3 GB", hdf5(swelling), "becomes more than"),
    Hostile("hdf5", "10^12 images in no bytes", lazily((10**12, 4, 4, 3), chunks=(1, 4, 4, 3)), "declares"),
    Hostile("hdf5", "images of 10^10 pixels", lazily((2, 10**5, 10**5, 3), chunks=(1, 100, 100, 3)), "too large"),
    Hostile("hdf5", "chunks of 3 GB", lazily((10**4, 500, 500, 3), chunks=(4000, 500, 500, 3)), "chunks of"),
    Hostile(
        "zarr2",
        "chunks of 10^18 values, at which TensorStore ends the process",
        replaced(b"\n    1,\n", b"\n    1000000000000000000,\n"),
        "chunks of",
    ),
    Hostile("zarr3", "10^12 images in no bytes", replaced(b"\n    2,\n", b"\n    1000000000000,\n"), "declares"),
    Hostile("zarr3", "a chunk that is a pipe", zarr_with(pipe_as_chunk), "is no file"),
    Hostile("zarr3", "folders that lead in circles, 2^40 of them", zarr_with(looping), "is no file"),
    Hostile("zarr3", "metadata that nest 100,000 deep", DEEP, "nested too deeply"),
    Hostile("zarr3", "metadata that are a pipe", PIPE, "is no file"),
    Hostile("numbers", "5 billion image numbers in 500 bytes", b"0-99999999," * 50, "More than"),
    Hostile("numbers", "a pipe", PIPE, "x.txt"),
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
    Hostile("description", "a part in another folder", replaced(b'"part1"', b'"../../part1"'), "parts are not"),
    Hostile("description", "a network of NaN blocks", replaced(b'"depth": 4', b'"depth": NaN'), "must be an integer"),
    Hostile("description", "100,000 brackets", DEEP, "damaged"),
    Hostile(
        "description",
        "a size of 5000 digits",
        replaced(b'"hemisphere_size": 6', b'"hemisphere_size": ' + b"9" * 5000),
        "damaged",
    ),
    Hostile("sums", "a checksum of a file outside", b"0" * 64 + b"  ../../etc/passwd\n", "does not hold the files"),
    Hostile("sums", "checksums that are a pipe", PIPE, "cannot be read"),
    Hostile(
        "certificate",
        "a limit beyond any float",
        replaced(b'"limit": 1.0', b'"limit": 1' + b"0" * 400),
        "cannot be read",
    ),
    Hostile("certificate", "100,000 brackets", DEEP, "cannot be read"),
    Hostile("certificate", "a pipe", PIPE, "no file"),
    Hostile(
        "config",
        "a list of 2^60 items in a message",
        YAML_LAUGHS + YAML % (b"0.2", b"*a59"),
        "expected a list of integers",
    ),
    Hostile(
        "config", "likewise, where a number is expected", YAML_LAUGHS + YAML % (b"*a59", b"[1]"), "expected a number"
    ),
    Hostile("config", "entries that merge each other 2^60 times", b"a: &a {x: 1}\nb: {<<: [*a, *a]}\n", "merges"),
    Hostile("config", "a Python object", b"!!python/object/apply:os.system ['touch pwned']", "config.yaml"),
    Hostile("config", "10,000 brackets", DEEP[:10_000], "config.yaml"),
    Hostile("config", "a month that is none", b"a: 2001-13-45", "config.yaml"),
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
    Hostile("image", "88 million pixels, as many as are read", large_png, None),
    Hostile("image", "a large JPEG of 90 scans", large_scans, "scans"),
    Hostile("image", "a TIFF whose tile is a million times the image", huge_tile, "too large"),
    Hostile("tar", "60,000 entries that hold for each member", many_globals, "global headers"),
    Hostile("tar", "a million digits, in which Python looks for a number from each on", digits_in_header, "digits"),
    Hostile("hdf5", "a chunk that is packed twice, and becomes 256 MB", packed_twice, "packed several times"),
    Hostile("hdf5", "a chunk of LZF that takes a minute", slow_lzf, "becomes more than"),
    Hostile("zarr2", "a blosc chunk that says it becomes 2 GB", lying_blosc, "becomes 2,000,000,000"),
    Hostile("zarr3", "a blosc chunk that says it becomes 2 GB", lying_blosc, "becomes 2,000,000,000"),
    Hostile("pickle", "a list made a set of 5000 times", SETS, "than its size warrants"),
    Hostile("pickle", "pairs made a dictionary of 5000 times", PAIRS, "than its size warrants"),
    Hostile("pickle", "500,000 digits made a number of 60,000 times", DIGITS, "than its size warrants"),
    Hostile("pickle", "4000 scalars of the same megabyte", SCALARS, "than its size warrants"),
    Hostile("pickle", "2000 arrays of the same list", OBJECTS, "than its size warrants"),
    Hostile("certificate", "notes that are a number", replaced(b'"notes": []', b'"notes": 1'), "expected type"),
    Hostile("config", "a number beyond any float", YAML % (b"9" * 400, b"[1]"), "expected a number"),
    Hostile("backbone", "weights that are NaN", with_tensor("layernorm.weight", np.full(2, np.nan)), "not finite"),
    Hostile(
        "backbone",
        "positions that overflow as they are resized",
        with_tensor("embeddings.position_embeddings", np.full((1, 5, 2), 3e38)),
        "not finite",
    ),
    Hostile("mgh", "a header of 2^30 values", huge_mgh, "more than any map"),
    Hostile("mgh", "a gzip archive of 1 MB that becomes 200 MB", gzipped, "takes more than"),
    Hostile("mgh", "signaling NaNs, which are NaN", mgh(signaling((SIZE, 1, 1))), None),
    Hostile("npz", "signaling NaNs of two types", signaling_map, None),
    Hostile("torch", "signaling NaNs", signaling_torch, None),
    Hostile("npy", "signaling NaNs in images", saved(signaling((2, 3, 4, 4), 8)), "holds NaN"),
    Hostile("trials", "signaling NaNs in responses", saved(signaling((4, 2 * SIZE), 8)), None),
    Hostile("metadata", "signaling NaNs in one hemisphere", signaling_metadata, None),
    Hostile("backbone", "signaling NaNs", with_tensor("layernorm.bias", signaling((2,))), "not finite"),
    Hostile(
        "backbone", "layer 10^9", with_tensor("encoder.layer.999999999.norm1.weight", np.ones(2)), "is no DINOv2"
    ),
    Hostile(
        "backbone",
        "a layer of 5000 digits",
        with_tensor(f"encoder.layer.{'9' * 5000}.norm1.weight", np.ones(2)),
        "is no DINOv2",
    ),
    Hostile(
        "backbone",
        "a tensor without axes",
        with_tensor("embeddings.patch_embeddings.projection.weight", np.ones(())),
        "is no DINOv2",
    ),
    Hostile(
        "backbone", "no positions", with_tensor("embeddings.position_embeddings", np.ones((1, 0, 2))), "no square"
    ),
    Hostile("backbone", "a header that says it takes 2^63 bytes", b"\xff" * 7 + b"\x7f{}", "cannot be read"),
    Hostile("sizes", "100,000 brackets", DEEP, "config.json"),
]
