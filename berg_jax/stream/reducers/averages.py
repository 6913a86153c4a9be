"""Group averages only: means or moments of a subject's responses to images on disk, without the responses."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int

from ...errors import InvalidParameterError
from ...files.csv_tables import read_table
from ...files.names import NameIndex
from ...published.card import MODEL_ID
from ...subject import Subject
from ...vertices import Vertices
from ..execution import Execution, variant_for
from ..images import Images
from ..loop import stream
from ..owed import unfinished
from ..selection import Selection
from ..sources.account import account_text
from ..sources.image_files import OnError
from ..store.output import is_complete
from ..store.places import Place, find_place, write
from ..store.status import account_of
from . import GroupMeans, Moments, Reducer

Reduction = Literal["mean", "moments", "group-means"]
MEANS = "means.npz"
_ALL, _SHOWN = "all", 20  # name of the group of all images; groups that the summary lists


@dataclass(frozen=True)
class Groups:
    """Groups of images, as a table assigns them.

    Attributes
    ----------
    names
        Names of the groups, in alphabetical order.
    labels
        Index into ``names`` of each image's group.
    """

    names: list[str]
    labels: Int[np.ndarray, " images"]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of each group, by its name."""
        return dict(zip(self.names, np.bincount(self.labels, minlength=len(self.names)).tolist(), strict=True))


def read_groups(path: str | Path, ids: Sequence[str]) -> Groups:
    """Return the groups of images that a table assigns.

    Parameters
    ----------
    path
        A ``.csv`` file with a header and the columns ``image`` and ``group``: one row for each image.
    ids
        Names of the images, each of which must have one row.

    Raises
    ------
    ModelNotFoundError
        There is no such table.
    InvalidParameterError
        The table has no row for an image, a row for none of the images, two rows for one, or a row without a group.

    See Also
    --------
    reduce_images : Means of groups of images.
    """
    rows = read_table(path, ("image", "group"))
    index = NameIndex(list(ids))
    group_of: dict[int, str] = {}
    extra = []
    for number, row in enumerate(rows, 2):
        image, group = row["image"], row["group"].strip()
        if not group:
            raise InvalidParameterError(f"{path}, line {number}: image {image!r} has no group. Name one.")
        position = index.find(image)
        if position is None:
            extra.append(image)
        elif position in group_of:
            raise InvalidParameterError(f"{path}, line {number}: image {image!r} is there twice. Keep one row of it.")
        else:
            group_of[position] = group
    advice = f"The images have names such as {ids[0]!r}; the table must have one row for each of them, and no other"
    if extra:
        raise InvalidParameterError(
            f"{path} names {len(extra):,} images that are not there, such as {extra[0]!r}. {advice}."
        )
    if missing := [name for position, name in enumerate(ids) if position not in group_of]:
        raise InvalidParameterError(
            f"{path} has no row for {len(missing):,} of {len(ids):,} images, such as {missing[0]!r}. {advice}."
        )
    names = sorted(set(group_of.values()))
    number_of = {name: number for number, name in enumerate(names)}
    return Groups(names, np.array([number_of[group_of[position]] for position in range(len(ids))]))


def reduce_images(
    subject: Subject,
    images: Images | str | Path,
    output: str | Place,
    *,
    reduce: Reduction = "mean",
    groups: str | Path | None = None,
    selection: Selection = Selection(),
    precision: str = "float32",
    on_error: OnError = "error",
    execution: Execution = Execution(),
) -> str:
    """Predict a subject's responses to images on disk, and keep only their means, moments or means of groups.

    A run that was interrupted goes on where it was when called again with the same arguments.

    Parameters
    ----------
    subject
        The subject.
    images
        The images, or the path of all of them.
    output
        The folder to write, or its URL in an object store. ``means.npz`` in it holds ``means`` (groups, vertices) in
        z units, ``counts`` (groups,), the number of images in each mean, ``groups``, their names, and the vertices
        ``lh``, ``rh`` and ``hemisphere_size``; for moments also ``variances`` (of n − 1) and ``stds``.
    reduce
        ``"mean"`` and ``"moments"`` of all images, or ``"group-means"``.
    groups
        A table of the images' groups, which ``"group-means"`` needs: see :func:`read_groups`.
    selection
        The vertices, by default all.
    precision, on_error, execution
        See :func:`~berg_jax.stream.encode_images`. Skipped images are in no mean and no count.

    Returns
    -------
    str
        The number of images and the mean response of each group, in a few lines, and where all are.

    Raises
    ------
    BERGError
        Something is wrong with the images, the table, the subject or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came, and what was finished is recorded.
    Unfinished
        This process has done its share, and others still owe theirs; the message says which.

    See Also
    --------
    berg_jax.stream.encode_images : Keep every response.
    berg_jax.stream.stream : Any reducers, of any source and model.
    """
    _check(reduce, groups)
    execution.local_devices()  # refused, if there are not so many, before anything is read
    output, images = find_place(output), Images.of(images)
    images.require_there()
    vertices = selection.of(subject)
    source = images.open(subject, output=output if isinstance(output, Path) else None, on_error=on_error)
    ids = list(source.ids)
    grouped = Groups([_ALL], np.zeros(len(ids), np.int64)) if groups is None else read_groups(groups, ids)
    reducer: Reducer = (
        Moments(len(vertices)) if reduce == "moments" else GroupMeans(grouped.labels, len(vertices), name="means")
    )
    run = {
        "model": MODEL_ID,
        "subject": subject.description.subject,
        "selection": selection.as_json(),
        "precision": precision,
        "fit": images.fit,
        "reduce": reduce,
    }
    attributes = {
        **run,
        "weights": subject.description.origin,
        "synthetic": subject.description.synthetic,
        "identity": subject.identity(vertices, precision),
        "groups": grouped.sizes,
    }
    model = None  # which a complete output needs not
    if not is_complete(output):
        model = subject.model(vertices, precision=precision, variant=variant_for(output, precision)).crop()
    results = stream(
        model,
        source,
        [reducer],
        output=output,
        identity=attributes["identity"],
        execution=execution,
        on_error=on_error,
        run=run,
        attributes=attributes,
    )
    if not results:
        raise unfinished(output, [output], execution.process)
    arrays = _arrays(results[reducer.name], grouped, vertices)
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    write(output / MEANS, memory.getvalue())
    return _summary(output, subject, arrays, vertices)


def _check(reduce: str, groups: str | Path | None) -> None:
    if reduce not in get_args(Reduction):
        raise InvalidParameterError(f"reduce must be one of {list(get_args(Reduction))}, got {reduce!r}.")
    if reduce == "group-means" and groups is None:
        raise InvalidParameterError("group-means needs a table of groups: give groups=… (--groups table.csv).")
    if reduce != "group-means" and groups is not None:
        raise InvalidParameterError(
            f"A table of groups is for group-means, not for {reduce!r}. Leave one of them out."
        )


def _arrays(results: dict[str, np.ndarray], groups: Groups, vertices: Vertices) -> dict[str, Any]:
    """Return the arrays of ``means.npz``."""
    if "means" in results:
        found = {"means": results["means"], "counts": results["counts"]}
    else:
        found = {"means": results["mean"][None], "counts": np.array([int(results["count"])])}
        found |= {f"{name}s": results[name][None] for name in ("variance", "std")}
    size = np.array(vertices.hemisphere_size)
    return {**found, "groups": np.array(groups.names), "lh": vertices.lh, "rh": vertices.rh, "hemisphere_size": size}


def _summary(path: Place, subject: Subject, arrays: dict[str, Any], vertices: Vertices) -> str:
    means, counts, names = (arrays[name] for name in ("means", "counts", "groups"))
    origin = " of SYNTHETIC weights, which predict nothing" if subject.description.synthetic else ""
    lines = [
        f"Mean responses{origin} (z units), subject {subject.description.subject}:",
        f"  {'group':<24}{'images':>8}{'mean':>8}  strongest vertex",
    ]
    for name, count, row in list(zip(names, counts, means, strict=True))[:_SHOWN]:
        if not count:
            lines.append(f"  {name:<24}{0:>8} no image of it could be read")
            continue
        best = int(np.nanargmax(row))
        where = f"{vertices.hemispheres[best]} {vertices.indices[best]}: {row[best]:.3f}"
        lines.append(f"  {name:<24}{int(count):>8,}{row.mean():>8.3f}  {where}")
    if len(names) > _SHOWN:
        lines.append(f"  … and {len(names) - _SHOWN} more groups")
    if account := account_of(path):
        lines.append(account_text(account, "encoded"))
    groups = f"{len(names)} groups" if len(names) > 1 else "all images"
    lines.append(f"Means of {groups}, {int(counts.sum()):,} images × {len(vertices):,} vertices: {path / MEANS}")
    return "\n".join(lines)
