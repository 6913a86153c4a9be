"""A donor's feature maps and global vectors of images, computed once and kept on disk in reduced precision.

features.json          what the maps are of: the donor's network, the images, precision, type; another run is refused
part1/00000.npz        a block of images: maps, vectors, and a digest of each image's pixels; likewise part2/

A block appears complete or not at all, so that a run that was killed goes on with the next one, to the same bits.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jaxtyping import Array, Float, Int, Num, UInt64

from ....errors import IntegrityError, Interrupted, InvalidParameterError, ResourceError
from ....files.disk import explained, read_small, readable, remove_partial_files, require_space, write_whole
from ....files.npy import read_npz
from ....model.encoding_model import EncodingModel, features_of, pixels_of
from ....model.nn.config import GRID
from ....stream.devices import Devices
from ....stream.execution import Execution, with_batch_size
from ....stream.progress import progress, stop_requests
from ....stream.sources.image_files import Source
from ....subject import Subject
from ....vertices import Vertices
from .donor import donor_rows

Kept = Literal["float16", "bfloat16", "float32"]
FOLDER, FACTS = "features", "features.json"
_BLOCK = 64  # images at least in a block, which is one file
_TYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}


class Features(NamedTuple):
    """Feature maps and global vectors of images, of one part of a donor's network.

    Attributes
    ----------
    maps
        Feature map of each layer, in the type that is kept.
    vectors
        Global vector of each layer.
    """

    maps: Num[np.ndarray, "layers images 16 16 width"]
    vectors: Float[np.ndarray, "layers images width"]

    def of(self, images: Int[np.ndarray, " n"]) -> Features:
        """Return the features of some of the images."""
        return Features(self.maps[:, images], self.vectors[:, images])


def feature_bytes(subject: Subject, part: str, images: int, kept: Kept = "float16") -> int:
    """Return the bytes that the feature maps of one part take, on disk and in memory."""
    config = subject.description.parts[part]
    return len(config.layers) * images * GRID * GRID * config.width * _TYPES[kept].itemsize


def keep_features(
    subject: Subject,
    vertices: Vertices,
    source: Source,
    folder: Path,
    *,
    kept: Kept = "float16",
    precision: str = "float32",
    execution: Execution = Execution(),
) -> list[str]:
    """Compute the features of all images that are not there yet, and return the parts that the vertices need.

    Parameters
    ----------
    subject
        The donor, whose network computes them.
    vertices
        Vertices that decide which of the donor's two networks are needed.
    source
        The images.
    folder
        Folder to keep them in, which an interrupted run goes on with.
    kept
        Type in which maps are kept: ``"float16"`` (relative rounding error 5e-4), ``"bfloat16"`` (4e-3, for maps
        beyond 65,504), or ``"float32"``.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices and time limit. One process computes them.

    Returns
    -------
    Names of the parts, ``"part1"``, ``"part2"`` or both.

    Raises
    ------
    InvalidParameterError
        There is no such type, or a feature is too large for it.
    ResourceError
        The folder holds the features of other images or of another network, or cannot be written.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; finished blocks are kept.
    """
    if kept not in get_args(Kept):
        raise InvalidParameterError(f"Features are kept as one of {list(get_args(Kept))}, got {kept!r}.")
    first = {name: vertices.global_indices[rows.places[0]] for name, rows in donor_rows(subject, vertices).items()}
    for name in first:  # blocks of both parts are of one size, and need not be of one run
        _prepare(folder / name, subject, source, kept, precision)
    execution = _with_batch_size(execution, [folder / name for name in first], precision)
    block = execution.batch_size * -(-_BLOCK // execution.batch_size)
    blocks = [(start, min(start + block, len(source))) for start in range(0, len(source), block)]
    todo = {name: [span for span in blocks if not _file(folder / name, span[0]).is_file()] for name in first}
    total = len(source) * len(first)
    left = sum(stop - start for spans in todo.values() for start, stop in spans)
    with (
        stop_requests(execution.time_limit) as stopped,
        progress(total, total - left, execution.show_progress) as advance,
    ):
        for name, spans in todo.items():
            if spans:
                _record(folder / name, execution.batch_size)
                chosen = Vertices.from_global(np.array([first[name]]), subject.hemisphere_size)
                computed = compute_features(subject.model(chosen, precision=precision), source, spans, execution)
                for (start, stop), arrays in computed:
                    with explained("write", folder):
                        write_whole(_file(folder / name, start), _packed(arrays, kept, source.ids[start]))
                    advance(stop - start)
                    left -= stop - start
                    if left and stopped():
                        raise Interrupted(
                            f"Interrupted: features of {total - left} of {total} images are done. Run the same "
                            "command again to go on."
                        )
    return list(first)


def read_features(folder: Path, part: str, images: int) -> tuple[Features, UInt64[np.ndarray, " images"]]:
    """Return the kept features of one part, and a digest of each image's pixels.

    Raises
    ------
    IntegrityError
        A block is missing or damaged.
    """
    paths = sorted((folder / part).glob("[0-9]*.npz"))
    facts = _facts(folder / part) or {}
    kept = _TYPES.get(facts.get("kept", ""))
    maps = vectors = digests = None
    filled = 0
    for path in paths:
        with readable(path, IntegrityError, f"Remove {folder} and run the same command again."):
            own_maps, own_vectors, own_digests = read_npz(path, ("maps", "vectors", "digests")).values()
            if int(path.stem) != filled or kept is None:
                raise ValueError(f"it begins with image {int(path.stem)}, and the blocks before end with {filled}")
            if maps is None:
                layers, _, *grid = own_maps.shape
                maps = np.empty((layers, images, *grid), kept)
                vectors = np.empty((layers, images, grid[-1]), np.float32)
                digests = np.empty(images, np.uint64)
            span = slice(filled, filled + len(own_digests))
            maps[:, span] = own_maps.view(kept)
            vectors[:, span], digests[span] = own_vectors, own_digests
            filled = span.stop
    if filled != images:
        raise IntegrityError(f"{folder / part} has features of {filled} images, expected {images}. Run it again.")
    return Features(maps, vectors), digests


def compute_features(
    model: EncodingModel, source: Source, spans: list[tuple[int, int]], execution: Execution
) -> Iterator[tuple[tuple[int, int], dict[str, np.ndarray]]]:
    """Yield each span's float32 maps and vectors and the digests of its images, a batch at a time on every device.

    Parameters
    ----------
    model
        A model of vertices of one part.
    source
        The images.
    spans
        First image of each span, and the one after its last.
    execution
        Batch size and devices.
    """
    ((name, config),) = model.config.parts
    devices = Devices(execution.local_devices())
    params = devices.replicate({key: model.params[name][key] for key in ("vit", "heads")})
    precision, plan = model.config.precision, model.config.compute_plan

    def compute(images: Num[Array, "b 3 h w"]) -> tuple[Array, Array]:
        pixels = pixels_of(images, precision)
        _, maps, vectors = features_of(params["vit"], params["heads"], config, precision, pixels, plan)
        return maps, vectors

    for start, stop in spans:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        digests: list[int] = []
        for first in range(start, stop, execution.batch_size * devices.count):
            rows = np.arange(first, first + execution.batch_size * devices.count)
            # What is beyond the block is filled up with its last image, so that one compiled program serves all.
            images = np.asarray(source.read(np.minimum(rows, stop - 1)))
            count = min(stop - first, len(rows))
            digests += [_digest(image) for image in images[:count]]
            maps, vectors = compute(devices.split(images) if devices.count > 1 else jnp.asarray(images))
            found.append((np.asarray(maps, np.float32)[:, :count], np.asarray(vectors, np.float32)[:, :count]))
        arrays = [np.concatenate(some, axis=1) for some in zip(*found, strict=True)]
        yield (start, stop), {"maps": arrays[0], "vectors": arrays[1], "digests": np.array(digests, np.uint64)}


def _digest(image: Num[np.ndarray, "3 h w"]) -> int:
    """Return a number for an image's pixels, which is not 0."""
    kind = f"{image.dtype.str} {image.shape}".encode()
    digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=8, key=kind).digest()
    return int.from_bytes(digest, "little") or 1


def _packed(arrays: Mapping[str, np.ndarray], kept: Kept, image: str) -> bytes:
    """Return a block's bytes; bfloat16, which NumPy's files do not know, as 16-bit integers."""
    with np.errstate(over="ignore"):
        maps = arrays["maps"].astype(_TYPES[kept])
    if not np.isfinite(maps.astype(np.float32)).all():
        raise InvalidParameterError(
            f"A feature of image {image!r} or of one of its block is not finite in {kept}. Keep the features as "
            "bfloat16 or float32 (--features)."
        )
    stored = maps.view(np.uint16) if kept == "bfloat16" else maps
    file = io.BytesIO()
    np.savez(file, maps=stored, vectors=arrays["vectors"], digests=arrays["digests"])
    return file.getvalue()


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.npz"


def _facts(folder: Path) -> dict[str, Any] | None:
    if not (folder / FACTS).is_file():
        return None
    with readable(folder / FACTS, IntegrityError, f"Remove {folder} and run the same command again."):
        return dict(json.loads(read_small(folder / FACTS)))


def _prepare(folder: Path, subject: Subject, source: Source, kept: Kept, precision: str) -> None:
    """Make the folder of one part, or raise ResourceError if it holds the features of something else."""
    facts = {
        "donor": subject.identity(precision=precision),
        "images": source.fingerprint,
        "count": len(source),
        "kept": kept,
        "precision": precision,
    }
    there = _facts(folder)
    if there is None:
        needed = feature_bytes(subject, folder.name, len(source), kept)
        require_space(folder, needed, f"Feature maps of {len(source)} images")
        with explained("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / FACTS, (json.dumps(facts, indent=2) + "\n").encode())
        return
    if differing := [name for name, value in facts.items() if there.get(name) != value]:
        raise ResourceError(
            f"{folder} holds features of another run, with other {', '.join(differing)}. Choose another output, or "
            f"remove {folder}."
        )
    remove_partial_files(folder)


def _record(folder: Path, batch_size: int) -> None:
    """Record the batch size with which a part's features are computed, because the last bits depend on it."""
    with explained("write", folder):
        facts = (json.dumps({**(_facts(folder) or {}), "batch_size": batch_size}, indent=2) + "\n").encode()
        write_whole(folder / FACTS, facts)


def _with_batch_size(execution: Execution, folders: list[Path], precision: str) -> Execution:
    recorded = next((size for folder in folders if (size := (_facts(folder) or {}).get("batch_size"))), None)
    if recorded is None:
        return with_batch_size(execution, precision=precision)
    if execution.batch_size not in (None, recorded):
        raise ResourceError(
            f"{folders[0].parent} was begun with --batch-size {recorded}, not {execution.batch_size}. Leave it out, "
            "or choose another output."
        )
    return replace(execution, batch_size=int(recorded))
