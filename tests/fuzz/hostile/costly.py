"""More hostile files: small ones that ask for much work or memory, one part of them used over and over."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numcodecs import Blosc
from PIL import Image

from berg_jax.convert.torch_file import write_state_dict

from ..targets.common import SIZE
from ..targets.published import METADATA_START
from .contents import gifti, hdf5, member, plain

# Pickles of half a megabyte, half of it one thing and the other half calls that are given it.

_N = 200_000


def _calls(thing: bytes, called: str, given: bytes, times: int) -> bytes:
    module, name = called.rsplit(".", 1)
    function = f"c{module}\n{name}\n".encode() + b"q\x02"
    return b"\x80\x04" + thing + b"q\x010" + function + b"0" + (b"h\x02" + given + b"R0") * times + b"N."


SETS = _calls(b"](" + b"N" * _N + b"e", "builtins.set", b"h\x01\x85", 5000)
PAIRS = _calls(b"](" + b"K\x01K\x02\x86q\x03" + b"h\x03" * _N + b"e", "collections.OrderedDict", b"h\x01\x85", 5000)
DIGITS = _calls(plain("9" * 500_000), "builtins.complex", b"h\x01h\x01\x86", 30_000)
_OF_TEXT = (
    b"cnumpy\ndtype\n" + plain("S999999") + b"\x89\x88\x87Rq\x030B" + struct.pack("<I", 999_999) + bytes(999_999)
)
SCALARS = (
    b"\x80\x04"
    + _OF_TEXT
    + b"q\x010cnumpy.core.multiarray\nscalar\nq\x020]("
    + b"h\x02h\x03h\x01\x86R" * 4000
    + b"e."
)
_LIST = (
    b"](" + b"N" * _N + b"eq\x010cnumpy\ndtype\n" + plain("O8") + b"\x89\x88\x87Rq\x020" + plain((_N,)) + b"q\x030"
)
_MADE = b"cnumpy.core.multiarray\n_reconstruct\nq\x040cnumpy\nndarray\nK\0\x85C\x01b\x87q\x050]("
OBJECTS = b"\x80\x04" + _LIST + _MADE + b"h\x04h\x05R(K\x01h\x03h\x02\x89h\x01tb" * 2000 + b"e."


# Maps and tables.


def many_arrays() -> bytes:
    packed = base64.b64encode(zlib.compress(bytes(40 << 20), 1)).decode()
    head, array, tail = gifti(packed).decode().partition("<DataArray")[0], "", "</GIFTI>"
    array = gifti(packed).decode()[len(head) :].removesuffix(tail)
    return (head + array * 20 + tail).encode()


def endless_axes(path: Path, valid: bytes) -> bytes:
    return valid.replace(b'Dimensionality="1"', b'Dimensionality="1000000000000"')


def gzipped(path: Path, valid: bytes) -> bytes:
    """A map that is whole, and 200 MB of zeros after it, in 1 MB."""
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(valid) + packer.compress(bytes(200 << 20)) + packer.flush()


# NaNs at whose conversion NumPy warns; copying them keeps what they are, and arithmetic does not.
SIGNALING = {
    4: np.array(0x7FA00000, np.uint32).view(np.float32),
    8: np.array(0x7FF4 << 48, np.uint64).view(np.float64),
}


def signaling(shape: tuple[int, ...], size: int = 4) -> np.ndarray:
    return np.full(shape, SIGNALING[size])


def signaling_torch(path: Path, valid: bytes) -> None:
    write_state_dict(path, {"a": signaling((2, 3))})


def signaling_map(path: Path, valid: bytes) -> None:
    np.savez(path, lh=signaling((SIZE,)), rh=signaling((SIZE,), 8))


def signaling_metadata(path: Path, valid: bytes) -> bytes:
    """Of one hemisphere, in float32, as the other's are not."""
    holder = pickle.loads(valid.removeprefix(METADATA_START))
    holder[()]["fmri"]["lh_ncsnr"] = signaling((SIZE,))
    return METADATA_START + pickle.dumps(holder, protocol=4)


def unpacked_map(path: Path, valid: bytes) -> None:
    np.savez_compressed(path, lh=np.zeros(250_000_000, np.uint8), rh=np.zeros(9, np.uint8))


def wide_table() -> bytes:
    names = b",".join(b"c%d" % place for place in range(50_000))
    return b"image,session,category," + names + b"\n" + b"a,1,x\n" * 50_000


def long_session(path: Path, valid: bytes) -> bytes:
    """One of 30,000 rows has a session of 130,000 letters, which an array of text would give to each."""
    np.save(path.with_name("betas.npy"), np.ones((30_000, 3), np.float32))
    return b"image,session\na," + b"x" * 130_000 + b"\n" + b"a,1\n" * 29_999


def many_matrices(path: Path, valid: bytes) -> bytes:
    size = (60 << 20) - 8
    one = zlib.compress(struct.pack("<II", 14, size) + bytes(size), 1)
    return valid[:128] + (struct.pack("<II", 15, len(one)) + one) * 200


# Images.


def large_png(path: Path, valid: bytes) -> None:
    """9400 × 9400 pixels, fewer than Pillow refuses: an answer is right, if its memory is what is promised."""
    packer = zlib.compressobj(1)
    row = bytes(1 + 3 * 9400)
    data = b"".join(packer.compress(row) for _ in range(9400)) + packer.flush()
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 9400, 9400, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    chunks = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def large_scans(path: Path, valid: bytes) -> bytes:
    memory = io.BytesIO()
    Image.new("L", (4000, 4000)).save(memory, "JPEG", progressive=True)
    data = memory.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 90 + data[-2:]


def huge_tile(path: Path, valid: bytes) -> bytes:
    """Of 20,000 × 20,000 pixels, in an image of 16 × 16."""
    packed = zlib.compress(bytes(1000))
    facts = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 284: 1, 322: 20_000, 323: 20_000}
    facts |= {324: 8 + 2 + 12 * 11 + 4, 325: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in facts.items())
    return b"II*\0" + struct.pack("<IH", 8, len(facts)) + entries + bytes(4) + packed


# Archives and arrays.


def many_globals(path: Path, valid: bytes) -> bytes:
    """60,000 entries that hold for each of 3,000 members, and are copied for it."""
    memory = io.BytesIO()
    everywhere = {f"k{number}": "v" for number in range(60_000)}
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.PAX_FORMAT, pax_headers=everywhere) as archive:
        for number in range(3000):
            archive.addfile(tarfile.TarInfo(f"{number}.json"))
    return memory.getvalue()


def digits_in_header(path: Path, valid: bytes) -> bytes:
    block, body = bytearray(member("x", type=tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT)), b"1" * (1 << 20)
    block[124:136], block[148:156] = b"%011o\0" % len(body), b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + body + valid


def _chunked(data: bytes, *packings: int) -> Callable[[h5py.File, Path], None]:
    def make(file: h5py.File, path: Path) -> None:
        facts = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        facts.set_chunk((1, 4, 4, 3))
        for packing in packings:
            facts.set_filter(packing, 0, (9,))
        space = h5py.h5s.create_simple((2, 4, 4, 3))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, facts)
        file["x"].id.write_direct_chunk((0, 0, 0, 0), data)

    return make


def packed_twice(path: Path, valid: bytes) -> None:
    once = zlib.compress(bytes(1 << 28), 1)
    hdf5(_chunked(zlib.compress(once, 9), h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_DEFLATE))(path, valid)


def slow_lzf(path: Path, valid: bytes) -> None:
    """Each three bytes become 264, and HDF5 guesses 88 times how much room that takes."""
    hdf5(_chunked(b"\0\0" + b"\xe0\xff\0" * 1_000_000, h5py.h5z.FILTER_LZF))(path, valid)


def lying_blosc(path: Path, valid: bytes) -> bytes:
    """A chunk of 48 bytes that says it becomes 2 GB."""
    packed = bytearray(Blosc().encode(np.ones((1, 4, 4, 3), np.uint8)))
    packed[4:8] = struct.pack("<I", 2_000_000_000)
    for chunk in path.parent.rglob("*"):
        if chunk.is_file() and chunk.name[0].isdigit():
            chunk.write_bytes(packed)
    facts = json.loads(valid)
    options = {"cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    if "chunks" in facts:
        return json.dumps(facts | {"compressor": {"id": "blosc", **options}}).encode()
    blosc = {"name": "blosc", "configuration": options | {"typesize": 1, "shuffle": "shuffle"}}
    return json.dumps(facts | {"codecs": [{"name": "bytes"}, blosc]}).encode()
