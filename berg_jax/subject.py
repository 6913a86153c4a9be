"""Subjects of a BERG directory: found, converted on first use, checked against their sources, and loaded."""

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

import numpy as np

from .errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ValidationError
from .files.disk import sha256
from .machine import tell
from .published.berg_dir import DESCRIPTION, METADATA, SubjectFiles, cache_folder, check_subject_id
from .published.metadata import Metadata, find_metadata
from .rois import resolve
from .vertices import Vertices, check_vertices

if TYPE_CHECKING:
    from .model.checkpoint import Description
    from .model.encoding_model import EncodingModel

_log = logging.getLogger(__name__)


class Subject:
    """One subject of a BERG directory, whose encoding model can be loaded.

    A subject that exists only as PyTorch files is converted first, once: beside its files if that folder can be
    written, otherwise in the folder named by the environment variable ``BERG_JAX_CACHE``, otherwise in the user's
    cache folder.

    Parameters
    ----------
    berg_dir
        The folder that contains ``encoding_models/…``, or a converted subject's own folder, or ``"demo"`` for the
        synthetic demo subjects 1 to 4.
    subject
        ID of the subject, a number from 1 to 99.
    num_heads
        Number of attention heads, in case the subject is converted now. The default is embed_dim / 64.
    check
        Whether files are compared with their recorded checksums at every load.

    Attributes
    ----------
    berg_dir
        The folder as it was given.
    folder
        Folder of the converted subject.
    description
        Sizes, options and sources of the converted subject, a :class:`~berg_jax.model.checkpoint.Description`.

    Raises
    ------
    ModelNotFoundError
        The folder, the subject or one of its files is missing. The message says which exist.
    ModelLoadError
        The files are damaged, or have changed since they were converted.
    InvalidParameterError
        ``num_heads`` differs from the number that the subject was converted with.

    See Also
    --------
    berg_jax.load : Load a subject's model in one call.

    Examples
    --------
    >>> subject = Subject("demo", 1)
    >>> subject.rois[:3]
    ['V1v', 'V1d', 'V2v']
    >>> model = subject.model(roi="V1", hemisphere="lh")
    """

    def __init__(
        self, berg_dir: str | Path, subject: int, *, num_heads: int | None = None, check: bool = True
    ) -> None:
        from .model.checkpoint import read_description

        files = SubjectFiles(Path(berg_dir), check_subject_id(subject))
        self.berg_dir = str(berg_dir)
        self._files = files
        self.folder = _find(files) or _make(files, num_heads)
        self.description: Description = read_description(self.folder)
        self._check = check
        if self.description.subject != files.subject_id:
            raise ModelNotFoundError(
                f"{self.folder} is subject {self.description.subject}, not {files.subject_id}. Ask for that one, or "
                "give another berg_dir."
            )
        _require_fresh(self.folder, self.description, files)
        heads = {part.vit.num_heads for part in self.description.parts.values()}
        if num_heads is not None and heads != {num_heads}:
            raise InvalidParameterError(
                f"{self.folder} was converted with {sorted(heads)} attention heads, not {num_heads}. Convert it "
                f"again: berg-jax convert --num-heads {num_heads} --overwrite."
            )

    def __repr__(self) -> str:
        """Return one line: the folder, the subject, its vertices, and whether its weights are synthetic."""
        return f"Subject({self.berg_dir!r}, {self._words}, 2 × {self.hemisphere_size:,} vertices)"

    @property
    def _words(self) -> str:
        synthetic = " (SYNTHETIC weights)" if self.description.synthetic else ""
        return f"subject {self.description.subject}{synthetic}"

    @cached_property
    def metadata(self) -> Metadata:
        """Metadata of the subject: noise ceilings, ROIs, image splits and accuracies.

        Raises
        ------
        ModelNotFoundError
            The subject was converted without metadata, and the BERG directory has none.
        ValidationError
            The metadata are for another number of vertices.
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
        """Return the vertices of a ROI expression, masks or indices that pass the thresholds.

        Parameters
        ----------
        selection
            A ROI expression, a list of ROI expressions (their union), ``{"lh": …, "rh": …}`` with an index array or a
            mask for each hemisphere, ``Vertices``, or None for all vertices.
        hemisphere
            ``"lh"``, ``"rh"`` or ``"both"``.
        min_ncsnr, min_explained_variance
            Smallest noise-ceiling signal-to-noise ratio, and smallest explained variance in the metadata's own scale,
            that a vertex may have.

        Raises
        ------
        InvalidParameterError, ModelNotFoundError, ValidationError
            The selection is invalid, or no vertex is left; the metadata are missing, or are not this subject's.

        See Also
        --------
        berg_jax.rois.resolve : The same for metadata alone, with the rules of ROI expressions.

        Examples
        --------
        >>> vertices = Subject("demo", 1).vertices("FFA-1 + FFA-2", hemisphere="rh", min_ncsnr=0.2)
        >>> set(vertices.hemispheres.tolist())
        {'rh'}
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

    @cached_property
    def all_vertices(self) -> Vertices:
        """Vertices that the subject's model predicts: those of the whole surface, unless it was fitted to fewer."""
        from .model.checkpoint import read_part

        rows, size = self.description.rows, self.hemisphere_size
        if max(rows.values()) == 2 * size or sum(rows.values()) == 2 * size:
            return Vertices.all(size)
        known = [read_part(self.folder, name).vertices for name in rows]
        return Vertices.from_global(np.unique(np.concatenate(known)), size)

    def model(
        self,
        vertices: Vertices | None = None,
        *,
        roi: str | Sequence[str] | None = None,
        hemisphere: str = "both",
        precision: str = "float32",
        fuse_lora: bool = True,
        variant: Mapping[str, Any] | None = None,
    ) -> EncodingModel:
        """Load the encoding model of the given vertices, in their order.

        Parameters
        ----------
        vertices
            Vertices that the model answers for; the default is all. Parts of the model that they do not need are not
            read.
        roi, hemisphere
            A ROI expression or a list of them, and ``"lh"``, ``"rh"`` or ``"both"``, instead of ``vertices``.
        precision
            ``"float32"``, ``"tensorfloat32"``, ``"bfloat16"`` or ``"float64"``.
        fuse_lora
            Whether the low-rank adapters are added to the weights. Otherwise they stay parameters of their own.
        variant
            How to compute, as far as it changes rounding, such as :func:`berg_jax.model.tuned.tuned_variant`; the
            default is the same on every machine.

        Returns
        -------
        The encoding model.

        Raises
        ------
        InvalidParameterError
            The vertices, the ROI or the precision are invalid, or both vertices and a ROI are given.
        ModelLoadError
            The files are damaged.

        See Also
        --------
        berg_jax.load : The same without a :class:`Subject`.
        """
        from .model.checkpoint import load_model

        if roi is not None or hemisphere != "both":
            if vertices is not None:
                raise InvalidParameterError("Give vertices, or roi and hemisphere, not both.")
            vertices = self.vertices(roi, hemisphere)
        options = {"precision": precision, "fuse_lora": fuse_lora, "check": self._check, "variant": variant}
        words = "" if roi is None else roi if isinstance(roi, str) else " + ".join(roi)
        return load_model(self.folder, vertices, **options).labeled(self._words, words)

    def identity(self, vertices: Vertices | None = None, precision: str = "float32") -> str:
        """Return a sha256 of all that determines the responses: sources, options, format, vertices, precision.

        Two conversions of the same files have the same identity, whichever machine made them.
        """
        description = self.description
        vertices = self.all_vertices if vertices is None else vertices
        check_vertices(vertices, description.hemisphere_size)
        facts = {
            "sources": {name: source["sha256"] for name, source in description.sources.items() if name != "metadata"},
            "options": description.options,
            "parts": {name: asdict(part) for name, part in description.parts.items()},
            "layout": description.layout,
            "format_version": description.format_version,
            "hemisphere_size": description.hemisphere_size,
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

    This is the short form of ``Subject(berg_dir, subject).model(vertices)``, computed as ``berg-jax tune`` has found
    to be fastest here, if it was run.

    Parameters
    ----------
    berg_dir
        The folder that contains ``encoding_models/…``, or a converted subject's own folder, or ``"demo"`` for the
        synthetic demo subjects 1 to 4.
    subject
        ID of the subject, a number from 1 to 99.
    vertices
        Vertices that the model answers for, in their order. The default is all.
    roi, hemisphere
        A ROI expression such as ``"FFA-1 + FFA-2"`` or a list of them, and ``"lh"``, ``"rh"`` or ``"both"``, instead
        of ``vertices``.
    precision
        ``"float32"`` (exact on every device), ``"tensorfloat32"`` or ``"bfloat16"`` (for speed), or ``"float64"``.
    num_heads
        Number of attention heads, in case the subject is converted now. The default is embed_dim / 64.
    check
        Whether the converted files are compared with their recorded checksums.

    Returns
    -------
    The encoding model.

    Raises
    ------
    ModelNotFoundError, ModelLoadError, InvalidParameterError
        The same conditions as for :class:`Subject` and :meth:`Subject.model`.

    See Also
    --------
    Subject : The subject with its metadata, ROIs and vertices.
    berg_jax.BERG : The interface of the PyTorch package BERG.
    berg_jax.stack : Several subjects' models in one program.

    Examples
    --------
    >>> from berg_jax.demo import images
    >>> model = load("demo", 1, roi="FFA-1")
    >>> model(images("faces", 2)).shape == (2, len(model.vertices))
    True
    """
    from .model.tuned import tuned_variant

    loaded = Subject(berg_dir, subject, num_heads=num_heads, check=check)
    options = {"roi": roi, "hemisphere": hemisphere, "precision": precision, "variant": tuned_variant(precision)}
    return loaded.model(vertices, **options)


def _find(files: SubjectFiles) -> Path | None:
    """Return the folder of the converted subject, or None if it has not been converted."""
    for folder in (files.converted, files.berg_dir, files.berg_dir / files.name, _cached(files)):
        if (folder / DESCRIPTION).is_file():
            return folder
    return None


def _cached(files: SubjectFiles) -> Path:
    name_of_model_folder = hashlib.sha256(str(files.model.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "converted" / name_of_model_folder / files.name


def _make(files: SubjectFiles, num_heads: int | None) -> Path:
    if files.is_demo:
        from .demo.subjects import build_demo_subject

        return build_demo_subject(files)
    from .convert.subject import convert_subject

    files.require()
    existing = files.converted
    while not existing.exists():
        existing = existing.parent
    output = files.converted if os.access(existing, os.W_OK) else _cached(files)
    tell(_log, "Subject %d is not converted yet: converting it once, to %s.", files.subject_id, output)
    return convert_subject(files.berg_dir, files.subject_id, num_heads=num_heads, output=output)


def _require_fresh(folder: Path, description: Description, files: SubjectFiles) -> None:
    """Raise IntegrityError if a source in the BERG directory is not the file that the subject was converted from."""
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
        unchanged = status.st_size == source["size"] and (
            status.st_mtime_ns == source["mtime_ns"] or sha256(path) == source["sha256"]
        )
        if not unchanged:
            raise IntegrityError(
                f"{path} changed since {folder} was made from it. Convert the subject again: "
                f"berg-jax convert --berg-dir {files.berg_dir} --subject {files.subject_id} --overwrite"
            )
