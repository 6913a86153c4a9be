"""What is fuzzed: for each kind of file that is read, small valid ones, and the call that reads it.

To add a kind, write ``seeds`` and ``read`` and a line in :data:`TARGETS`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import zarr
from PIL import Image
from scipy.io import savemat

from berg_jax import surface
from berg_jax.convert.subject import read_options
from berg_jax.convert.torch_file import write_state_dict
from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.accuracy.trials import read_array, read_nsd, shown_images
from berg_jax.experiments.certificate.record import Certificate, Check, read_certificate, record, recorded
from berg_jax.experiments.localizer.contrasts import design_of
from berg_jax.experiments.sweeps.spec import read_spec
from berg_jax.experiments.synthesis.checkpoints import restore, save
from berg_jax.files.torch_archive import read_torch, torch_record
from berg_jax.model.checkpoint import Description, read_description, verify
from berg_jax.model.nn.config import PartConfig, ViTConfig
from berg_jax.published.metadata import Metadata, roi_table
from berg_jax.rois import resolve
from berg_jax.stream.reducers import Moments, TopK, states
from berg_jax.stream.reducers import saved as settings
from berg_jax.stream.sources.arrays import parse_numbers
from berg_jax.stream.sources.open import open_source
from berg_jax.stream.store.output import Output
from berg_jax.stream.store.status import status_text
from berg_jax.vertices import Vertices

from .by_chance import Target

Image.init()  # which imports every decoder, as Pillow does when it knows no format
DATA = Path(__file__).parent.parent / "data"
SIZE = 6  # vertices of a hemisphere, in most of these files


def _written(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _pixels(side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


# PyTorch's files.


def _torch_seeds(folder: Path) -> list[bytes]:
    write_state_dict(folder / "own.pth", {"a": np.ones((2, 3), np.float32)}, {"note": b"synthetic"})
    return [_written(folder, "own.pth"), *(_written(DATA / "reading", f"protocol{p}.pth") for p in (2, 3, 4, 5))]


def _read_torch(path: Path) -> Any:
    torch_record(path, "note")
    return _walked(read_torch(path))


def _walked(value: Any, depth: int = 0) -> Any:
    """Touch the first and last element of every array, which shows whether its memory is there."""
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind != "O":
        return value[(0,) * value.ndim], value[(-1,) * value.ndim]
    if isinstance(value, dict) and depth < 5:
        return [_walked(item, depth + 1) for item in value.values()]
    return value


def _pickle_seeds(folder: Path) -> list[bytes]:
    found = []
    for contents in _torch_seeds(folder):
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            found.append(archive.read(name))
    return found


def _rearchived(pickled: bytes) -> bytes:
    memory = io.BytesIO()
    memory.write(_storages())
    with zipfile.ZipFile(memory, "a") as archive:
        archive.writestr("x/data.pkl", pickled)
    return memory.getvalue()


@functools.cache
def _storages() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for key in range(24):
            archive.writestr(f"x/data/{key}", bytes(range(256)))
    return memory.getvalue()


def _read_pickle(path: Path) -> Any:
    path.write_bytes(_rearchived(path.read_bytes()))
    return _read_torch(path)


_OPCODES = (
    *(pickle.BINGET + b"\0", pickle.DUP, pickle.REDUCE, pickle.BUILD, pickle.EMPTY_TUPLE, pickle.NEWOBJ),
    *(pickle.MARK, pickle.TUPLE, pickle.TUPLE2, pickle.SETITEMS, pickle.APPENDS, pickle.POP, pickle.MEMOIZE),
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nSize\n", b"cbuiltins\nset\n", b"cnumpy\nndarray\n"),
    *(pickle.LONG4 + struct.pack("<i", 2**31 - 1), pickle.BINBYTES8 + struct.pack("<Q", 2**40)),
    *(pickle.BINUNICODE8 + struct.pack("<Q", 2**40), pickle.FRAME + struct.pack("<Q", 2**40)),
)


# Metadata, ROI expressions.


def _object_header() -> bytes:
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(memory, {"descr": "|O", "fortran_order": False, "shape": ()})
    return memory.getvalue()


METADATA_START = _object_header()


def _metadata_seeds(folder: Path) -> list[bytes]:
    found = []
    for protocol in (2, 3, 4, 5):
        fmri: dict[str, Any] = {}
        models: dict[str, Any] = {f"{split}_img_num": np.arange(4) for split in ("train", "val", "test")}
        for h in ("lh", "rh"):
            fmri[f"{h}_ncsnr"] = np.linspace(0, 1, SIZE)
            fmri[f"{h}_fsaverage_rois"] = {"V1v": np.arange(2), "FFA-1": [2, 3], "V1d": np.array([], np.int64)}
            for name in ("correlation", "explained_variance"):
                models[f"{h}_{name}"] = np.linspace(0, 50, SIZE)
        holder = np.empty((), object)
        holder[()] = {"fmri": fmri, "encoding_models": models}
        found.append(METADATA_START + pickle.dumps(holder, protocol=protocol))
    return found


def _read_metadata(path: Path) -> Any:
    metadata = Metadata(path)
    roi_table(metadata).encode()
    return [metadata.image_numbers(split) for split in ("train", "val", "test")]


def _roi_seeds(folder: Path) -> list[bytes]:
    (folder / "metadata.npy").write_bytes(_metadata_seeds(folder)[0])
    texts = ("V1v + FFA-1", "(V1 - V1d) & V1v", "FFA", "V1v - (V1d + FFA-1) & V1", " ( ( V1v ) ) ")
    return [text.encode() for text in texts]


def _read_roi(path: Path) -> Any:
    expression = path.read_bytes().decode("utf-8", "surrogateescape")
    return resolve(expression, _known(path.with_name("metadata.npy")))


_known = functools.lru_cache(Metadata)


# Sources.


def _read_source(path: Path) -> Any:
    source = open_source(path, fit="pad")
    images = source.read([0, len(source) - 1])
    return source.ids, source.fingerprint, np.asarray(images).sum()


def _read_folder(path: Path) -> Any:
    return _read_source(path.parent)


def _npy_seeds(folder: Path) -> list[bytes]:
    found = []
    for version, array in (
        ((1, 0), np.zeros((2, 3, 8, 8), np.uint8)),
        ((2, 0), np.full((2, 8, 8, 3), 99, np.float32)),
        ((3, 0), np.ones((2, 3, 4, 4), np.int64, order="F")),
    ):
        memory = io.BytesIO()
        np.lib.format.write_array(memory, array, version)
        found.append(memory.getvalue())
    return found


def _tar_seeds(folder: Path) -> list[bytes]:
    found = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        memory, image = io.BytesIO(), io.BytesIO()
        Image.fromarray(_pixels(4)).save(image, "PNG")
        with tarfile.open(fileobj=memory, mode="w", format=kind) as archive:
            for name in ("a.png", "b.json", "f/" + "ä" * (20 if kind == tarfile.USTAR_FORMAT else 90) + ".png"):
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(image.getvalue()), 0.5 if kind == tarfile.PAX_FORMAT else 0
                archive.addfile(info, io.BytesIO(image.getvalue()))
        found.append(memory.getvalue()[: len(memory.getvalue().rstrip(b"\0")) // 512 * 512 + 1536])
    return found


def _tar_repaired(contents: bytes) -> bytes:
    """With the checksum of every block that looks like a header set right."""
    data = bytearray(contents)
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return bytes(data)


def _image_seeds(folder: Path) -> list[bytes]:
    found = []
    image = Image.fromarray(_pixels())
    for form, options in (
        *(("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True})),
        *(
            ("BMP", {}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_deflate"}),
        ),
        ("PPM", {}),
    ):
        memory = io.BytesIO()
        image.save(memory, form, **options)
        found.append(memory.getvalue())
    for mode in ("L", "P", "CMYK", "1"):
        memory = io.BytesIO()
        image.convert(mode).save(memory, "TIFF" if mode == "CMYK" else "PNG")
        found.append(memory.getvalue())
    return found


def _image_repaired(contents: bytes) -> bytes:
    """With PNG's checksums set right."""
    if contents[:4] != b"\x89PNG":
        return contents
    data, place = bytearray(contents), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if place + 12 + length > len(data):
            break
        checksum = zlib.crc32(data[place + 4 : place + 8 + length])
        data[place + 8 + length : place + 12 + length] = struct.pack(">I", checksum)
        place += 12 + length
    return bytes(data)


def _list_seeds(folder: Path) -> list[bytes]:
    for name in ("a.png", "b.png", "f/c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(_pixels(4)).save(folder / name)
    return [b"a.png\nb.png\n", b"# first\n./f/c.png\r\na.png", f"{folder}/a.png\n{folder}/f/c.png\n".encode()]


def _hdf5_seeds(folder: Path) -> list[bytes]:
    found = []
    for index, options in enumerate(({}, {"chunks": (1, 4, 4, 3), "compression": "gzip", "shuffle": True})):
        with h5py.File(folder / f"{index}.h5", "w", libver=("earliest", "latest")[index]) as file:
            file.create_dataset("imgBrick" if index else "x", data=np.ones((2, 4, 4, 3), np.uint8), **options)
        found.append(_written(folder, f"{index}.h5"))
    return found


def _zarr_seeds(version: int) -> Any:
    def seeds(folder: Path) -> list[bytes]:
        array = zarr.create_array(
            folder / "x.zarr", data=np.ones((2, 4, 4, 3), np.uint8), chunks=(1, 4, 4, 3), zarr_format=version
        )
        assert array.shape[0] == 2
        return [_written(folder, "x.zarr/zarr.json" if version == 3 else "x.zarr/.zarray")]

    return seeds


def _numbers_seeds(folder: Path) -> list[bytes]:
    return [b"3,5,10-19", b"0-4\n7\n9,11", b"12"]


# What runs leave behind.


def _output(folder: Path) -> Output:
    reducers = [Moments(3), TopK(2, np.eye(3, dtype=np.float32))]
    run = {"reducers": {reducer.name: reducer.fingerprint for reducer in reducers}}
    output = Output.create(folder / "out", [f"{n}.png" for n in range(5)], run, 2, None, {"versions": {}})
    for block in range(output.ledger.blocks):
        start, stop = output.ledger.range(block)
        output.ledger.record(block, stop - start, process=0, host="here", skipped=[start])
    settings.save(output.reducers, reducers)
    states.save(output.reducers, "here-1", reducers, [reducer.init() for reducer in reducers], [0, 1, 2])
    return output


def _output_seeds(file: str) -> Any:
    def seeds(folder: Path) -> list[bytes]:
        _output(folder)
        return [_written(folder, file)]

    return seeds


def _read_output(path: Path) -> Any:
    folder = next(parent for parent in path.parents if parent.name == "out")
    text = status_text(folder)
    text.encode()
    output = Output.existing(folder)
    found = settings.load(output.reducers, output.attributes["run"]["reducers"]) if path.suffix == ".npz" else []
    if path.name.endswith(".state.npz"):
        states.reduced_blocks(output.reducers)
        states.merge(output.reducers, found)
    return text


def _npz_repaired(contents: bytes) -> bytes:
    """As an archive whose members' checksums are right, whatever was changed in them."""
    with zipfile.ZipFile(io.BytesIO(contents)) as damaged:
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w") as archive:
            for info in damaged.infolist():
                lengths = struct.unpack("<HH", contents[info.header_offset + 26 : info.header_offset + 30])
                start = info.header_offset + 30 + sum(lengths)
                archive.writestr(info.filename, contents[start : start + info.file_size])
    return memory.getvalue()


def mutated_npz(contents: bytes, name: str, array: np.ndarray) -> bytes:
    """With another array under a name."""
    with np.load(io.BytesIO(contents)) as found:
        arrays = {**found, name: array}
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    return memory.getvalue()


def _checkpoint_seeds(folder: Path) -> list[bytes]:
    save(folder / "x.npz", {"latents": np.ones((2, 3), np.float32), "step": np.int32(1)}, "this one")
    return [_written(folder, "x.npz")]


def _read_checkpoint(path: Path) -> Any:
    fresh = {"latents": np.ones((2, 3), np.float32), "step": np.int32(1)}
    return jax.tree.leaves(restore(path, fresh, "this one"))


# Converted subjects, certificates, configurations.


def _description_seeds(folder: Path) -> list[bytes]:
    part = PartConfig(ViTConfig.tiny(2), (1, 3), 8)
    source = {"name": "x.pth", "size": 1, "sha256": "0" * 64, "mtime_ns": 0}
    description = Description(
        subject=1,
        hemisphere_size=SIZE,
        parts={"part1": part, "part2": part},
        rows={"part1": 4, "part2": 12},
        layout="overlay",
        layout_guessed=False,
        options={"lora_scale": 0.2, "retina_sigma": 0.01},
        sources={"part1": source},
        origin="synthetic",
        versions={"jax": "0"},
    )
    (folder / "SHA256SUMS").write_bytes(b"")
    return [description.to_json().encode()]


def _read_description(path: Path) -> Any:
    return dataclasses.asdict(read_description(path.parent))


def _sums_seeds(folder: Path) -> list[bytes]:
    lines = []
    for name in ("metadata.npy", "part1/array", "subject.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"contents")
        lines.append(f"{hashlib.sha256(b'contents').hexdigest()}  {name}\n")
    return ["".join(lines).encode()]


def _certificate_seeds(folder: Path) -> list[bytes]:
    certificate = Certificate(
        subject=1,
        origin="synthetic",
        layout="overlay",
        rows={"part1": 2},
        options={},
        sources={"part1": "0"},
        converted={},
        reference={"name": "torch"},
        versions={},
        machine={},
        date="2026-01-01",
        seconds=1.0,
        stimuli={},
        checks=[Check("responses", 1e-5, 1e-3), Check("tokens", 0.0, 1.0)],
        errors=[],
        selection_path={"text": "the same"},
        recorded=record({"x": np.zeros((3, 4, 4))}, np.arange(4), np.ones((1, 4), np.float32)),
    )
    return [certificate.to_json().encode()]


def _read_certificate(path: Path) -> Any:
    certificate = read_certificate(path)
    certificate.summary()
    return recorded(path, certificate.recorded, {"x": np.zeros((3, 4, 4))}, np.arange(4))


def _yaml_seeds(folder: Path) -> list[bytes]:
    text = (
        "MODEL:\n  BACKBONE:\n    LORA: {SCALE: 0.2, R: 8}\n    LAYERS: [2, 5]\n  RETINA_MAPPER:\n"
        "    CONSTANT_SIGMA: 0.01\nEXPERIMENTAL: &e\n  USE_LAYER_SELECTOR: true\nOTHER: *e\n"
    )
    return [text.encode()]


# Measured responses, maps, backbones.


def _design_seeds(folder: Path) -> list[bytes]:
    random = np.random.default_rng(0)
    tables = {"masterordering": random.integers(1, 11, (1, 30)), "subjectim": random.integers(1, 100, (8, 10))}
    found = []
    for compressed in (False, True):
        memory = io.BytesIO()
        savemat(memory, tables, do_compression=compressed)
        found.append(memory.getvalue())
    return found


def mgh(values: np.ndarray) -> bytes:
    from nibabel import MGHImage

    return MGHImage(values, np.eye(4)).to_bytes()


_BETAS = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR/"
_DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"


def _betas_seeds(folder: Path) -> list[bytes]:
    (folder / _DESIGN).parent.mkdir(parents=True)
    ordering = {"masterordering": np.tile(np.arange(1, 11), 75)[None], "subjectim": np.arange(1, 81).reshape(8, 10)}
    savemat(folder / _DESIGN, ordering)
    values = np.random.default_rng(0).normal(size=(2, 1, 1, 750)).astype(np.float32)
    (folder / _BETAS).mkdir(parents=True)
    (folder / _BETAS / "rh.betas_session01.mgh").write_bytes(mgh(values))
    return [mgh(values)]


def _read_betas(path: Path) -> Any:
    root = next(parent for parent in path.parents if parent.name == "nsddata_betas").parent
    return read_nsd(root, 1, Vertices([0, 1], [1], 2), ["0", "3"])


def _table_seeds(folder: Path) -> list[bytes]:
    np.save(folder / "betas.npy", np.random.default_rng(0).normal(size=(4, 2 * SIZE)).astype(np.float32))
    return [b"image,session,category\na,1,x\nb,1,y\na,2,x\nb,2,y\n", b"session,image\n1,a\n1,b\n2,a\n2,b\n"]


def _read_table(path: Path) -> Any:
    with contextlib.suppress(InvalidParameterError):
        design_of(["a", "b"], path)
    return read_array(path.with_name("betas.npy"), path, Vertices([0, 1], [2], SIZE), ["a", "b"])


def _sweep_seeds(folder: Path) -> list[bytes]:
    first = """
[base]
berg_dir = "demo"
steps = 4
margin = 1.5
[grid]
subject = [1, 2]
images = ["fourier", "phases"]
[zip]
drive = ["FFA-1 + FFA-2", ["PPA", "RSC"]]
suppress = ["PPA", []]
[random]
trials = 2
axes = {learning_rate = {loguniform = [0.02, 0.1]}, jitter = {choice = [4, 8]}}
"""
    second = """
[base]
berg_dir = "x"
drive = "V1"
subject = 1
optimizer = "sgd"
[launcher]
kind = "slurm"
partition = "gpu"
time = 240
setup = ["module load cuda"]
extra = {account = "lab"}
"""
    return [first.encode(), second.encode()]


def _trials_seeds(folder: Path) -> list[bytes]:
    (folder / "table.csv").write_text("image,session\na,1\nb,1\na,2\nb,2\n")
    found = []
    for array in (np.random.default_rng(0).normal(size=(4, 2 * SIZE)), np.ones((4, 3), np.float32)):
        memory = io.BytesIO()
        np.save(memory, array)
        found.append(memory.getvalue())
    return found


def _read_trials(path: Path) -> Any:
    return read_array(path, path.with_name("table.csv"), Vertices([0, 1], [2], SIZE), ["a", "b"])


def _map_seeds(ending: str) -> Any:
    def seeds(folder: Path) -> list[bytes]:
        paths = surface.save(np.arange(2.0 * SIZE), folder / f"x{ending}")
        found = [paths[0].read_bytes()]
        if ending == ".mgz":
            found = [mgh(np.arange(float(SIZE), dtype=np.float32).reshape(-1, 1, 1))]
            (folder / "x.rh.mgh").write_bytes(found[0])
        elif ending == ".npz":
            memory = io.BytesIO()
            np.savez_compressed(memory, lh=np.arange(float(SIZE)), rh=np.arange(SIZE))
            found.append(memory.getvalue())
        elif ending == ".func.gii":
            from nibabel.gifti import GiftiDataArray, GiftiImage

            for encoding in ("ASCII", "B64BIN"):
                half = np.arange(float(SIZE), dtype=np.float32)
                array = GiftiDataArray(half, datatype="NIFTI_TYPE_FLOAT32", encoding=f"GIFTI_ENCODING_{encoding}")
                found.append(GiftiImage(darrays=[array]).to_bytes())
        return found

    return seeds


def _read_map(path: Path) -> Any:
    return surface.read(path.with_name(path.name.replace(".lh.", ".")), SIZE)


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    header, data = {}, b""
    for name, array in tensors.items():
        contents = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + len(contents)]}
        data += contents
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def backbone() -> dict[str, np.ndarray]:
    from berg_jax.convert.dinov2 import _shapes

    shapes = {name: [n or 5 for n in shape] for name, shape in _shapes(1, 2, 4).items()}
    return {name: np.ones(shape) for name, shape in shapes.items()}


def _backbone_seeds(folder: Path) -> list[bytes]:
    (folder / "config.json").write_text('{"num_attention_heads": 1}')
    return [safetensors(backbone())]


def _backbone_sizes_seeds(folder: Path) -> list[bytes]:
    (folder / "model.safetensors").write_bytes(safetensors(backbone()))
    return [b'{"num_attention_heads": 1, "hidden_size": 2}']


def _read_backbone(path: Path) -> Any:
    from berg_jax.convert.dinov2 import load_dinov2

    return load_dinov2(path.parent).config


TARGETS = {
    target.name: target
    for target in (
        Target("torch", "x.pth", _torch_seeds, _read_torch),
        Target("pickle", "x.pth", _pickle_seeds, _read_pickle, words=_OPCODES),
        Target("metadata", "metadata.npy", _metadata_seeds, _read_metadata, words=_OPCODES),
        Target("roi", "roi.txt", _roi_seeds, _read_roi, words=(b" - ", b"(", b")", b"&", b"V1", b"+ " * 200)),
        Target("npy", "x.npy", _npy_seeds, _read_source),
        Target("tar", "x.tar", _tar_seeds, _read_source, _tar_repaired, (b"20 size=99999999999\n",)),
        Target("image", "images/x.png", _image_seeds, _read_folder, _image_repaired),
        Target("list", "x.txt", _list_seeds, _read_source, words=(b"\n/", b"//", b"a.png\n" * 3, b"../", b"\r\n")),
        Target("hdf5", "x.h5", _hdf5_seeds, _read_source),
        Target("zarr2", "x.zarr/.zarray", _zarr_seeds(2), _read_folder),
        Target("zarr3", "x.zarr/zarr.json", _zarr_seeds(3), _read_folder),
        Target("numbers", "x.txt", _numbers_seeds, lambda path: parse_numbers(str(path))),
        Target("ledger", "out/ledger/000000001.json", _output_seeds("out/ledger/000000001.json"), _read_output),
        Target("output", "out/zarr.json", _output_seeds("out/zarr.json"), _read_output),
        Target(
            *("state", "out/reducers/here-1.state.npz", _output_seeds("out/reducers/here-1.state.npz")),
            *(_read_output, _npz_repaired),
        ),
        Target(
            *("settings", "out/reducers/settings/top_k.npz", _output_seeds("out/reducers/settings/top_k.npz")),
            *(_read_output, _npz_repaired),
        ),
        Target("checkpoint", "x.npz", _checkpoint_seeds, _read_checkpoint, _npz_repaired),
        Target("description", "subject.json", _description_seeds, _read_description),
        Target("sums", "SHA256SUMS", _sums_seeds, lambda path: verify(path.parent)),
        Target("certificate", "certificate.json", _certificate_seeds, _read_certificate),
        Target(
            "config", "config.yaml", _yaml_seeds, read_options, words=(b"<<: *e\n", b"*e", b"&e ", b"!!python/x ")
        ),
        Target("design", "nsd_expdesign.mat", _design_seeds, lambda path: shown_images(path, 1)),
        Target("betas", f"{_BETAS}lh.betas_session01.mgh", _betas_seeds, _read_betas),
        Target("trials", "betas.npy", _trials_seeds, _read_trials),
        Target("table", "table.csv", _table_seeds, _read_table, words=(b'"', b",", b"\n", b'""', b"x" * 200_000)),
        Target("gifti", "x.lh.func.gii", _map_seeds(".func.gii"), _read_map),
        Target("mgh", "x.lh.mgh", _map_seeds(".mgz"), _read_map),
        Target("npz", "x.npz", _map_seeds(".npz"), _read_map, _npz_repaired),
        Target("backbone", "model.safetensors", _backbone_seeds, _read_backbone),
        Target(
            "sweep", "spec.toml", _sweep_seeds, read_spec, words=(b"[", b"inf", b"nan", b"9" * 5000, b"= [", b'"')
        ),
        Target("sizes", "config.json", _backbone_sizes_seeds, _read_backbone),
    )
}
