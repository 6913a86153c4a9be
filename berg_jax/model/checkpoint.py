"""Checkpoint of a converted subject: a folder that any machine can load and verify without the PyTorch files.

subject.json         description: sizes, layout, options, sources with sha256, versions
part1/, part2/       weights and per-vertex tables, Orbax
part1_vertices.npy   global vertex of each row of part 1; likewise part2_vertices.npy
metadata.npy         BERG's metadata of the subject, if there were any
SHA256SUMS           sha256 of every other file; `sha256sum --check SHA256SUMS` verifies them, too
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BERGError, IntegrityError, ModelLoadError, ModelNotFoundError, ResourceError
from ..files.disk import atomic_folder, explained, read_small, readable, reserve, sha256_many
from ..files.npy import read_npy
from ..files.trouble import device_trouble, machine_trouble
from ..published.berg_dir import DESCRIPTION, METADATA
from ..vertices import Vertices, check_vertices
from .encoding_model import EncodingModel, Part, build
from .nn.config import PartConfig, ViTConfig

FORMAT_VERSION = 1
MANIFEST = "SHA256SUMS"
_REMEDY = "Convert the subject again with --overwrite, or copy the folder again."
_MANIFEST_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


@dataclass(frozen=True)
class Description:
    """Description of a converted subject; its fields are exactly those of ``subject.json``.

    Attributes
    ----------
    subject
        ID of the subject.
    hemisphere_size
        Number of vertices of one hemisphere.
    parts
        Sizes of ``part1`` and ``part2``.
    rows
        Number of readout rows of each part.
    layout
        ``"overlay"`` (part 2 has every vertex and part 1 replaces some) or ``"complement"`` (each vertex is in one
        part).
    layout_guessed
        Whether the layout was guessed, because there were no metadata.
    options
        ``lora_scale`` and ``retina_sigma``, which cannot be read from the weights (nor can the number of heads, which
        is in ``parts``).
    sources
        Name, size in bytes, sha256 and modification time in ns of each source file.
    origin
        ``"published"`` (every source has the sha256 of the author's file), ``"synthetic"``, ``"fitted"`` (to a new
        person's responses, with the network of a donor whose weights are not synthetic) or ``"unrecognized"``.
    versions
        Versions of the libraries that converted the subject.
    format_version
        Version of this format.
    """

    subject: int
    hemisphere_size: int
    parts: dict[str, PartConfig]
    rows: dict[str, int]
    layout: str
    layout_guessed: bool
    options: dict[str, float]
    sources: dict[str, dict[str, Any]]
    origin: str
    versions: dict[str, str]
    format_version: int = FORMAT_VERSION

    @property
    def synthetic(self) -> bool:
        """Whether the weights were made by a generator."""
        return self.origin == "synthetic"

    def to_json(self) -> str:
        """Return the description as the text of ``subject.json``."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Return the description in a text of ``subject.json``.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            The text is not a description.
        """
        fields = json.loads(text)
        size, subject, sources = fields["hemisphere_size"], fields["subject"], fields["sources"]
        if type(size) is not int or type(subject) is not int or not 0 < size < 2**31:
            raise ValueError(f"hemispheres of {size!r:.20} vertices, subject {subject!r:.20}")
        if not all({"size", "sha256", "mtime_ns"} <= set(source) for source in sources.values()):
            raise ValueError("its sources are incomplete")
        if set(fields["parts"]) != {"part1", "part2"} or set(fields["rows"]) != {"part1", "part2"}:
            raise ValueError("its parts are not part1 and part2")
        if not all(type(rows) is int and rows >= 0 for rows in fields["rows"].values()):
            raise ValueError("its rows are no numbers")
        texts = (fields["layout"], fields["origin"], *fields["sources"])
        if not all(isinstance(text, str) for text in texts) or not isinstance(fields["options"], dict):
            raise ValueError("its layout, origin, sources or options are not of the expected type")
        fields["parts"] = {
            name: PartConfig(ViTConfig(**part["vit"]), tuple(part["layers"]), part["width"])
            for name, part in fields["parts"].items()
        }
        return cls(**fields)


def is_converted(folder: Path) -> bool:
    """Return whether the folder looks like a converted subject."""
    return (folder / DESCRIPTION).is_file() and (folder / MANIFEST).is_file()


def read_description(folder: Path) -> Description:
    """Return the description of the converted subject in ``folder``.

    Raises
    ------
    ModelNotFoundError
        The folder is not a converted subject.
    ModelLoadError
        The subject was written by a newer version, or is damaged.

    Examples
    --------
    >>> from berg_jax import Subject
    >>> description = read_description(Subject("demo", 1).folder)
    >>> description.origin, description.hemisphere_size
    ('synthetic', 10242)
    """
    if not is_converted(folder):
        raise ModelNotFoundError(f"{folder} is not a converted subject: it lacks {DESCRIPTION} or {MANIFEST}.")
    try:
        text = read_small(folder / DESCRIPTION).decode("utf-8")
        version = json.loads(text)["format_version"]
        if version != FORMAT_VERSION:
            raise ModelLoadError(
                f"{folder} is in format {version}, this version of berg_jax reads {FORMAT_VERSION}. "
                "Convert the subject again, or use another version of berg_jax."
            )
        return Description.from_json(text)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = f"is damaged: {error}. Convert the subject again."
        raise _unreadable(folder / DESCRIPTION, error, problem) from error


def write_converted(
    destination: Path,
    description: Description,
    parts: Iterable[tuple[str, Part]],
    metadata: Path | None,
    replace: bool,
) -> None:
    """Write a converted subject, which appears at ``destination`` complete or not at all.

    Parameters
    ----------
    destination
        Folder to write.
    description
        Description of the subject.
    parts
        Name and network of each part. It may be an iterator: each part is written before the next one is requested.
    metadata
        File of the subject's metadata, or None.
    replace
        Whether an existing folder is replaced.

    Raises
    ------
    ResourceError
        The disk is full or cannot be written.
    """
    with atomic_folder(destination, replace) as folder:
        with explained("write", destination):
            reserve(folder, sum(source["size"] for source in description.sources.values()))
        for name, part in parts:
            with explained("write", destination):
                write_arrays(folder / name, part.weights)
                np.save(folder / f"{name}_vertices.npy", part.vertices.astype(np.int32), allow_pickle=False)
        with explained("write", destination):
            if metadata is not None:
                shutil.copyfile(metadata, folder / METADATA)
            (folder / DESCRIPTION).write_text(description.to_json(), encoding="utf-8")
            names = _files(folder)
            hashes = sha256_many(folder / name for name in names)
            lines = [f"{digest}  {name}\n" for digest, name in zip(hashes, names, strict=True)]
            (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path, parts: Iterable[str] = ("part1", "part2")) -> None:
    """Compare the files of a converted subject with their recorded sha256.

    Parameters
    ----------
    folder
        Folder of the converted subject.
    parts
        Parts whose weights are compared. All other files are always compared.

    Raises
    ------
    IntegrityError
        A file is missing, unexpected or different.
    """
    recorded, existing = read_manifest(folder), set(_files(folder))
    if existing != set(recorded):
        raise IntegrityError(
            f"{folder} does not hold the files that were written: missing {sorted(set(recorded) - existing)[:3]}, "
            f"unexpected {sorted(existing - set(recorded))[:3]}. {_REMEDY}"
        )
    skipped = tuple(f"{name}/" for name in ("part1", "part2") if name not in parts)
    checked = [name for name in sorted(recorded) if not name.startswith(skipped)]
    with explained("read", folder):
        hashes = sha256_many(folder / name for name in checked)
    changed = [name for name, digest in zip(checked, hashes, strict=True) if digest != recorded[name]]
    if changed:
        raise IntegrityError(f"{folder} is damaged: {', '.join(changed[:3])} changed since it was written. {_REMEDY}")


def read_manifest(folder: Path) -> dict[str, str]:
    """Return the recorded sha256 of each file of a converted subject, by its relative path.

    Raises
    ------
    IntegrityError
        The manifest is missing or damaged.
    """
    try:
        text = read_small(folder / MANIFEST).decode("utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(folder / MANIFEST, error, f"cannot be read: {error}. {_REMEDY}") from error
    recorded = {}
    for line in text.removesuffix("\n").split("\n"):
        match = _MANIFEST_LINE.fullmatch(line)
        if match is None:
            raise IntegrityError(f"{folder / MANIFEST} is damaged: {line[:100]!r} is no checksum. {_REMEDY}")
        recorded[match[2]] = match[1]
    return recorded


def load_model(
    folder: Path,
    vertices: Vertices | None = None,
    *,
    precision: str = "float32",
    fuse_lora: bool = True,
    check: bool = True,
    variant: Mapping[str, Any] | None = None,
) -> EncodingModel:
    """Load the model of a converted subject. Parts that the vertices do not need are not read.

    Parameters
    ----------
    folder
        Folder of the converted subject.
    vertices, precision, fuse_lora, variant
        The parameters of :func:`~berg_jax.model.encoding_model.build`.
    check
        Whether the files' sha256 are first compared with the recorded ones.

    Raises
    ------
    ModelNotFoundError, IntegrityError, InvalidParameterError
        There is no such folder; files are damaged; vertices or the precision do not exist.
    ResourceError
        JAX has no device, its memory is full, or the files may not be read.

    See Also
    --------
    berg_jax.load : Load a subject's model from a BERG directory, and convert the subject if necessary.
    """
    if check:
        verify(folder, parts=())
    description = read_description(folder)
    size = description.hemisphere_size
    if vertices is not None:
        check_vertices(vertices, size)
    parts = {name: read_part(folder, name) for name in description.parts}
    needed = _parts_needed(parts, size, vertices)
    if check:
        verify(folder, needed)
    parts = {name: parts[name] for name in needed}
    return build(parts, size, vertices, precision=precision, fuse_lora=fuse_lora, variant=variant)


def read_part(folder: Path, name: str) -> Part:
    """Return one network of a converted subject, whose weights are read when they are needed.

    Parameters
    ----------
    folder
        Folder of the converted subject.
    name
        ``"part1"`` or ``"part2"``.

    Raises
    ------
    ModelNotFoundError, ModelLoadError
        The folder is not a converted subject, or is damaged.
    """
    description = read_description(folder)
    with readable(folder, IntegrityError, "Convert the subject again."):
        vertices = np.array(read_npy(folder / f"{name}_vertices.npy"))
        inside = (
            vertices.dtype.kind in "iu" and ((vertices >= 0) & (vertices < 2 * description.hemisphere_size)).all()
        )
        if vertices.shape != (description.rows[name],) or not inside:
            raise ValueError(f"{name} has vertices that are {vertices.dtype} of shape {vertices.shape}")
    return Part(description.parts[name], partial(read_arrays, folder / name), vertices)


def write_arrays(path: Path, weights: dict[str, Any]) -> None:
    """Write nested dicts of arrays by Orbax.

    Raises
    ------
    ResourceError, OSError
        The device or the disk fails.
    """
    from orbax.checkpoint import v1 as ocp

    try:
        with _plainly_named(path.parent) as parent:
            ocp.save(parent / path.name, weights)
    except Exception as error:
        if trouble := device_trouble(error):
            raise ResourceError(f"{path.name} cannot be written: {trouble}") from error
        if not isinstance(error, (ValueError, RuntimeError)):
            raise
        # The form in which tensorstore reports errors of the system.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        raise (OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(error)[:300])) from error


def _parts_needed(parts: dict[str, Part], size: int, vertices: Vertices | None) -> list[str]:
    owner = np.full(2 * size, -1)
    names = sorted(parts)
    for index in reversed(range(len(names))):
        owner[parts[names[index]].vertices] = index
    if vertices is not None and len(vertices):
        owner = owner[vertices.global_indices]
    return [name for index, name in enumerate(names) if (owner == index).any()]


def read_arrays(folder: Path, remedy: str = "Convert the subject again.") -> dict[str, Any]:
    """Return nested dicts of arrays that :func:`write_arrays` has written.

    Raises
    ------
    IntegrityError, ResourceError
        They are damaged, with ``remedy`` as what to do, or the machine lacks something.
    """
    from orbax.checkpoint import v1 as ocp

    try:
        with _plainly_named(folder.parent) as parent:
            return ocp.load(parent / folder.name)
    except Exception as error:  # of any type; does not happen with verified checkpoints
        reason = str(error).partition("\n")[0][:200]
        raise _unreadable(folder, error, f"cannot be read: {reason}. {remedy}") from error


def _unreadable(path: Path, error: Exception, problem: str) -> BERGError:
    """Return the error for a part of a subject that cannot be read: of the machine, or else of the file."""
    if trouble := machine_trouble(error):
        return ResourceError(f"{path} cannot be read: {trouble}")
    return IntegrityError(f"{path} {problem}")


@contextlib.contextmanager
def _plainly_named(folder: Path) -> Iterator[Path]:
    """Yield a link to the folder whose name has no special characters, because Orbax takes [ ] \\ for patterns."""
    with tempfile.TemporaryDirectory(prefix="berg_jax-") as parent:
        link = Path(parent) / "link"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def _files(folder: Path) -> list[str]:
    """Return the relative paths of all files in the folder except the manifest, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) != MANIFEST)
