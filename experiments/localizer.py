"""``berg-jax localize``: which vertices and regions prefer which category of images.

As a functional localizer's analysis: a general linear model of each vertex' responses to the images of some
categories, each category's t against the rest, false discovery rate over vertices, regions' means and paired tests
over subjects. On the demo subject, with its drawings (5 × 40), half a minute on 2 cores; all 17 of its areas with a
preference are found to have the planted one.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .. import surface
from ..demo import images as drawings
from ..demo.stimuli import CATEGORIES
from ..encoding import choose_images
from ..errors import InvalidParameterError
from ..files import explained
from ..rois import Vertices
from ..stream.arrays import ArraySource
from ..stream.loop import stream
from ..stream.opening import open_source
from ..stream.reducers import GLM, RoiMeans, roi_weights
from ..stream.sources import Source
from ..subject import Subject
from .contrasts import Design, design_of, over_subjects, preferences, significance
from .pictures import draw_table
from .results import can_draw, note, outlined, provenance, write_results

DEMO_EACH, DEMO_SEED = 40, 21  # drawings of a category; not those that the demo subjects were fitted to
OUTLINED = ("V1", "FFA-1", "FFA-2", "OFA", "EBA", "PPA", "OPA", "RSC", "VWFA-1")


def localize(
    berg_dir: str | Path,
    subjects: Sequence[int],
    output: str | Path,
    images: str | Path | None = None,
    *,
    choose: str | None = None,
    table: str | Path | None = None,
    contrasts: Sequence[str] = (),
    alpha: float = 0.05,
    measured: Mapping[str, str | Path] | None = None,
    roi: str | Sequence[str] | None = None,
    hemisphere: str = "both",
    min_ncsnr: float | None = None,
    min_explained_variance: float | None = None,
    fit_images: str = "error",
    precision: str = "float32",
    batch_size: int = 8,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Find which vertices and ROIs of one or more subjects prefer which category; write maps, tables and pictures.

    Called again after an interruption, it goes on.

    Parameters
    ----------
    berg_dir, subjects
        As for :func:`berg_jax.load`; one or more subjects.
    output
        The folder to write. Of each subject ``subjNN/``, with for each contrast maps ``t_*``, ``q_*`` (two-sided p
        adjusted for the false discovery rate over vertices), ``d_*`` (selectivity: the effect in residual standard
        deviations), and ``preference`` (number of the category with the largest mean, NaN where categories do not
        differ); ``rois.csv`` with each ROI's mean response to each category, in z units; and pictures.
        ``contrasts.csv`` has each ROI's effects over subjects.
    images
        A folder that holds a folder for each category, or any other source with a table: see
        :func:`~berg_jax.stream.opening.open_source`. For the demo subjects by default drawings.
    choose
        Of an array which images.
    table, contrasts
        See :func:`~berg_jax.experiments.contrasts.design_of`.
    alpha
        False discovery rate.
    measured
        Measured t maps to compare with, on the model's surface, by contrast: ``{"faces": "floc-facestval.mgz"}``.
    roi, hemisphere, min_ncsnr, min_explained_variance
        Which vertices, by default all: see :func:`berg_jax.rois.resolve`.
    fit_images, precision, batch_size, time_limit, show_progress
        As for :func:`~berg_jax.experiments.retinotopy.map_retinotopy`.

    Returns
    -------
    A few lines that say what came out.

    Raises
    ------
    BERGError
        Something is wrong with the images, the design, the subjects or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.
    """
    output, subjects = Path(output), list(subjects)
    if not 0 < alpha < 1:
        raise InvalidParameterError(f"alpha must be between 0 and 1, got {alpha!r}.")
    if not subjects or len(set(subjects)) < len(subjects):
        raise InvalidParameterError(f"Give one or more subjects, each once, got {subjects}.")
    people = [Subject(berg_dir, subject) for subject in subjects]
    chosen = [person.vertices(roi, hemisphere, min_ncsnr, min_explained_variance) for person in people]
    maps = {name: surface.read(path, people[0].hemisphere_size) for name, path in (measured or {}).items()}
    source, design = _stimuli(people[0], output, images, choose, table, contrasts, fit_images)
    if unknown := set(maps) - set(design.names):
        raise InvalidParameterError(f"measured names {sorted(unknown)}; the contrasts are {design.names}.")
    tables, lines = [], []
    for person, vertices in zip(people, chosen, strict=True):
        folder = output / f"subj{person.description.subject:02d}"
        regions = regions_of(person, vertices)
        found = stream(
            person.model(vertices, precision=precision).crop(),
            source,
            [
                GLM(design.matrix, design.weights, len(vertices), names=design.names),
                *([RoiMeans(roi_weights(vertices, regions), len(source))] if regions else []),
            ],
            output=folder / "stream",
            identity=person.identity(vertices, precision),
            batch_size=batch_size,
            time_limit=time_limit,
            show_progress=show_progress,
        )
        if not found:
            return f"This process has done its share of {output}; others have not yet."
        results = vertex_maps(design, found["glm"], alpha)
        responses = found["roi_means"]["means"] if regions else np.zeros((len(source), 0))
        means = np.stack([responses[design.labels == k].mean(0) for k in range(len(design.categories))])
        tables.append(dict(zip(regions, means.T, strict=True)))
        rows = _compared(design, results, maps, vertices)
        settings = {"categories": design.categories, "contrasts": design.names, "alpha": alpha}
        facts = provenance(person, vertices, precision, experiment="localizer", images=len(source), **settings)
        shares = _shares(results["preference"], vertices, regions, len(design.categories))
        write_results(folder, vertices, results, {"measured": rows, "preferring": shares, **facts})
        _write_rois(folder / "rois.csv", design.categories, tables[-1])
        _draw(person, vertices, design, results, tables[-1], alpha, folder)
        lines += [_summary(person, design, results, tables[-1], shares, rows, alpha)]
    _write_group(output / "contrasts.csv", design, tables)
    return "\n".join([*lines, f"Maps, tables and pictures: {output}"])


def vertex_maps(
    design: Design, glm: Mapping[str, np.ndarray], alpha: float
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Maps of each vertex, from a GLM's results, by name: see :func:`localize`."""
    _, q = significance(glm["t"], int(glm["degrees_of_freedom"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        d = glm["effects"] / np.sqrt(glm["residual_variance"])
    maps = {}
    for index, name in enumerate(design.names):
        plain = name.replace(" ", "").replace(">", "-vs-").replace("/", "-")
        maps |= {f"t_{plain}": glm["t"][index], f"q_{plain}": q[index], f"d_{plain}": d[index]}
    counts = np.bincount(design.labels)
    return {**maps, "preference": preferences(glm["betas"], glm["residual_variance"], counts, alpha)}


def regions_of(person: Subject, vertices: Vertices) -> dict[str, Vertices]:
    """The subject's ROIs, as far as they are among these vertices; none that is empty then."""
    regions = {}
    for name in person.rois:
        kept = [
            np.intersect1d(person.metadata.rois[h].get(name, np.array([], np.int64)), getattr(vertices, h))
            for h in ("lh", "rh")
        ]
        if any(map(len, kept)):
            regions[name] = Vertices(*kept, vertices.hemisphere_size)
    return regions


def _stimuli(
    person: Subject,
    output: Path,
    images: str | Path | None,
    choose: str | None,
    table: str | Path | None,
    contrasts: Sequence[str],
    fit_images: str,
) -> tuple[Source, Design]:
    if images is not None:
        source = open_source(images, fit_images)
        source = source if choose is None else choose_images(source, choose, person)
        return source, design_of(source.ids, table, contrasts)
    if person.metadata.raw.get("synthetic") != "berg_jax demo":
        raise InvalidParameterError("Give images: a folder that holds a folder for each category.")
    labels = [f"{category}/{index}" for category in CATEGORIES for index in range(DEMO_EACH)]
    design = design_of(labels, None, contrasts)
    path = output / "images.npy"
    with explained("write", path):
        output.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate([drawings(category, DEMO_EACH, DEMO_SEED) for category in CATEGORIES]))
    return ArraySource(path), design


def _shares(
    preferred: Float[np.ndarray, " v"], vertices: Vertices, regions: Mapping[str, Vertices], categories: int
) -> dict[str, list[float]]:
    """Of each ROI, the share of its vertices that prefer each category."""
    shares = {}
    for name, region in regions.items():
        inside = preferred[np.isin(vertices.global_indices, region.global_indices)]
        shares[name] = [float((inside == category).mean()) for category in range(categories)]
    return shares


def _compared(
    design: Design, results: Mapping[str, np.ndarray], measured: Mapping[str, np.ndarray], vertices: Vertices
) -> list[dict[str, Any]]:
    """Pearson's correlation of t with measured t over vertices that have both."""
    rows = []
    keys = [key for key in results if key.startswith("t_")]
    for name, values in measured.items():
        ours, theirs = results[keys[design.names.index(name)]], values[vertices.global_indices]
        there = np.isfinite(ours) & np.isfinite(theirs)
        r = np.corrcoef(ours[there], theirs[there])[0, 1] if there.sum() > 2 else np.nan
        rows.append({"contrast": name, "vertices": int(there.sum()), "r": float(r)})
    return rows


def _write_rois(path: Path, categories: Sequence[str], means: Mapping[str, Float[np.ndarray, " c"]]) -> None:
    with explained("write", path), path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("roi", *categories))
        rows.writerows([name, *(f"{value:.6g}" for value in values)] for name, values in means.items())


def _write_group(path: Path, design: Design, tables: Sequence[Mapping[str, Float[np.ndarray, " c"]]]) -> None:
    """Each ROI's effect of each contrast over subjects, with paired tests."""
    names = list(dict.fromkeys(name for means in tables for name in means))
    missing = np.full(len(design.categories), np.nan)
    effects = np.array([[design.weights @ means.get(name, missing) for name in names] for means in tables])
    tests = over_subjects(effects.reshape(len(tables), -1))
    with explained("write", path), path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("roi", "contrast", *tests))
        labels = [(name, contrast) for name in names for contrast in design.names]
        for index, label in enumerate(labels):
            values = (values[index] for values in tests.values())
            rows.writerow((*label, *("" if np.isnan(value) else f"{value:.6g}" for value in values)))


def _draw(
    person: Subject,
    vertices: Vertices,
    design: Design,
    results: Mapping[str, np.ndarray],
    means: Mapping[str, Float[np.ndarray, " c"]],
    alpha: float,
    folder: Path,
) -> None:
    options: dict[str, Any] = {"outlines": outlined(person, OUTLINED), "note": note(person)}
    keys = [key for key in results if key.startswith("t_")]
    for name, key in zip(design.names, keys, strict=True):
        shown = np.where(results[key.replace("t_", "q_", 1)] < alpha, results[key], np.nan)
        if can_draw(vertices) and np.isfinite(shown).any():
            surface.plot(
                np.where(np.isfinite(shown), shown, np.nan),
                vertices,
                label=f"t, where q < {alpha:g}",
                title=name if ">" in name else f"{name} > other categories",
                output=folder / f"{key}.png",
                **options,
            )
    if can_draw(vertices) and not np.isnan(results["preference"]).all():
        surface.plot(
            results["preference"],
            vertices,
            labels=design.categories,
            label="preferred category",
            title="Preferences",
            output=folder / "preference.png",
            **options,
        )
    if means:
        draw_table(
            np.array(list(means.values())),
            list(means),
            design.categories,
            "mean response (z)",
            folder / "rois.png",
            note=note(person),
        )


def _summary(
    person: Subject,
    design: Design,
    results: Mapping[str, np.ndarray],
    means: Mapping[str, Float[np.ndarray, " c"]],
    shares: Mapping[str, list[float]],
    measured: Sequence[Mapping[str, Any]],
    alpha: float,
) -> str:
    origin = " (SYNTHETIC weights)" if person.description.synthetic else ""
    lines = [f"Subject {person.description.subject}{origin}, {len(design.labels)} images"]
    keys = [key for key in results if key.startswith("t_")]
    for name, key in zip(design.names, keys, strict=True):
        selective = (results[key.replace("t_", "q_", 1)] < alpha) & (results[key] > 0)
        lines.append(f"  {name:<28}{int(selective.sum()):>8} vertices with t > 0 and q < {alpha:g}")
    if means:
        lines.append(f"  {'ROI':<14}{'prefers':<14}{'mean (z)':>9}{'other (z)':>10}{'of its vertices':>17}")
    for name, values in means.items():
        best = int(values.argmax())
        others = np.delete(values, best).mean()
        lines.append(
            f"  {name:<14}{design.categories[best]:<14}{values[best]:>9.2f}{others:>10.2f}{shares[name][best]:>17.0%}"
        )
    lines += [f"  measured {row['contrast']}: r = {row['r']:.3f}, {row['vertices']} vertices" for row in measured]
    return "\n".join(lines)
