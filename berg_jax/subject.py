"""A person's model on disk: found, converted on first use, kept in step with its sources, loaded."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ValidationError
from .files.disk import sha256
from .machine import tell
from .published.berg_dir import DESCRIPTION, METADATA, SubjectFiles, cache_folder, check_subject
from .published.metadata import Metadata, find_metadata
from .rois import resolve
from .vertices import Vertices, check_vertices

if TYPE_CHECKING:
    from .model.checkpoint import Description
    from .model.encoding_model import EncodingModel

_log = logging.getLogger(__name__)


class Subject:
    """One subject of a BERG directory, ready to load.

    A subject that is there only as PyTorch files is converted first (once), beside its files if they can be
    written, else in the folder that the environment variable ``BERG_JAX_CACHE`` names, else in the user's cache
    folder.

    Parameters
    ----------
    berg_dir
        The folder that holds ``encoding_models/…``, or a converted subject's own folder; or ``"demo"``, for the
        synthetic demo subjects 1 to 4.
    subject
        Number of the subject.
    num_heads
        Attention heads for a conversion; by default embed_dim / 64.
    check
        Compare files with their recorded checksums at every load.

    Attributes
    ----------
    berg_dir
        The folder as it was given.
    folder
        The converted subject's folder.
    description
        What it holds: see :class:`~berg_jax.model.checkpoint.Description`.

    Raises
    ------
    ModelNotFoundError
        The folder, the subject or one of its files is missing; the message says which exist.
    ModelLoadError
        The files are damaged, or changed since they were converted.
    InvalidParameterError
        ``num_heads`` differs from what the subject was converted with.
    """

    def __init__(
        self, berg_dir: str | Path, subject: int, *, num_heads: int | None = None, check: bool = True
    ) -> None:
        from .model.checkpoint import read_description

        files = SubjectFiles(Path(berg_dir), check_subject(subject))
        self.berg_dir = str(berg_dir)
        self._files = files
        self.folder = _find(files) or _make(files, num_heads)
        self.description: Description = read_description(self.folder)
        self._check = check
        if self.description.subject != files.subject:
            raise ModelNotFoundError(
                f"{self.folder} is subject {self.description.subject}, not {files.subject}. Ask for that one, or "
                "give another berg_dir."
            )
        _require_fresh(self.folder, self.description, files)
        heads = {part.vit.num_heads for part in self.description.parts.values()}
        if num_heads is not None and heads != {num_heads}:
            raise InvalidParameterError(
                f"{self.folder} was converted with {sorted(heads)} attention heads, not {num_heads}. Convert it "
                f"again: berg-jax convert --num-heads {num_heads} --overwrite."
            )

    @cached_property
    def metadata(self) -> Metadata:
        """Noise ceilings, ROIs, image splits and accuracies.

        Raises
        ------
        ModelNotFoundError
            The subject was converted without metadata, and the BERG directory has none.
        ValidationError
            They are of another number of vertices.
        """
        metadata = find_metadata(self.folder / METADATA, self._files.metadata)
        if metadata.hemisphere_size != self.hemisphere_size:
            raise ValidationError(
                f"{metadata.path} is for hemispheres of {metadata.hemisphere_size} vertices, {self.folder} has "
                f"{self.hemisphere_size}. Are both the same subject's?"
            )
        return metadata

    @property
    def rois(self) -> list[str]:
        """Names of the subject's ROIs."""
        return self.metadata.roi_names

    def vertices(
        self,
        selection: str | Sequence[str] | Mapping[str, Any] | Vertices | None = None,
        hemisphere: str = "both",
        min_ncsnr: float | None = None,
        min_explained_variance: float | None = None,
    ) -> Vertices:
        """Vertices of a ROI expression, masks or indices, above thresholds: see :func:`berg_jax.rois.resolve`.

        Raises
        ------
        InvalidParameterError, ModelNotFoundError, ValidationError
            The selection makes no sense, or no vertex is left; metadata are missing, or are not this subject's.

        Examples
        --------
        ::

            subject.vertices("FFA-1 + FFA-2", hemisphere="rh", min_ncsnr=0.2)
        """
        return resolve(
            selection,
            self.metadata,
            hemisphere=hemisphere,
            min_ncsnr=min_ncsnr,
            min_explained_variance=min_explained_variance,
        )

    @property
    def hemisphere_size(self) -> int:
        """Number of vertices of one hemisphere."""
        return self.description.hemisphere_size

    def model(
        self,
        vertices: Vertices | None = None,
        *,
        roi: str | Sequence[str] | None = None,
        hemisphere: str = "both",
        precision: str = "float32",
        fuse_lora: bool = True,
    ) -> EncodingModel:
        """The encoding model of the given vertices, by default of all, in their order.

        Parameters
        ----------
        vertices
            Which vertices; parts of the model that they do not need are not read.
        roi, hemisphere
            Instead of ``vertices``: a ROI expression or a list of them, and ``"lh"``, ``"rh"`` or ``"both"``.
        precision
            ``"float32"``, ``"tensorfloat32"``, ``"bfloat16"`` or ``"float64"``.
        fuse_lora
            Add the low-rank adapters to the weights; without it they stay parameters of their own.

        Raises
        ------
        InvalidParameterError
            Vertices, a ROI or a precision make no sense, or both of the first two are given.
        ModelLoadError
            The files are damaged.
        """
        from .model.checkpoint import load_model

        if roi is not None or hemisphere != "both":
            if vertices is not None:
                raise InvalidParameterError("Give vertices, or roi and hemisphere, not both.")
            vertices = self.vertices(roi, hemisphere)
        return load_model(self.folder, vertices, precision=precision, fuse_lora=fuse_lora, check=self._check)

    def identity(self, vertices: Vertices | None = None, precision: str = "float32") -> str:
        """What determines the responses, as one sha256: sources, options, format, vertices, precision.

        Two conversions of the same files have the same identity, whatever machine made them.
        """
        d = self.description
        vertices = Vertices.all(d.hemisphere_size) if vertices is None else vertices
        check_vertices(vertices, d.hemisphere_size)
        facts = {
            "sources": {name: source["sha256"] for name, source in d.sources.items() if name != "metadata"},
            "options": d.options,
            "parts": {name: asdict(part) for name, part in d.parts.items()},
            "layout": d.layout,
            "format_version": d.format_version,
            "hemisphere_size": d.hemisphere_size,
            "vertices": hashlib.sha256(vertices.global_indices.astype("<i8").tobytes()).hexdigest(),
            "precision": precision,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load(
    berg_dir: str | Path,
    subject: int,
    vertices: Vertices | None = None,
    *,
    roi: str | Sequence[str] | None = None,
    hemisphere: str = "both",
    precision: str = "float32",
    num_heads: int | None = None,
    check: bool = True,
) -> EncodingModel:
    """Load a subject's encoding model: images (batch, 3, height, width) in 0–255 → responses (batch, vertices).

    The short form of ``Subject(berg_dir, subject).model(vertices)``.

    Parameters
    ----------
    berg_dir
        The folder that holds ``encoding_models/…``, or a converted subject's own folder; or ``"demo"``, for the
        synthetic demo subjects 1 to 4.
    subject
        Number of the subject.
    vertices
        Which vertices to answer, in their order; by default all.
    roi, hemisphere
        Instead of ``vertices``: a ROI expression such as ``"FFA-1 + FFA-2"`` or a list of them, and ``"lh"``,
        ``"rh"`` or ``"both"``.
    precision
        ``"float32"`` (exact on every device), ``"tensorfloat32"`` or ``"bfloat16"`` (for speed), ``"float64"``.
    num_heads
        Attention heads, where the subject is converted on this first use; by default embed_dim / 64.
    check
        Compare the converted files with their recorded checksums.

    Raises
    ------
    ModelNotFoundError, ModelLoadError, InvalidParameterError
        As :class:`Subject` and its ``model``.

    Examples
    --------
    >>> from berg_jax.demo import images
    >>> model = load("demo", 1, roi="FFA-1")
    >>> model(images("faces", 2)).shape == (2, len(model.vertices))
    True
    """
    person = Subject(berg_dir, subject, num_heads=num_heads, check=check)
    return person.model(vertices, roi=roi, hemisphere=hemisphere, precision=precision)


def _find(files: SubjectFiles) -> Path | None:
    """The subject's converted folder, if it has been converted."""
    for folder in (files.converted, files.berg_dir, files.berg_dir / files.name, _cached(files)):
        if (folder / DESCRIPTION).is_file():
            return folder
    return None


def _cached(files: SubjectFiles) -> Path:
    place = hashlib.sha256(str(files.model.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "converted" / place / files.name


def _make(files: SubjectFiles, num_heads: int | None) -> Path:
    if files.is_demo:
        from .demo.subjects import build_demo_subject

        return build_demo_subject(files)
    from .convert.subject import convert_subject

    files.require()
    beside = files.converted
    there = beside
    while not there.exists():
        there = there.parent
    output = beside if os.access(there, os.W_OK) else _cached(files)
    tell(_log, "Subject %d is not converted yet: converting it once, to %s.", files.subject, output)
    return convert_subject(files.berg_dir, files.subject, num_heads=num_heads, output=output)


def _require_fresh(folder: Path, description: Description, files: SubjectFiles) -> None:
    """Raise IntegrityError if a source that lies in the BERG directory is not the one converted from."""
    paths = {
        "part1": files.part1,
        "part2": files.part2,
        "part1_voxel_indices": files.indices,
        "metadata": files.metadata,
    }
    for name, source in description.sources.items():
        path = paths.get(name)
        if path is None or not path.is_file():
            continue
        status = path.stat()
        same = status.st_size == source["size"] and (
            status.st_mtime_ns == source["mtime_ns"] or sha256(path) == source["sha256"]
        )
        if not same:
            raise IntegrityError(
                f"{path} changed since {folder} was made from it. Convert the subject again: "
                f"berg-jax convert --berg-dir {files.berg_dir} --subject {files.subject} --overwrite"
            )
