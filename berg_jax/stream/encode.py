"""Encoding: the responses of a subject's vertices to images on disk, kept in a response store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import numpy as np
import xarray

from ..errors import ModelNotFoundError
from ..published.card import MODEL_ID
from ..subject import Subject
from ..vertices import Vertices
from .execution import Execution, variant_for
from .images import Images
from .loop import stream
from .owed import unfinished
from .selection import Selection
from .sources.account import account_text
from .sources.image_files import OnError
from .store.layout import RESPONSES, Columns
from .store.output import is_complete
from .store.places import Place, find_place
from .store.recovery import recovery_of, require_output, source_in_order
from .store.remote_zarr import zarr_store
from .store.status import account_of

Dtype = Literal["float32", "float16"]
_SHOWN = 10  # images that the summary lists


def encode_images(
    subject: Subject,
    images: Images | str | Path,
    output: str | Place,
    *,
    selection: Selection = Selection(),
    precision: str = "float32",
    dtype: Dtype = "float32",
    on_error: OnError = "error",
    retry_skipped: bool = False,
    append: bool = False,
    execution: Execution = Execution(),
) -> str:
    """Predict a subject's responses to images on disk, and keep them in a zarr store.

    An encoding that was interrupted goes on where it was when called again with the same arguments.

    Parameters
    ----------
    subject
        The subject.
    images
        The images, or the path of all of them.
    output
        The zarr store to write, a folder or ``s3://bucket/prefix`` and the like: see
        :mod:`berg_jax.stream.store.layout` and :mod:`~berg_jax.stream.store.places`.
    selection
        The vertices, by default all.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    dtype
        Type of the stored responses: ``"float32"``, or ``"float16"``, which takes half the room.
    on_error
        Treatment of an image that cannot be read, ``"error"`` or ``"skip"``: see :func:`~berg_jax.stream.stream`.
    retry_skipped
        Whether images that the output lacks because they could not be read are encoded now. ``images`` may be all of
        them or the mended ones alone, and have the names that they had.
    append
        Whether images that the output lacks are added behind its own. ``images`` may be the new ones alone, or also
        hold those before, which must not have changed. The rows of these stay the same bits.
    execution
        Batch size, devices, time limit, and this process among those that share the output.

    Returns
    -------
    str
        A table of the first images' responses, in a few lines, and where all are.

    Raises
    ------
    BERGError
        Something is wrong with the images, the subject or the output. All but damaged images or a disk that
        fills up later is found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came, and what was finished is recorded.
    Unfinished
        This process has done its share, and others still owe theirs; the message says which.

    See Also
    --------
    berg_jax.open_responses : Read the responses by ROI, hemisphere and image name.
    berg_jax.stream.stream : The loop itself, for any source, model and reducers.
    """
    execution.local_devices()  # refused, if there are not so many, before anything is read
    output = find_place(output)
    images = Images.of(images)
    images.require_there()
    vertices = selection.of(subject)
    local = output if isinstance(output, Path) else None
    recover = recovery_of(retry_skipped, append)
    if recover:
        require_output(output, recover)
    # After all that is checked faster than a million images.
    source = images.open(subject, output=local, on_error=on_error)
    pending = False
    if recover:
        source, pending = source_in_order(output, source, recover)
    run = {
        "model": MODEL_ID,
        "subject": subject.description.subject,
        "selection": selection.as_json(),
        "precision": precision,
        "fit": images.fit,
    }
    attributes = {
        **run,
        "weights": subject.description.origin,
        "synthetic": subject.description.synthetic,
        "identity": subject.identity(vertices, precision),
        "dtype": dtype,
    }
    columns = Columns(vertices, _membership(subject, vertices), dtype)
    # A complete output needs no model; an incomplete one is not begun before the model is loaded.
    before = is_complete(output) and not pending
    model = None
    if not before:
        variant = variant_for(output, precision)
        model = subject.model(vertices, precision=precision, variant=variant).crop()
    start = time.perf_counter()
    stream(
        model,
        source,
        [columns],
        output=output,
        identity=attributes["identity"],
        execution=execution,
        on_error=on_error,
        run=run,
        attributes=attributes,
        recover=recover,
    )
    if not is_complete(output):
        raise unfinished(output, [output], execution.process)
    seconds = None if before else time.perf_counter() - start
    return _summary(output, subject, seconds)


def _membership(subject: Subject, vertices: Vertices) -> dict[str, np.ndarray]:
    """Return for each ROI a mask of the vertices that belong to it; nothing without metadata."""
    try:
        rois = {name: subject.metadata.roi(name) for name in subject.rois}
    except ModelNotFoundError:
        return {}
    return {
        name: np.concatenate([np.isin(vertices.lh, lh), np.isin(vertices.rh, rh)]) for name, (lh, rh) in rois.items()
    }


def _summary(path: Place, subject: Subject, seconds: float | None) -> str:
    """Return the table of the first images' responses; ``seconds`` is None if nothing had to be computed."""
    with xarray.open_zarr(zarr_store(path)) as data:
        responses = data[RESPONSES]
        images, vertices = responses.shape
        origin = " of SYNTHETIC weights, which predict nothing" if subject.description.synthetic else ""
        lines = [
            f"Responses{origin} (z units), subject {subject.description.subject}:",
            f"  {'image':<32}{'mean':>8}{'std':>8}  strongest vertex",
        ]
        for index in range(min(images, _SHOWN)):
            row = responses[index].load().astype(np.float32)
            name = str(row.image.values)
            shown = f"  {name if len(name) < 32 else '…' + name[-30:]:<32}"
            if np.isnan(row.values).all():
                lines.append(f"{shown} skipped")
                continue
            best = row[int(row.values.argmax())]
            lines.append(
                f"{shown}{float(row.mean()):8.3f}{float(row.std()):8.3f}"
                f"  {best.hemisphere.values} {int(best.vertex)}: {float(best):.3f}"
            )
        if images > _SHOWN:
            lines.append(f"  … and {images - _SHOWN} more images")
    if account := account_of(path):
        lines.append(account_text(account, "encoded"))
    took = "complete already, nothing was computed" if seconds is None else f"{seconds:.1f} s, compilation included"
    lines.append(f"{images} images × {vertices} vertices ({took}): {path}")
    return "\n".join(lines)


encode = encode_images  # its name in berg_jax
