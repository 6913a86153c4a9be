"""``berg-jax retinotopy``: where in the visual field each vertex responds to, found by probing the model.

Each probe is a window on grey, filled with every one of some natural images; a vertex's receptive field is where the
best probe is, on average over images. With ``fit`` a Gaussian receptive field is fitted to the mean responses to all
probes, which also gives its size. The model's own receptive-field centers, which its tables hold, are given beside
what was found.

The published setting, 1,600 probes × 515 images, is 824,000 passes a subject: ``--images test`` of
``nsd_stimuli.hdf5``, all by default. On the demo subject, with its own smaller default (256 probes × 8 drawings) and
a fit, 40 seconds on 2 cores; over the early vertices angles then correlate with the planted ones by 0.995,
eccentricities by 0.997. Without a fit a center is as coarse as the grid: x and y by 0.98, angles by 0.87.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ... import surface
from ...demo import images as drawings
from ...errors import InvalidParameterError
from ...model.encoding_model import EncodingModel
from ...stream.execution import Execution, variant_for, with_batch_size
from ...stream.images import Images
from ...stream.loop import stream
from ...stream.owed import unfinished
from ...stream.reducers import ArgmaxOverProbes, GroupMeans, Moments
from ...stream.selection import Selection
from ...subject import Subject
from ...vertices import HEMISPHERES, Vertices
from ..inputs.responses import run_facts
from ..inputs.stimuli import is_demo, require_demo
from ..reporting.command import command_of
from ..reporting.figures import where
from ..reporting.outcome import ExperimentResult
from ..reporting.page import write_report
from ..reporting.patches import patches_of
from ..reporting.results import EARLY, origin, outlined, provenance, require_reporting, write_results
from . import probes as kinds
from .areas import area_numbers, areas_of
from .probes import Probes, natural_images, probe_source
from .receptive_fields import Estimate, agreement, fit, model_centers, polar
from .report import METHODS, OWN, PLANTED, WHOLE, sections

GRID, DEMO_GRID, DEMO_IMAGES = 40, 16, 8
MIN_R2, MAX_ECCENTRICITY = 20.0, 6.0  # of measured receptive fields: per cent explained, degrees
MEASURED = ("prfangle.mgz", "prfeccentricity.mgz", "prfR2.mgz")


def map_retinotopy(
    subject: Subject,
    output: str | Path,
    images: Images | str | Path | None = None,
    *,
    selection: Selection = Selection(),
    fit_sizes: bool = False,
    fit_memory: float = 8.0,
    probes: Sequence[str] = ("gaussians",),
    grid: int | None = None,
    sigma: float = 0.5,
    measured: str | Path | None = None,
    precision: str = "float32",
    execution: Execution = Execution(),
) -> ExperimentResult:
    """Map receptive fields of a subject's vertices, and write maps, numbers, pictures and a report.

    Called again after an interruption, it goes on.

    Parameters
    ----------
    subject
        The subject.
    output
        Folder of the results: see :func:`~berg_jax.experiments.reporting.write_results`. The maps are ``probe_*``
        (from the best probe), ``fit_*`` (with a fit) and ``model_*`` (the model's own), each of ``x``, ``y``,
        ``eccentricity`` (degrees of visual angle; y is up) and ``angle`` (degrees counterclockwise from the right);
        ``probe_quality``, how far the best probe's mean response is above the mean of all images, in standard
        deviations over images, whose last digits depend on how many devices and processes shared the work (see
        :class:`~berg_jax.stream.reducers.Moments`); ``fit_size`` (degrees) and ``fit_r2``.
    images
        Natural images to fill the probes with (drawings by default, for the demo subjects only).
    selection
        The vertices, by default all.
    fit_sizes
        Fit a Gaussian receptive field to each vertex's mean responses.
    fit_memory
        Memory in GB that these mean responses may take: 8 bytes · probes · vertices on each device, and as much on
        the host. More vertices than fit in are mapped in parts, one after the other, and each part takes all passes.
    probes
        Kinds of windows: ``"gaussians"``, ``"bars"``, ``"wedges"``, ``"rings"``.
    grid
        Gaussian windows along each axis (by default 40; for the demo subjects 16).
    sigma
        Standard deviation of the Gaussian windows, in degrees of visual angle.
    measured
        Folder of measured maps, ``{lh,rh}.prfangle.mgz``, ``prfeccentricity`` and ``prfR2``, on the model's surface;
        they are compared where ``prfR2`` is at least 20 per cent, with eccentricities clipped at 6°.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work; the last one to end
        writes the results.

    Returns
    -------
    ExperimentResult
        The agreement with the model's own, planted and measured centers, in a few lines.

    Raises
    ------
    BERGError
        Something is wrong with the images, the subject, the measured maps or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.

    See Also
    --------
    probe_model : The maps alone, of any model and probes.
    """
    output = Path(output)
    images = None if images is None else Images.of(images)
    command = command_of(
        *("retinotopy", map_retinotopy, [subject], output, images, selection, execution),
        fit=fit_sizes,
        fit_memory=fit_memory,
        probes=probes,
        grid=grid,
        sigma=sigma,
        measured=measured,
        precision=precision,
    )
    require_reporting("plotly")
    demo = is_demo(subject)
    vertices = selection.of(subject)
    theirs = None if measured is None else _measured(Path(measured), vertices)
    chosen = _probes(probes, grid or (DEMO_GRID if demo else GRID), sigma)
    fitting = fit_sizes or set(probes) != {"gaussians"}
    parts = _parts(vertices, len(chosen.windows), fit_memory if fitting else math.inf)
    filling, found_images = _filling(subject, images, output)
    planned = {"probes": list(probes), "sigma": sigma, "windows": len(chosen.windows), "fit": fitting}
    execution = with_batch_size(execution, *(output / folder for _, folder in parts), precision=precision)
    command = command.computed_with(execution)
    found = []
    for part, folder in parts:
        found.append(
            probe_model(
                subject.model(part, precision=precision, variant=variant_for(output / folder, precision)).crop(),
                chosen,
                filling,
                output / folder,
                subject.identity(part, precision),
                fit_sizes=fitting,
                execution=execution,
                attributes=run_facts(subject, part, precision, selection=selection.as_json(), **planned),
            )
        )
    if not all(found):
        raise unfinished(output, [output / folder for _, folder in parts], execution.process)
    maps = {name: np.concatenate([some[name] for some in found]) for name in found[0]}
    best = "fit" if "fit_x" in maps else "probe"
    centers = np.stack([maps[f"{best}_x"], maps[f"{best}_y"]], axis=1)
    others = _others(subject, vertices, maps, theirs, demo)
    rows = _comparisons(subject, vertices, centers, others)
    made = {"probes": list(probes), "sigma": sigma, "windows": len(chosen.windows), "images": len(filling)}
    facts = provenance(subject, vertices, precision, experiment="retinotopy", **made)
    areas = areas_of(subject, vertices, maps)
    write_results(output, vertices, maps, {"agreement": rows, **area_numbers(areas), **found_images, **facts})
    write_report(
        output,
        "Retinotopy",
        sections(subject, vertices, maps, rows, others, areas, best, where(selection), made, output),
        lead=f"Receptive fields of {len(vertices):,} vertices of subject {subject.description.subject}"
        f"{origin(subject)}, by {METHODS[best]}: {len(chosen.windows):,} windows on grey, each filled with "
        f"{len(filling):,} images.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=subject.description.synthetic,
    )
    return ExperimentResult(_summary(subject, rows, best, output), output)


def probe_model(
    model: EncodingModel,
    probes: Probes,
    images: UInt8[np.ndarray, "n 3 224 224"],
    output: str | Path,
    identity: str,
    *,
    fit_sizes: bool = False,
    execution: Execution = Execution(),
    attributes: Mapping[str, Any] | None = None,
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Return maps of a model's receptive fields, by name; an empty dict while other processes still work.

    Parameters
    ----------
    model
        The model, of the vertices to map.
    probes, images
        Windows on the visual field, and the images that fill them, in 0–255.
    output, identity, execution, attributes
        The run's folder, the model's identity, the run's execution, and what it is in words: see
        :func:`berg_jax.stream.stream`.
    fit_sizes
        Fit Gaussian receptive fields, too.

    See Also
    --------
    map_retinotopy : The experiment, which says what the maps are.
    """
    number, count = len(model.vertices), len(probes.windows)
    sinks: list[Any] = [ArgmaxOverProbes(count, len(images), number), Moments(number)]
    if fit_sizes:
        sinks.append(GroupMeans(np.repeat(np.arange(count), len(images)), number))
    found = stream(
        model,
        probe_source(probes, images),
        sinks,
        output=output,
        identity=identity,
        execution=execution,
        attributes=attributes,
    )
    if not found:
        return {}
    best, moments = found["argmax_over_probes"], found["moments"]
    maps = {f"model_{name}": values for name, values in polar(model_centers(model)).items()}
    if not np.isnan(probes.centers).any():
        maps |= {f"probe_{name}": values for name, values in polar(probes.centers[best["probe"]]).items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        maps["probe_quality"] = (best["value"] - moments["mean"]) / moments["std"]
    if fit_sizes:
        fitted = fit(probes, found["group_means"]["means"])
        maps |= {f"fit_{name}": values for name, values in polar(fitted.centers).items()}
        maps |= {"fit_size": fitted.size, "fit_r2": fitted.r2}
    return maps


def _parts(vertices: Vertices, probes: int, memory: float) -> list[tuple[Vertices, str]]:
    """Vertices whose mean responses to all probes take no more than so many GB; and the folder of each part."""
    most = memory * 1e9 / (8 * probes)
    if not most >= 1:
        raise InvalidParameterError(
            f"fit_memory must have room for a vertex: {8e-9 * probes:.2g} GB for {probes} probes; got {memory!r}."
        )
    if len(vertices) <= most:
        return [(vertices, "stream")]
    parts = np.array_split(vertices.global_indices, math.ceil(len(vertices) / most))
    return [(Vertices.from_global(p, vertices.hemisphere_size), f"stream-{k}") for k, p in enumerate(parts, 1)]


def _probes(names: Sequence[str], grid: int, sigma: float) -> Probes:
    unknown = set(names) - set(kinds.KINDS)
    if unknown or not names or len(set(names)) < len(names):
        raise InvalidParameterError(
            f"probes must be one or more of {list(kinds.KINDS)}, each once, got {list(names)}."
        )
    options = {"gaussians": {"grid": grid, "sigma": sigma}}
    return kinds.join([kinds.KINDS[name](**options.get(name, {})) for name in names])


def _filling(
    subject: Subject, images: Images | None, output: Path
) -> tuple[UInt8[np.ndarray, "n 3 224 224"], dict[str, Any]]:
    """Return natural images, and for the results what was found where they are."""
    if images is not None:
        source = images.open(subject, output=output)
        return natural_images(source), {"found": source.account.as_json()}
    require_demo(
        subject,
        "Probes are filled with natural images: give a folder or an array, such as NSD's nsd_stimuli.hdf5 with "
        "--images test.",
    )
    return drawings("natural", DEMO_IMAGES), {}


def _measured(folder: Path, vertices: Vertices) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured angle, eccentricity and per cent explained at the vertices."""
    size = vertices.hemisphere_size
    angle, eccentricity, r2 = (surface.read(folder / name, size)[vertices.global_indices] for name in MEASURED)
    if not (r2 >= MIN_R2).any():
        raise InvalidParameterError(
            f"No vertex of the {len(vertices)} has a prfR2 of at least {MIN_R2:g} in {folder}; the largest is "
            f"{np.nanmax(r2, initial=0):.3g}. It is in per cent."
        )
    return angle, eccentricity, r2


def _others(
    subject: Subject,
    vertices: Vertices,
    maps: dict[str, np.ndarray],
    measured: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    demo: bool,
) -> dict[str, Estimate]:
    """Return the model's own, the planted and the measured centers, as far as there are such, by name."""
    own = maps["model_angle"], maps["model_eccentricity"]
    others = {OWN: Estimate(*own, ~np.isnan(own[0]))}
    if demo:
        raw = subject.metadata.raw["planted"]
        planted = np.concatenate([raw[f"{h}_rf_center"][getattr(vertices, h)] for h in HEMISPHERES])
        coordinates = polar(planted)
        others[PLANTED] = Estimate(coordinates["angle"], coordinates["eccentricity"], ~np.isnan(planted).any(1))
    if measured is not None:
        angle, eccentricity, r2 = measured
        known = (r2 >= MIN_R2) & ~np.isnan(angle) & ~np.isnan(eccentricity)
        others["measured"] = Estimate((angle + 180) % 360 - 180, eccentricity, known, MAX_ECCENTRICITY)
    return others


def _comparisons(
    subject: Subject, vertices: Vertices, centers: Float[np.ndarray, "n 2"], others: dict[str, Estimate]
) -> list[dict[str, Any]]:
    """Return the agreement with each estimate, in all vertices and in each early area."""
    regions = {WHOLE: np.ones(len(vertices), bool)}
    for name, region in outlined(subject, EARLY).items():
        regions[name] = np.isin(vertices.global_indices, region.global_indices)
    patches = patches_of(vertices)
    found = []
    for name, other in others.items():
        for region, inside in regions.items():
            if inside.any():
                compared = (other.angle, other.eccentricity, other.known & inside, other.max_eccentricity, patches)
                found.append({"with": name, "region": region, **agreement(centers, *compared)})
    return found


def _summary(subject: Subject, rows: list[dict[str, Any]], best: str, output: Path) -> str:
    whose = f"subject {subject.description.subject}{origin(subject)}"
    lines = [f"Receptive fields of {whose} by {METHODS[best]}, compared with"]
    lines.append(f"  {'':<18}{'':<14}{'vertices':>9}{'angle':>8}{'eccentricity':>14}   (correlations)")
    lines += [
        f"  {row['with']:<18}{row['region']:<14}{row['vertices']:>9}{row['angle']:>8.3f}{row['eccentricity']:>14.3f}"
        for row in rows
    ]
    lines.append(f"Maps, numbers, pictures and report.html: {output}")
    return "\n".join(lines)
