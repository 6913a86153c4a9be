"""Encode a folder of images with a subject's model into a response store, and say what came out."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from .errors import InvalidParameterError, ModelNotFoundError, ResourceError
from .metadata import HEMISPHERES
from .rois import Vertices
from .stream.loop import encode
from .stream.sources import FolderSource
from .stream.stores import RESPONSES, ResponseStore
from .subject import Subject

MODEL_ID = "fmri-nsd_fsaverage-huze"
_SHOWN = 10  # images that the summary lists


def encode_folder(
    images: str | Path,
    berg_dir: str | Path,
    subject: int,
    output: str | Path,
    *,
    roi: str | Sequence[str] | None = None,
    hemisphere: str = "both",
    min_ncsnr: float | None = None,
    min_explained_variance: float | None = None,
    fit: str = "error",
    precision: str = "float32",
    batch_size: int = 8,
    show_progress: bool = True,
) -> str:
    """Predict the vertices' responses to every image of a folder.

    Parameters
    ----------
    images
        Folder of image files: see :class:`~berg_jax.stream.sources.FolderSource`.
    berg_dir, subject
        As for :func:`berg_jax.load`.
    output
        The zarr store to write: see :mod:`berg_jax.stream.stores`.
    roi, hemisphere, min_ncsnr, min_explained_variance
        Which vertices, by default all: see :func:`berg_jax.rois.resolve`.
    fit
        What to do with images that are not square.
    precision
        As for :func:`berg_jax.load`.
    batch_size
        Images a step.
    show_progress
        Show a progress bar where there is a terminal.

    Returns
    -------
    A few lines that say what came out.

    Raises
    ------
    BERGError
        Something is wrong with the images, the subject or the output. All but a damaged image or a disk that
        fills up later is found before work starts.
    """
    if batch_size < 1:
        raise InvalidParameterError(f"batch_size must be at least 1, got {batch_size}.")
    source = FolderSource(images, fit)
    if Path(output).exists():
        raise ResourceError(f"{output} exists. Choose another output, or remove it first.")
    person = Subject(berg_dir, subject)
    if (roi, hemisphere, min_ncsnr, min_explained_variance) == (None, "both", None, None):
        vertices = Vertices.all(person.hemisphere_size)  # for which no metadata are needed
    else:
        vertices = person.vertices(roi, hemisphere, min_ncsnr, min_explained_variance)
    model = person.model(vertices, precision=precision)
    attributes = {
        **_attributes(person, vertices, precision, fit),
        "selection": {
            "roi": roi,
            "hemisphere": hemisphere,
            "min_ncsnr": min_ncsnr,
            "min_explained_variance": min_explained_variance,
        },
    }
    store = ResponseStore(output, source.ids, vertices, attributes, batch_size, _membership(person, vertices))
    start = time.perf_counter()
    encode(model, source, store, batch_size, show_progress=show_progress)
    seconds = time.perf_counter() - start
    return _summary(Path(output), person, seconds)


def _membership(person: Subject, vertices: Vertices) -> dict[str, np.ndarray]:
    """Of each ROI, which of the vertices belong to it; nothing without metadata."""
    try:
        rois = person.metadata.rois
    except ModelNotFoundError:
        return {}
    empty = np.array([], np.int64)
    return {
        name: np.concatenate([np.isin(vertices.lh, lh), np.isin(vertices.rh, rh)])
        for name in person.rois
        for lh, rh in [[rois[h].get(name, empty) for h in HEMISPHERES]]
    }


def _attributes(person: Subject, vertices: Vertices, precision: str, fit: str) -> dict[str, Any]:
    return {
        "model": MODEL_ID,
        "subject": person.description.subject,
        "identity": person.identity(vertices, precision),
        "synthetic": person.description.synthetic,
        "weights": person.description.origin,
        "precision": precision,
        "fit": fit,
        "versions": {name: importlib.metadata.version(name) for name in ("berg_jax", "jax", "flax")},
    }


def _summary(path: Path, person: Subject, seconds: float) -> str:
    with xarray.open_zarr(path) as data:
        responses = data[RESPONSES]
        images, vertices = responses.shape
        origin = " of SYNTHETIC weights, which predict nothing" if person.description.synthetic else ""
        lines = [
            f"Responses{origin} (z units), subject {person.description.subject}:",
            f"  {'image':<32}{'mean':>8}{'std':>8}  strongest vertex",
        ]
        for index in range(min(images, _SHOWN)):
            row = responses[index].load()
            best = row[int(row.values.argmax())]
            name = str(row.image.values)
            lines.append(
                f"  {name if len(name) < 32 else '…' + name[-30:]:<32}{float(row.mean()):8.3f}{float(row.std()):8.3f}"
                f"  {best.hemisphere.values} {int(best.vertex)}: {float(best):.3f}"
            )
        if images > _SHOWN:
            lines.append(f"  … and {images - _SHOWN} more images")
    lines.append(f"{images} images × {vertices} vertices in {seconds:.1f} s (compilation included): {path}")
    return "\n".join(lines)
