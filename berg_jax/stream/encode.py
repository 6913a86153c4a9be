"""Encode images on disk with a subject's model into a response store, and say what came out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import xarray

from ..errors import InvalidParameterError, ModelNotFoundError
from ..published.card import MODEL_ID
from ..published.metadata import SPLITS
from ..subject import Subject
from ..vertices import Vertices
from .devices import Process
from .loop import stream
from .sources.arrays import ArraySource, Subset, parse_numbers
from .sources.image_files import Source
from .sources.open import open_source, require_there
from .store.output import RESPONSES, Columns, is_complete
from .store.places import Place, find_place
from .store.remote_zarr import zarr_store

_SHOWN = 10  # images that the summary lists


def encode_images(
    path: str | Path,
    berg_dir: str | Path,
    subject: int,
    output: str | Place,
    *,
    images: str | None = None,
    layout: str | None = None,
    roi: str | Sequence[str] | None = None,
    hemisphere: str = "both",
    min_ncsnr: float | None = None,
    min_explained_variance: float | None = None,
    fit: str = "error",
    precision: str = "float32",
    dtype: str = "float32",
    batch_size: int = 8,
    devices: int | None = None,
    process: Process | None = None,
    on_error: str = "error",
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Predict the vertices' responses to images on disk.

    An encoding that was interrupted goes on where it was when called again with the same arguments.

    Parameters
    ----------
    path
        A folder of image files, an array such as NSD's ``nsd_stimuli.hdf5``, tar files, a list: see
        :func:`~berg_jax.stream.sources.open.open_source`.
    berg_dir, subject
        As for :func:`berg_jax.load`.
    output
        The zarr store to write, a folder or ``s3://bucket/prefix`` and the like: see
        :mod:`berg_jax.stream.store.output` and :mod:`~berg_jax.stream.store.places`.
    images
        Of an array which images, by default all: ``"train"``, ``"val"`` or ``"test"`` (the NSD image numbers of the
        subject's metadata, so for NSD's file), or numbers: see :func:`~berg_jax.stream.sources.arrays.parse_numbers`.
    layout
        ``"NCHW"`` or ``"NHWC"``, where an array's shape does not tell.
    roi, hemisphere, min_ncsnr, min_explained_variance
        Which vertices, by default all: see :func:`berg_jax.rois.resolve`.
    fit
        What to do with images that are not square: ``"error"``, ``"crop"``, ``"pad"`` or ``"stretch"``.
    precision
        As for :func:`berg_jax.load`.
    dtype
        Of the stored responses: ``"float32"`` or ``"float16"``.
    batch_size
        Images that a device computes at a time.
    devices
        On how many local devices, by default all.
    process, on_error, time_limit, show_progress
        As for :func:`berg_jax.stream.loop.stream`.

    Returns
    -------
    A few lines that say what came out.

    Raises
    ------
    BERGError
        Something is wrong with the images, the subject or the output. All but damaged images or a disk that
        fills up later is found before work starts.
    Interrupted
        Ctrl-C or SIGTERM came, and what was finished is recorded.
    """
    if batch_size < 1:
        raise InvalidParameterError(f"batch_size must be at least 1, got {batch_size}.")
    there = jax.local_devices()
    if devices is not None and not 1 <= devices <= len(there):
        raise InvalidParameterError(f"devices must be from 1 to {len(there)}, which are here, got {devices}.")
    output = find_place(output)
    require_there(path)
    person = Subject(berg_dir, subject)
    if (roi, hemisphere, min_ncsnr, min_explained_variance) == (None, "both", None, None):
        vertices = Vertices.all(person.hemisphere_size)  # for which no metadata are needed
    else:
        vertices = person.vertices(roi, hemisphere, min_ncsnr, min_explained_variance)
    source = open_source(path, fit, layout)  # after all that is checked faster than a million images
    if images is not None:
        source = choose_images(source, images, person)
    run = {
        "model": MODEL_ID,
        "subject": person.description.subject,
        "selection": {
            "roi": roi,
            "hemisphere": hemisphere,
            "min_ncsnr": min_ncsnr,
            "min_explained_variance": min_explained_variance,
        },
        "precision": precision,
        "fit": fit,
    }
    attributes = {
        **run,
        "weights": person.description.origin,
        "synthetic": person.description.synthetic,
        "identity": person.identity(vertices, precision),
        "dtype": dtype,
    }
    columns = Columns(vertices, _membership(person, vertices), dtype)
    # A complete output needs no model; an incomplete one is not begun before the model is loaded.
    model = None if is_complete(output) else person.model(vertices, precision=precision).crop()
    start = time.perf_counter()
    stream(
        model,
        source,
        [columns],
        output=output,
        identity=attributes["identity"],
        batch_size=batch_size,
        run=run,
        attributes=attributes,
        devices=there[:devices],
        process=process,
        on_error=on_error,
        time_limit=time_limit,
        show_progress=show_progress,
    )
    if not is_complete(output):
        return f"This process has done its share of {output}; others have not yet."
    return _summary(output, person, time.perf_counter() - start)


def choose_images(source: Source, images: str, person: Subject) -> Source:
    """Some images of an array: a split of the subject's metadata, or numbers, as for :func:`encode_images`.

    Raises
    ------
    InvalidParameterError
        The source is no array, or has no such images.
    """
    if not isinstance(source, ArraySource):
        raise InvalidParameterError(
            f"images={images!r} counts the rows of an array, and these are image files. Leave it out, or name some "
            "of them in a list, a .txt file."
        )
    numbers = person.metadata.image_numbers(images) if images in SPLITS else parse_numbers(images)
    return Subset(source, numbers)


def _membership(person: Subject, vertices: Vertices) -> dict[str, np.ndarray]:
    """Of each ROI, which of the vertices belong to it; nothing without metadata."""
    try:
        rois = {name: person.metadata.roi(name) for name in person.rois}
    except ModelNotFoundError:
        return {}
    return {
        name: np.concatenate([np.isin(vertices.lh, lh), np.isin(vertices.rh, rh)]) for name, (lh, rh) in rois.items()
    }


def _summary(path: Place, person: Subject, seconds: float) -> str:
    with xarray.open_zarr(zarr_store(path)) as data:
        responses = data[RESPONSES]
        images, vertices = responses.shape
        origin = " of SYNTHETIC weights, which predict nothing" if person.description.synthetic else ""
        lines = [
            f"Responses{origin} (z units), subject {person.description.subject}:",
            f"  {'image':<32}{'mean':>8}{'std':>8}  strongest vertex",
        ]
        for index in range(min(images, _SHOWN)):
            row = responses[index].load().astype(np.float32)
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
