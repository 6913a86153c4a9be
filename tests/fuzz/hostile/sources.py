"""Hostile sources of images."""

from __future__ import annotations

import os
import tarfile

import h5py
import numpy as np

from .case import DEEP, PIPE, Hostile
from .contents import (
    beside,
    bound,
    declared,
    hdf5,
    lazily,
    long_header,
    looping,
    many_scans,
    member,
    npy,
    other_file,
    pipe_as_chunk,
    png,
    replaced,
    saved,
    swelling,
    tarred,
    virtual,
    zarr_with,
    zipped,
)
from .costly import (
    digits_in_header,
    huge_tile,
    large_png,
    large_scans,
    lying_blosc,
    many_globals,
    packed_twice,
    signaling,
    slow_lzf,
)

CASES = [
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
    Hostile("image", "links to the folder itself", beside(looping), "is a broken link to"),
    Hostile(
        "image",
        "a link to zeros without end",
        beside(lambda folder: (folder / "a.png").symlink_to("/dev/zero")),
        None,
    ),
    Hostile("list", "a file of passwords", b"/etc/passwd\n", "cannot be read as an image"),
    Hostile("list", "zeros without end", b"/dev/zero\n", "no file"),
    Hostile("list", "a name longer than any", b"x" * 5000, "cannot be read"),
    Hostile("list", "a root that is no other's", b"//a.png\n/a.png", "stands in line 1 already"),
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
    Hostile("image", "88 million pixels, as many as are read", large_png, None),
    Hostile("image", "a large JPEG of 90 scans", large_scans, "scans"),
    Hostile("image", "a TIFF whose tile is a million times the image", huge_tile, "too large"),
    Hostile("tar", "60,000 entries that hold for each member", many_globals, "global headers"),
    Hostile("tar", "a million digits, in which Python looks for a number from each on", digits_in_header, "digits"),
    Hostile("hdf5", "a chunk that is packed twice, and becomes 256 MB", packed_twice, "packed several times"),
    Hostile("hdf5", "a chunk of LZF that takes a minute", slow_lzf, "becomes more than"),
    Hostile("zarr2", "a blosc chunk that says it becomes 2 GB", lying_blosc, "becomes 2,000,000,000"),
    Hostile("zarr3", "a blosc chunk that says it becomes 2 GB", lying_blosc, "becomes 2,000,000,000"),
    Hostile("npy", "signaling NaNs in images", saved(signaling((2, 3, 4, 4), 8)), "holds NaN"),
]
