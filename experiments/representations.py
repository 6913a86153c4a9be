"""``berg-jax rsa``: how alike regions, people, features and behavior represent images.

Each region's dissimilarity matrix (1 − r of response patterns) is compared with others' by Spearman's correlation. On
the demo subject, with its drawings (5 × 8), 15 seconds on 2 cores; regions of one category agree most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .. import surface
from ..convert.dinov2 import load_dinov2
from ..demo import images as drawings
from ..demo.stimuli import CATEGORIES
from ..encoding import choose_images
from ..errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ..files import explained, readable
from ..numpy_files import read_npy
from ..rois import Vertices
from ..stream.arrays import ArraySource
from ..stream.loop import stream
from ..stream.opening import open_source
from ..stream.responses import open_responses
from ..stream.sources import Source
from ..stream.stores import Columns, is_complete
from ..subject import Subject
from .baseline import class_tokens
from .dissimilarity import dissimilarities, from_square, neighborhoods, searchlights, similarities
from .localizer import OUTLINED
from .pictures import draw_table
from .results import can_draw, note, outlined, provenance, write_results

ROIS = ("V1", "V2", "V3", "hV4", "OFA", "FFA-1", "FFA-2", "EBA", "FBA-1", "FBA-2", "OPA", "PPA", "RSC", "VWFA-1")
DEMO_EACH, DEMO_SEED = 8, 22


def compare_representations(
    berg_dir: str | Path,
    subjects: Sequence[int],
    output: str | Path,
    images: str | Path | None = None,
    *,
    choose: str | None = None,
    rois: Sequence[str] = (),
    features: Mapping[str, str | Path] | None = None,
    matrices: Mapping[str, str | Path] | None = None,
    searchlight: int | None = None,
    dinov2: str | Path | None = None,
    min_ncsnr: float | None = None,
    min_explained_variance: float | None = None,
    fit_images: str = "error",
    precision: str = "float32",
    batch_size: int = 8,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Compare representations of images in ROIs of one or more subjects with each other and with given ones.

    Parameters
    ----------
    berg_dir, subjects
        As for :func:`berg_jax.load`; one or more subjects.
    output
        The folder to write: ``similarities.npz``, with ``matrix`` (Spearman's correlation of each two) and their
        ``names``, mean over subjects; ``subjects`` (subject, subject, roi), between people; ``similarities.png``; of
        each subject ``subjNN/`` with its own, and with searchlights maps of each feature and matrix.
    images
        See :func:`~berg_jax.stream.opening.open_source`. For the demo subjects by default drawings.
    choose
        Of an array which images.
    rois
        ROI expressions; by default early and category-selective areas that all subjects have.
    features
        ``.npy`` files of (images, features), such as a network layer's, by name.
    matrices
        ``.npy`` files of dissimilarities (images, images), such as of behavior, by name.
    searchlight
        Also compare the features and matrices with the patterns of this many nearest vertices, around every vertex.
        For it the responses of all vertices (that pass the thresholds) are computed.
    dinov2
        A stock DINOv2 in Hugging Face's format, to compare with as a baseline: class tokens after four of its blocks,
        ``dinov2-<block>``. See :func:`berg_jax.convert.dinov2.load_dinov2`.
    min_ncsnr, min_explained_variance
        Which vertices, by default all: see :func:`berg_jax.rois.resolve`.
    fit_images, precision, batch_size, time_limit, show_progress
        As for :func:`~berg_jax.experiments.retinotopy.map_retinotopy`.

    Returns
    -------
    A few lines that say what came out.

    Raises
    ------
    BERGError
        Something is wrong with the images, the ROIs, the given files or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.
    """
    output, subjects = Path(output), list(subjects)
    if not subjects or len(set(subjects)) < len(subjects):
        raise InvalidParameterError(f"Give one or more subjects, each once, got {subjects}.")
    people = [Subject(berg_dir, subject) for subject in subjects]
    names = list(rois) or [name for name in ROIS if all(name in outlined(person, (name,)) for person in people)]
    limits = {"min_ncsnr": min_ncsnr, "min_explained_variance": min_explained_variance}
    regions = [{name: person.vertices(name, **limits) for name in names} for person in people]
    if small := [name for found in regions for name, region in found.items() if len(region) < 2]:
        raise InvalidParameterError(f"ROI {small[0]!r} has only one vertex; a pattern needs more.")
    source = _stimuli(people[0], output, images, choose, fit_images)
    targets = _given(features or {}, matrices or {}, len(source))
    baseline = None if dinov2 is None else load_dinov2(dinov2)
    if baseline is not None:
        targets |= {
            name: dissimilarities(tokens) for name, tokens in class_tokens(baseline, source, batch_size).items()
        }
    if clash := set(names) & set(targets):
        raise InvalidParameterError(f"{sorted(clash)} are names of ROIs and of features. Rename the features.")
    chosen = []
    for person, found in zip(people, regions, strict=True):
        together = np.unique(np.concatenate([region.global_indices for region in found.values()]))
        whole = None if searchlight is None else person.vertices(None, **limits)
        chosen.append(Vertices.from_global(together, person.hemisphere_size) if whole is None else whole)
        if searchlight is not None:
            if not targets:
                raise InvalidParameterError("A searchlight needs features or matrices to compare with.")
            next(neighborhoods(chosen[-1], searchlight))
    own = []
    for person, vertices, found in zip(people, chosen, regions, strict=True):
        folder = output / f"subj{person.description.subject:02d}"
        store = folder / "responses.zarr"
        stream(
            person.model(vertices, precision=precision),
            source,
            [Columns(vertices)],
            output=store,
            identity=person.identity(vertices, precision),
            batch_size=batch_size,
            time_limit=time_limit,
            show_progress=show_progress,
        )
        if not is_complete(store):
            return f"This process has done its share of {output}; others have not yet."
        responses = open_responses(store).data.values
        columns = {n: np.isin(vertices.global_indices, region.global_indices) for n, region in found.items()}
        own.append({name: dissimilarities(responses[:, inside]) for name, inside in columns.items()})
        maps = {} if searchlight is None else searchlights(responses, vertices, searchlight, targets)
        facts = provenance(person, vertices, precision, experiment="rsa", images=len(source), searchlight=searchlight)
        matrix = similarities({**own[-1], **targets})
        write_results(folder, vertices, maps, {"names": [*names, *targets], "similarities": matrix, **facts})
        _draw_maps(person, vertices, maps, searchlight, folder)
    return _conclude(people, own, targets, names, output)


def _stimuli(person: Subject, output: Path, images: str | Path | None, choose: str | None, fit_images: str) -> Source:
    if images is not None:
        source = open_source(images, fit_images)
        return source if choose is None else choose_images(source, choose, person)
    if person.metadata.raw.get("synthetic") != "berg_jax demo":
        raise InvalidParameterError("Give images: a folder or an array, such as NSD's with --images test.")
    path = output / "images.npy"
    with explained("write", path):
        output.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate([drawings(category, DEMO_EACH, DEMO_SEED) for category in CATEGORIES]))
    return ArraySource(path)


def _given(
    features: Mapping[str, str | Path], matrices: Mapping[str, str | Path], images: int
) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Dissimilarities of given features and matrices, by name."""
    if clash := set(features) & set(matrices):
        raise InvalidParameterError(f"{sorted(clash)} are names of features and of matrices. Rename them.")
    found = {}
    for name, path in {**features, **matrices}.items():
        if "/" in name or "\\" in name:
            raise InvalidParameterError(f"{name!r} names files that are written, so it must be without slashes.")
        if not Path(path).is_file():
            raise ModelNotFoundError(f"There is no file {path}.")
        with readable(path, ValidationError, "Get the file again."):
            array = read_npy(Path(path))
        if array.dtype.kind not in "fiu" or array.ndim < 2 or len(array) != images:
            raise InvalidParameterError(
                f"{path} must be numbers for each of the {images} images, got {array.dtype} of shape {array.shape}."
            )
        flat = name in features
        found[name] = dissimilarities(array.reshape(images, -1)) if flat else from_square(array, str(path))
        if np.isnan(found[name]).any():
            raise InvalidParameterError(f"{path} has dissimilarities that are NaN: an image's features do not vary.")
    return found


def _draw_maps(
    person: Subject, vertices: Vertices, maps: Mapping[str, np.ndarray], searchlight: int | None, folder: Path
) -> None:
    for name, values in maps.items():
        if can_draw(vertices) and not np.isnan(values).all():
            surface.plot(
                values,
                vertices,
                label="Spearman's correlation of dissimilarities",
                title=f"{name} in searchlights of {searchlight} vertices",
                outlines=outlined(person, OUTLINED),
                note=note(person),
                output=folder / f"{name}.png",
            )


def _conclude(
    people: Sequence[Subject],
    own: Sequence[Mapping[str, Float[np.ndarray, " pairs"]]],
    targets: Mapping[str, Float[np.ndarray, " pairs"]],
    names: Sequence[str],
    output: Path,
) -> str:
    labels = [*names, *targets]
    mean = np.mean([similarities({**found, **targets}) for found in own], axis=0)
    people_of = {name: similarities({str(i): found[name] for i, found in enumerate(own)}) for name in names}
    between = np.stack(list(people_of.values()), axis=-1)
    path = output / "similarities.npz"
    with explained("write", path):
        np.savez(path, matrix=mean, names=np.array(labels), subjects=between, rois=np.array(names))
    options: dict[str, Any] = {"title": "Similarity of representations", "note": note(people[0])}
    draw_table(mean, labels, labels, "Spearman's correlation", output / "similarities.png", **options)
    origin = " (SYNTHETIC weights)" if people[0].description.synthetic else ""
    lines = [f"Representations in {len(people)} subjects{origin}; Spearman's correlation of dissimilarities"]
    others = mean - 2 * np.eye(len(labels))
    pairs = np.triu_indices(len(people), 1)
    for index, name in enumerate(labels):
        nearest = int(np.nan_to_num(others[index], nan=-2).argmax())
        line = f"  {name:<14}most like {labels[nearest]:<14}{mean[index, nearest]:>7.3f}"
        if len(people) > 1 and name in people_of:
            line += f"   between people {people_of[name][pairs].mean():.3f}"
        lines.append(line)
    return "\n".join([*lines, f"Matrices and pictures: {output}"])
