"""The safe readers: right answers on what torch and NumPy write, a BERGError on anything else, never code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from berg_jax.convert.torch_file import write_object, write_state_dict
from berg_jax.errors import BERGError, ModelLoadError, ModelNotFoundError, UnsafeFileError
from berg_jax.files.torch_archive import read_pickled_npy, read_torch

from ..conftest import DATA

READING = DATA / "reading"
PROTOCOLS = (2, 3, 4, 5)


def archive(path: Path, pickled: bytes, records: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("root/data.pkl", pickled)
        for name, content in (records or {}).items():
            file.writestr(f"root/{name}", content)
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tensors_of_every_type_and_layout(protocol: int) -> None:
    got = read_torch(READING / f"protocol{protocol}.pth")
    line = np.linspace(-1, 1, 5, dtype=np.float32)
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {
        "float32": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
        "bfloat16": line.astype(ml_dtypes.bfloat16),
        "float16": line.astype(np.float16),
        "float64": np.linspace(-1, 1, 5, dtype=np.float32).astype(np.float64),
        **{name: np.arange(5, dtype=name) for name in ("int64", "int32", "int16", "int8", "uint8", "uint16")},
        "bool": np.array([True, False]),
        "transposed": base.T,
        "strided": base[1:, ::2],
        "shared": base[0],
        "expanded": np.ones(7, np.float32),
        "empty": np.empty((0, 3), np.float32),
        "zero_dimensional": np.array(3, np.float32),
    }
    for name, array in expected.items():
        assert got[name].dtype == array.dtype, name
        assert got[name].shape == array.shape, name
        np.testing.assert_allclose(got[name].astype(float), array.astype(float), atol=1e-7, err_msg=name)
    assert not got["float32"].flags.writeable
    assert np.shares_memory(got["transposed"], got["shared"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_scalars_and_containers(protocol: int) -> None:
    got = read_torch(READING / f"protocol{protocol}.pth")
    np.testing.assert_array_equal(got["array"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(got["fortran"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(got["big_endian"], np.arange(3.0))
    np.testing.assert_array_equal(got["strings"], ["ab", "cde"])
    assert got["objects"].tolist() == [1, "x", None]
    assert got["empty_array"].shape == (0,)
    assert got["array_0d"].shape == ()
    assert got["array_0d"] == 3
    assert (type(got["float_scalar"]), got["float_scalar"]) == (np.float32, 3.5)
    assert (type(got["int_scalar"]), got["int_scalar"]) == (np.int64, 7)
    assert (type(got["bool_scalar"]), got["bool_scalar"]) == (np.bool_, True)
    plain = [1, 2.5, "ü", None, True, (1, 2), b"xx", b"", {1, 2}, frozenset([3]), 1 + 2j, 2**80, -1]
    assert got["plain"] == plain
    assert list(map(type, got["plain"])) == list(map(type, plain))
    np.testing.assert_array_equal(got["nested"]["a"]["b"][0], [0, 1])
    assert list(got["state_dict"]) == ["weight", "bias"]
    np.testing.assert_array_equal(got["state_dict"]["weight"], [0, 1, 2])


def test_our_own_files_come_back_equal(tmp_path: Path) -> None:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([1])}
    write_state_dict(tmp_path / "x.pth", tensors, {"note": b"text"})
    got = read_torch(tmp_path / "x.pth")
    assert list(got) == ["a", "b"]
    for name, array in tensors.items():
        np.testing.assert_array_equal(got[name], array)
    value = {"subj01": np.arange(5), "x": [1, "y"]}
    write_object(tmp_path / "y.pt", value)
    got = read_torch(tmp_path / "y.pt")
    np.testing.assert_array_equal(got["subj01"], np.arange(5))
    assert got["x"] == [1, "y"]


def test_big_endian_storages(tmp_path: Path) -> None:
    write_state_dict(tmp_path / "little.pth", {"a": np.arange(3, dtype=np.float32)})
    with zipfile.ZipFile(tmp_path / "little.pth") as file:
        pickled = file.read("little/data.pkl")
    records = {"byteorder": b"big", "data/0": np.arange(3, dtype=">f4").tobytes()}
    got = read_torch(archive(tmp_path / "big.pth", pickled, records))
    np.testing.assert_array_equal(got["a"], [0, 1, 2])


@pytest.mark.parametrize("subject", [1, 2])
def test_metadata_of_both_generations(subject: int) -> None:
    (path,) = (DATA / "golden").rglob(f"metadata_subject-{subject:02d}.npy")
    got = read_pickled_npy(path)
    expected = np.load(path, allow_pickle=True).item()

    def compare(a: object, b: object) -> None:
        assert type(a) is type(b)
        if isinstance(a, dict):
            assert list(a) == list(b)
            for key in a:
                compare(a[key], b[key])
        else:
            np.testing.assert_array_equal(a, b)

    compare(got, expected)


class _Reduced:
    def __init__(self, *value: object):
        self.value = value

    def __reduce__(self) -> tuple:
        return self.value


class _Plain:
    pass


HOSTILE = {
    "os.system": (_Reduced(os.system, ("touch pwned",)), "system"),
    "eval": (_Reduced(eval, ("1",)), "eval"),
    "getattr": (_Reduced(getattr, ("a", "upper")), "getattr"),
    "class instance": (_Plain(), "_Plain"),
    "numpy file reader": (_Reduced(np.load, ("x.npy",)), "numpy"),
    "object array": (np.array([_Reduced(os.system, ("touch pwned",))], dtype=object), "system"),
    "structured array": (np.zeros(2, [("a", "f4")]), "dtype"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "M8"),
    "other encoding": (_Reduced(__import__("codecs").encode, ("x", "zip")), "encoded as"),
    "tuple as key": ({(1, 2): 3}, "key or set element of type tuple"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", HOSTILE)
def test_everything_else_is_refused_by_name(
    name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value, said = HOSTILE[name]
    path = archive(tmp_path / "x.pth", pickle.dumps({"a": value}, protocol=protocol))
    with pytest.raises(UnsafeFileError, match=said):
        read_torch(path)
    holder = np.empty((), object)
    holder[()] = {"a": value}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    (tmp_path / "x.npy").write_bytes(buffer.getvalue() + pickle.dumps(holder, protocol=protocol))
    with pytest.raises(UnsafeFileError, match=said):
        read_pickled_npy(tmp_path / "x.npy")
    assert not (tmp_path / "pwned").exists()


def test_opcodes_that_build_objects_are_refused(tmp_path: Path) -> None:
    programs = {
        "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        "INST": b"(S'x'\nicollections\nOrderedDict\n.",
        "OBJ": b"(ccollections\nOrderedDict\no.",
        "extension": b"\x80\x02\x82\x01.",
        "attributes": b"\x80\x02ccollections\nOrderedDict\n)R}U\x05itemsK\x01sb.",
    }
    for name, program in programs.items():
        with pytest.raises(UnsafeFileError):
            read_torch(archive(tmp_path / f"{name}.pth", program))


@pytest.mark.parametrize(
    "change",
    [
        (b"\x8a", None),
        ("compressed", "compressed"),
        ("no pickle", "data.pkl"),
        ("no storage", "lacks the record"),
        ("short storage", "holds 4 bytes"),
    ],
    ids=str,
)
def test_damaged_archives(change: tuple, tmp_path: Path) -> None:
    kind, said = change
    write_state_dict(tmp_path / "good.pth", {"a": np.arange(3, dtype=np.float32)})
    with zipfile.ZipFile(tmp_path / "good.pth") as file:
        records = {info.filename: file.read(info) for info in file.infolist()}
    if kind == "no pickle":
        del records["good/data.pkl"]
    elif kind == "no storage":
        del records["good/data/0"]
    elif kind == "short storage":
        records["good/data/0"] = b"\0\0\0\0"
    elif isinstance(kind, bytes):
        records["good/data.pkl"] = kind
    method = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(tmp_path / "bad.pth", "w", method) as file:
        for name, content in records.items():
            file.writestr(name, content)
    with pytest.raises(ModelLoadError, match=said):
        read_torch(tmp_path / "bad.pth")


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    write_state_dict(tmp_path / "good.pth", {"a": np.arange(4, dtype=np.float32).reshape(2, 2)})
    content = (tmp_path / "good.pth").read_bytes()
    size = b"K\x02K\x02\x86"
    assert content.count(size) == 1
    (tmp_path / "bad.pth").write_bytes(content.replace(size, b"K\x09K\x02\x86"))
    with pytest.raises(ModelLoadError, match="reaches element"):
        read_torch(tmp_path / "bad.pth")


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"nothing\.pth"):
        read_torch(tmp_path / "nothing.pth")
    source = READING / "protocol2.pth"
    content = source.read_bytes()
    for length in range(0, len(content), 997):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(ModelLoadError, match="truncated"):
            read_torch(tmp_path / "cut.pth")
    (metadata,) = (DATA / "golden").rglob("metadata_subject-02.npy")
    content = metadata.read_bytes()
    for length in range(0, len(content) - 1, 9973):
        (tmp_path / "cut.npy").write_bytes(content[:length])
        with pytest.raises(ModelLoadError):
            read_pickled_npy(tmp_path / "cut.npy")


def test_a_plain_array_is_not_metadata(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(ModelLoadError, match="expected one pickled object"):
        read_pickled_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("name", ["protocol2.pth", "protocol5.pth", "metadata"])
def test_mutated_files_give_an_answer_or_an_error(name: str, tmp_path: Path) -> None:
    """Flipped bytes where they hurt: never anything but a result or a BERGError."""
    if name == "metadata":
        (source,) = (DATA / "golden").rglob("metadata_subject-02.npy")
        content, reader = source.read_bytes(), read_pickled_npy
    else:
        content, reader = (READING / name).read_bytes(), read_torch
    rng = random.Random(0)
    path = tmp_path / "mutated"
    for _ in range(300):
        mutated = bytearray(content)
        for _ in range(rng.choice((1, 1, 3, 10))):
            mutated[rng.randrange(min(len(mutated), 6000))] = rng.randrange(256)
        path.write_bytes(mutated)
        with contextlib.suppress(BERGError):
            reader(path)


def test_reading_maps_the_file_instead_of_copying(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    write_state_dict(path, {"a": np.arange(3, dtype=np.float32)})
    tensor = read_torch(path)["a"]
    assert tensor.ctypes.data % 64 == 0
    place = path.read_bytes().index(np.arange(3, dtype="<f4").tobytes())
    with path.open("r+b") as file:
        file.seek(place)
        file.write(np.float32(5).tobytes())
    np.testing.assert_array_equal(tensor, [5, 1, 2])


SHARED = b")" + b"2\x86" * 40  # t = (t, t) forty times over: small, but endless as text or as a hash


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02" + SHARED + b"Q.",
        b"\x80\x02cnumpy\ndtype\n" + SHARED + b"\x85R.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a" + SHARED + b"\x86R.",
        b"\x80\x02}" + SHARED + b"K\x01s.",
        pickle.dumps({i * (2**61 - 1): 0 for i in range(40_000)}, protocol=2),
        # a megabyte of text, encoded again and again
        b"\x80\x02X\x00\x00\x10\x00"
        + b"a" * 2**20
        + b"q\x000c_codecs\nencode\nq\x010("
        + b"h\x01h\x00\x85R" * 3000
        + b"t.",
    ],
    ids=["id", "dtype", "encoding", "key", "colliding keys", "memory"],
)
def test_small_files_that_would_take_for_ever(program: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError):
        read_torch(archive(tmp_path / "x.pth", program))


def test_a_negated_view_is_refused_not_misread(tmp_path: Path) -> None:
    write_state_dict(tmp_path / "good.pth", {"a": np.arange(3, dtype=np.float32)})
    with zipfile.ZipFile(tmp_path / "good.pth") as file:
        records = {info.filename.partition("/")[2]: file.read(info) for info in file.infolist()}
    pickled = records.pop("data.pkl")
    end = b"ccollections\nOrderedDict\n)Rt"
    assert pickled.count(end) == 1
    negated = pickled.replace(end, end[:-1] + b"}X\x03\x00\x00\x00neg\x88st")
    with pytest.raises(UnsafeFileError, match="negated"):
        read_torch(archive(tmp_path / "bad.pth", negated, records))


def test_text_that_is_none(tmp_path: Path) -> None:
    pickled = pickle.dumps(np.array(["abc"]), protocol=4).replace(b"a\0\0\0b", b"\xff\xff\xff\xffb")
    with pytest.raises(ModelLoadError, match="characters"):
        read_torch(archive(tmp_path / "x.pth", pickled))
