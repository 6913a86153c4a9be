"""``berg-jax compare``: which of two encoding models predicts measured responses better, region by region.

Both are stores of responses to the same images, such as two of ``berg-jax encode``, or an array from any other model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray
from jaxtyping import Float, Int

from ...errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ...files.csv_tables import write_table
from ...files.disk import readable
from ...files.npy import read_npy
from ...stream.selection import Selection
from ...stream.store.responses import open_responses
from ...subject import Subject
from ...surface.style import default_style
from ...vertices import HEMISPHERES, Vertices
from ..reporting.command import command_of
from ..reporting.figures import save_figure
from ..reporting.outcome import ExperimentResult
from ..reporting.page import Picture, Section, Table, write_report
from ..reporting.panels import titled
from ..reporting.pictures import draw_brain
from ..reporting.results import note, origin, provenance, regions_of, require_reporting, write_results
from .measured import Dataset, trial_reader
from .paired import PairedAccuracy, PairedRegions

FEWEST_IMAGES = 3  # two have a correlation of 1 or −1, whatever they are
_AT_ONCE = 16_384  # vertices that are read at a time
_log = logging.getLogger(__name__)


class Predictions(NamedTuple):
    """A model's responses to images, read when they are used.

    Attributes
    ----------
    data
        Responses (images, vertices).
    images
        Names of the images.
    vertices
        Number of each column's vertex, the right hemisphere's after the left's.
    """

    data: xarray.DataArray | Float[np.ndarray, "images vertices"]
    images: Sequence[str]
    vertices: Int[np.ndarray, " vertices"]

    def read(self, rows: Int[np.ndarray, " n"], vertices: Int[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
        """Return the responses to some images of some vertices, by their numbers."""
        order = np.argsort(self.vertices, kind="stable")
        columns = order[np.searchsorted(self.vertices, vertices, sorter=order)]
        return np.asarray(self.data[:, columns])[rows]


def compare_stores(
    first: str | Path,
    second: str | Path,
    subject: Subject,
    output: str | Path,
    betas: str | Path,
    *,
    selection: Selection = Selection(),
    table: str | Path | None = None,
    zscored: bool = False,
    dataset: Dataset = "nsdcore",
) -> ExperimentResult:
    """Compare two encoding models of a subject with the same measured responses; write maps, a table, figures.

    Parameters
    ----------
    first, second
        Stores of responses, such as ``berg-jax encode`` writes. One of them may be a ``.npy`` array of the other's
        images and vertices, in its order. Only images and vertices that both have are compared, and a line says so.
    subject
        The subject, whose ROIs are compared.
    output
        Folder of the results: ``comparison.csv``, maps ``r_first``, ``r_second`` and ``difference``, figures.
    betas, table, zscored, dataset
        Measured responses: see :func:`~berg_jax.experiments.accuracy.trial_reader`.
    selection
        The vertices, by default all that both stores have.

    Returns
    -------
    ExperimentResult
        Both accuracies and their difference in each ROI, in a few lines.

    Raises
    ------
    BERGError
        Something is wrong with the stores, the betas, the subject or the output; found before work starts.

    See Also
    --------
    berg_jax.experiments.accuracy.compare_models : The comparison alone, of arrays.
    berg_jax.experiments.measure_accuracy : Accuracy of one model.
    """
    output = Path(output)
    command = command_of(
        *("compare", compare_stores, [subject], output, selection),
        path=[first, second],
        betas=betas,
        table=table,
        zscored=zscored,
        dataset=dataset,
    )
    require_reporting()
    models = read_models(first, second, subject)
    names = names_of(first, second)
    images = [name for name in models[0].images if name in set(models[1].images)]
    if len(images) < FEWEST_IMAGES:
        raise InvalidParameterError(
            f"The stores have {len(images)} images in common, and a correlation needs {FEWEST_IMAGES}. Encode "
            "the same images with both."
        )
    shared = np.intersect1d(models[0].vertices, models[1].vertices)
    shared = np.intersect1d(shared, selection.of(subject).global_indices)
    if not len(shared):
        raise InvalidParameterError(
            "The stores and the selection have no vertex in common. Encode the same vertices."
        )
    _tell_rest(models, names, images, shared)
    vertices = Vertices.from_global(shared, subject.hemisphere_size)
    trials_of = trial_reader(
        *(betas, subject.description.subject, vertices, images), table=table, zscored=zscored, dataset=dataset
    )
    regions = {"all vertices": np.ones(len(vertices), bool)}
    regions |= {
        name: np.isin(vertices.global_indices, region.global_indices)
        for name, region in regions_of(subject, vertices).items()
    }
    rows = [_rows(model.images, images) for model in models]
    paired = PairedRegions(len(images), regions)
    trials_count = 0
    for start in range(0, len(vertices), _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, len(vertices)))
        trials = trials_of(part)
        trials_count = len(trials.images)
        own = [model.read(some, shared[part]) for model, some in zip(models, rows, strict=True)]
        for name, values in zip(names, own, strict=True):
            if not np.isfinite(values).all():
                raise InvalidParameterError(f"{name} has responses that are missing or not finite. Finish it first.")
        paired.add(part, *own, trials)
    found = _known(paired, regions)
    maps = dict(zip(("r_first", "r_second"), paired.maps(), strict=True))
    maps["difference"] = maps["r_first"] - maps["r_second"]
    made = {"first": str(first), "second": str(second), "betas": str(betas), "images": len(images)}
    facts = provenance(subject, vertices, "float32", experiment="compare", **made)
    numbers = {name: {**row._asdict(), "over_images": list(row.over_images)} for name, row in found.items()}
    write_results(output, vertices, maps, {"models": names, "regions": numbers, "trials": trials_count, **facts})
    columns = ("roi", "r_first", "r_second", "difference", "low", "high", "vertices", "images")
    cells = ((n, r.first, r.second, r.difference, *r.over_images, r.vertices, len(images)) for n, r in found.items())
    write_table(output / "comparison.csv", columns, cells)
    said = f"subject {subject.description.subject}{origin(subject)}, n = {len(images):,} images"
    pictures = _pictures(subject, vertices, maps, found, names, said, made, output)
    write_report(
        output,
        "Two encoding models",
        [Section("Differences", [*pictures, _table(found, names, said)])],
        lead=f"How well {names[0]} and {names[1]} predict measured responses of {len(vertices):,} vertices of "
        f"{said}; {trials_count:,} trials.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=subject.description.synthetic,
    )
    return ExperimentResult(_summary(found, names, said, output), output)


def read_models(first: str | Path, second: str | Path, subject: Subject) -> tuple[Predictions, Predictions]:
    """Return both models' responses.

    Raises
    ------
    ModelNotFoundError, ValidationError
        There is no such store or file, or it cannot be read.
    InvalidParameterError
        Both are arrays, an array does not fit the store, or a store is of another subject or mesh.
    """
    paths = [first, second]
    arrays = [str(path).endswith(".npy") for path in paths]
    if all(arrays):
        raise InvalidParameterError(
            f"{first} and {second} are arrays, which do not say of which images and vertices. Give one store "
            "at least."
        )
    found = [None if is_array else _store(path, subject) for path, is_array in zip(paths, arrays, strict=True)]
    store = next(one for one in found if one is not None)
    one, other = (own or _array(path, store) for own, path in zip(found, paths, strict=True))
    return one, other


def _store(path: str | Path, subject: Subject) -> Predictions:
    responses = open_responses(path)
    number = responses.attributes.get("subject")
    if number is not None and number != subject.description.subject:
        raise InvalidParameterError(f"{path} is of subject {number}, and --subject is {subject.description.subject}.")
    if responses.attributes.get("complete") is False:
        raise InvalidParameterError(f"{path} is not finished. Go on with the command that began it first.")
    data, size = responses.data, subject.hemisphere_size
    inside = data.vertex.values
    if inside.max(initial=0) >= size:
        raise InvalidParameterError(f"{path} has vertex {inside.max()}, and the subject's hemispheres have {size}.")
    columns = inside + size * (data.hemisphere.values == HEMISPHERES[1])
    return Predictions(data, [str(name) for name in data.image.values], columns)


def _array(path: str | Path, store: Predictions) -> Predictions:
    if not Path(path).is_file():
        raise ModelNotFoundError(f"There is no file {path}.")
    with readable(path, ValidationError, "Get the file again."):
        values = read_npy(Path(path))
    if values.shape != store.data.shape or values.dtype.kind not in "fiu":
        raise InvalidParameterError(
            f"{path} must be numbers of the other's images and vertices, {store.data.shape}, got {values.dtype} of "
            f"shape {values.shape}."
        )
    return store._replace(data=values)


def names_of(first: str | Path, second: str | Path) -> list[str]:
    """Return short names of two paths: of their last parts that differ."""
    parts = [Path(path).with_suffix("").parts for path in (first, second)]
    for index in range(1, min(map(len, parts)) + 1):
        if parts[0][-index] != parts[1][-index]:
            return [one[-index] for one in parts]
    return [str(first), str(second)]


def _rows(there: Sequence[str], images: Sequence[str]) -> Int[np.ndarray, " images"]:
    positions = {name: index for index, name in enumerate(there)}
    return np.array([positions[name] for name in images])


def _tell_rest(
    models: Sequence[Predictions], names: Sequence[str], images: Sequence[str], shared: Int[np.ndarray, " vertices"]
) -> None:
    for model, name in zip(models, names, strict=True):
        rest = len(model.images) - len(images), len(model.vertices) - len(shared)
        if any(rest):
            _log.info("%s has %d images and %d vertices more, which are left out.", name, *rest)


def _known(paired: PairedRegions, regions: Mapping[str, np.ndarray]) -> dict[str, PairedAccuracy]:
    """Return the regions' accuracies, without regions of which no vertex was measured."""
    first, second = paired.maps()
    there = ~np.isnan(first) & ~np.isnan(second)
    if not there.any():
        raise InvalidParameterError("No vertex has measured responses that vary. Choose other vertices or sessions.")
    return paired.found(regions=[name for name, mask in regions.items() if (mask & there).any()])


def _pictures(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, np.ndarray],
    found: Mapping[str, PairedAccuracy],
    names: Sequence[str],
    said: str,
    made: Mapping[str, Any],
    output: Path,
) -> list[Picture]:
    path = output / "comparison.png"
    _draw(found, names, path, f"Two models, {said}", note(subject))
    caption = (
        f"Left: median over vertices of r of {names[0]} and {names[1]} with the mean over an image's trials. Right: "
        "median of the difference of r, with its 95% bootstrap interval over images."
    )
    return [
        Picture(path, caption, made),
        *draw_brain(
            subject,
            vertices,
            maps["difference"],
            output / "difference.png",
            f"r of {names[0]} less r of {names[1]}: red where the first predicts better, blue where the second does.",
            roi=None,
            settings=made,
            label="difference of r (no unit)",
            title=f"{names[0]} − {names[1]}",
        ),
    ]


def _table(found: Mapping[str, PairedAccuracy], names: Sequence[str], said: str) -> Table:
    rows = [
        (name, row.first, row.second, row.difference, str(row.over_images), row.vertices)
        for name, row in found.items()
    ]
    return Table(
        f"Median r over vertices of both models, and median of the difference with its 95% bootstrap interval over "
        f"images; {said}",
        ("ROI", *names, "difference", "95%", "vertices"),
        rows,
    )


def _summary(found: Mapping[str, PairedAccuracy], names: Sequence[str], said: str, output: Path) -> str:
    wide = max(map(len, found))
    lines = [f"{names[0]} against {names[1]}, {said}; medians over vertices, 95% intervals over images"]
    for name, row in found.items():
        low, high = row.over_images
        better = names[0] if low > 0 else names[1] if high < 0 else "not told apart"
        numbers = f"{row.first:>8.3f}{row.second:>8.3f}   difference {row.difference:.3f} ({row.over_images})"
        lines.append(f"  {name:<{wide}}{numbers}   {better}")
    return "\n".join([*lines, f"Maps, table, pictures and report.html: {output}"])


@default_style()
def _draw(
    found: Mapping[str, PairedAccuracy], names: Sequence[str], path: Path, title: str, note: str | None
) -> None:
    """Draw both models' medians, and the differences with their intervals, a row for each region."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.6 + 0.24 * len(found)), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(found.values()):
        first = place == 0
        left.plot([row.first, row.second], [place] * 2, "-", color="0.8", lw=1.5, zorder=1)
        left.plot(row.first, place, "o", color="tab:red", ms=5, label=names[0] if first else None)
        left.plot(row.second, place, "o", color="tab:blue", ms=5, label=names[1] if first else None)
        low, high = row.over_images
        color = "tab:red" if low > 0 else "tab:blue" if high < 0 else "0.5"
        right.plot([low, high], [place] * 2, "-", color=color, lw=1.6)
        right.plot(row.difference, place, "o", color=color, ms=5)
    right.axvline(0, color="0.4", lw=0.8)
    left.set_xlabel("median r over vertices")
    right.set_xlabel(f"difference of r, {names[0]} − {names[1]}")
    left.set_yticks(range(len(found)), list(found), fontsize=8)
    left.invert_yaxis()
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    titled(figure, title, named=True)
    if note:
        figure.supxlabel(note, fontsize=7.5, color="0.4")
    save_figure(figure, path)
