"""``berg-jax localize``: which vertices and regions prefer which category of images.

As a functional localizer's analysis: a general linear model of each vertex's responses to the images of some
categories, each category's t against the rest, false discovery rate over vertices, regions' means and paired tests
over subjects. On the demo subject, with its drawings (5 × 40), half a minute on 2 cores; all 17 of its areas with a
preference are found to have the planted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ... import surface
from ...demo.stimuli import CATEGORIES
from ...errors import InvalidParameterError
from ...files.csv_tables import write_table
from ...stream.execution import Execution, variant_for, with_batch_size
from ...stream.images import Images
from ...stream.loop import stream
from ...stream.owed import unfinished
from ...stream.reducers import GLM, RoiMeans, roi_weights
from ...stream.selection import Selection
from ...stream.sources.image_files import Source
from ...subject import Subject
from ...vertices import Vertices
from ..accuracy.measured import readers_of
from ..inputs.responses import run_facts
from ..inputs.stimuli import drawn, listed, refusing, require_demo
from ..reporting.command import command_of
from ..reporting.figures import where
from ..reporting.outcome import ExperimentResult
from ..reporting.page import Section, write_report
from ..reporting.patches import correlation_interval, patches_of
from ..reporting.results import counted, folder_of, origin, provenance, regions_of, require_reporting, write_results
from ..reporting.statistics import NO_INTERVAL, fdr
from .bars import bars_part
from .beside import beside_section, category_means
from .contrasts import Design, design_of, largest_p, over_subjects, preferences, significance
from .effects import effects_of, effects_part
from .measured import measured_localizer
from .report import (
    count_selective,
    draw,
    draw_over_subjects,
    key_numbers,
    over_subjects_table,
    t_limits,
    t_map_names,
    too_few,
)
from .rois import RoiPreference, roi_preferences
from .samples import samples_part
from .shares import share_of_vertices, shares_part

DEMO_EACH, DEMO_SEED = 40, 21  # drawings of a category; not those that the demo subjects were fitted to


def localize(
    subjects: Subject | Sequence[Subject],
    output: str | Path,
    images: Images | str | Path | None = None,
    *,
    selection: Selection = Selection(),
    table: str | Path | None = None,
    contrasts: Sequence[str] = (),
    alpha: float = 0.05,
    measured: Mapping[str, str | Path] | None = None,
    betas: str | Path | None = None,
    trials: str | Path | None = None,
    zscored: bool = False,
    precision: str = "float32",
    execution: Execution = Execution(),
) -> ExperimentResult:
    """Find which vertices and ROIs of one or more subjects prefer which category; write maps, tables and pictures.

    Called again after an interruption, it goes on.

    Parameters
    ----------
    subjects
        One or more subjects.
    output
        Folder of the results. For each subject ``subjNN/`` holds for each contrast maps ``t_*``, ``q_*`` (two-sided p
        adjusted for the false discovery rate over vertices), ``d_*`` (selectivity: the effect in residual standard
        deviations), ``preference`` (number of the category with the largest mean, NaN where categories do not
        differ) and ``preference_q`` (q of the largest against the second mean); ``rois.csv`` with each ROI's mean
        response to each category, in z units; ``shares.csv`` with the share of its vertices that prefer each; and
        pictures. ``results.json`` has each ROI's preference and its tests:
        see :class:`~berg_jax.experiments.localizer.rois.RoiPreference`. ``contrasts.csv`` has each ROI's effects
        over subjects.
    images
        Folder that holds a folder for each category, or any other images with a table (drawings by default, for
        the demo subjects only).
    selection
        The vertices, by default all.
    table, contrasts
        The design: see :func:`~berg_jax.experiments.localizer.design_of`.
    alpha
        False discovery rate over vertices, between 0 and 1.
    measured
        Measured t maps to compare with, on the model's surface, by contrast: ``{"faces": "floc-facestval.mgz"}``.
    betas, trials, zscored
        Measured responses to the same images, and for an array the table of its trials: see
        :func:`~berg_jax.experiments.accuracy.trial_reader`, whose ``table`` the trials are. The same model is then
        fitted to the mean over each image's trials, and both are shown side by side; maps ``measured_…`` and
        ``beside.csv`` have the numbers.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work; the last one to end
        writes the results.

    Returns
    -------
    ExperimentResult
        Vertices found for each contrast and what each ROI prefers, in a few lines.

    Raises
    ------
    BERGError
        Something is wrong with the images, the design, the subjects or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.
    """
    subjects = listed(subjects)
    output = Path(output)
    images = None if images is None else Images.of(images)
    command = command_of(
        *("localize", localize, subjects, output, images, selection, execution),
        table=table,
        contrast=contrasts,
        alpha=alpha,
        measured=measured,
        betas=betas,
        trials=trials,
        zscored=zscored,
        precision=precision,
    )
    require_reporting()
    if not 0 < alpha < 1:
        raise InvalidParameterError(f"alpha must be between 0 and 1, got {alpha!r}.")
    chosen = [selection.of(subject) for subject in subjects]
    maps = {name: surface.read(path, subjects[0].hemisphere_size) for name, path in (measured or {}).items()}
    with refusing(output):
        source, design = _stimuli(subjects[0], output, images, table, contrasts)
        if unknown := set(maps) - set(design.names):
            raise InvalidParameterError(f"measured names {sorted(unknown)}; the contrasts are {design.names}.")
        if betas is None and (trials is not None or zscored):
            raise InvalidParameterError("trials and zscored are of measured responses: give betas, too.")
        readers = [] if betas is None else readers_of(subjects, chosen, source, betas, table=trials, zscored=zscored)
    regions = [regions_of(subject, vertices, selection) for subject, vertices in zip(subjects, chosen, strict=True)]
    planned = {"categories": design.categories, "contrasts": design.names, "selection": selection.as_json()}
    streams = [folder_of(output, subject) / "stream" for subject in subjects]
    execution = with_batch_size(execution, *streams, precision=precision)
    command = command.computed_with(execution)
    found = []
    for subject, vertices, inside, folder in zip(subjects, chosen, regions, streams, strict=True):
        found.append(
            stream(
                subject.model(vertices, precision=precision, variant=variant_for(folder, precision)).crop(),
                source,
                [
                    GLM(design.matrix, design.weights, len(vertices), names=design.names),
                    *([RoiMeans(roi_weights(vertices, inside), len(source))] if inside else []),
                ],
                output=folder,
                identity=subject.identity(vertices, precision),
                execution=execution,
                attributes=run_facts(subject, vertices, precision, **planned),
            )
        )
    if not all(found):
        raise unfinished(output, streams, execution.process)
    tables, lines, sections, facts, effects = [], [], [], {}, []
    mapped = [vertex_maps(design, reduced["glm"], alpha) for reduced in found]
    limits = t_limits(mapped, alpha)
    sections.append(Section("Stimuli", [samples_part(design, source, output)]))
    if len(subjects) > 1:
        together = draw_over_subjects(subjects, chosen, design, mapped, alpha, where(selection), limits, output)
        sections += [Section("Maps of all subjects", together)] if together else []
    for index, (subject, vertices, inside, reduced) in enumerate(zip(subjects, chosen, regions, found, strict=True)):
        results = mapped[index]
        folder = folder_of(output, subject)
        responses = reduced["roi_means"]["means"] if inside else np.zeros((len(source), 0))
        means = np.stack([responses[design.labels == k].mean(0) for k in range(len(design.categories))])
        tables.append(dict(zip(inside, means.T, strict=True)))
        measured_t = {name: values[vertices.global_indices] for name, values in maps.items()}
        category_rows = []
        if readers:
            own = measured_localizer(design, readers[index], vertices, inside)
            results |= {f"measured_{key}": values for key, values in vertex_maps(design, own.glm, alpha).items()}
            measured_t = dict(zip(design.names, own.glm["t"], strict=True)) | measured_t
            for kind, values in (("in silico", responses), ("measured", own.responses)):
                category_rows += category_means(design, values, list(inside), kind)
        rows = _compared(design, results, measured_t, vertices)
        effects += effects_of(subject.description.subject, design, responses, list(inside))
        made = {"categories": design.categories, "contrasts": design.names, "alpha": alpha}
        facts[folder.name] = provenance(
            subject, vertices, precision, experiment="localizer", images=len(source), **made
        )
        shares = share_of_vertices(results["preference"], vertices, inside, len(design.categories))
        preferred = roi_preferences(design, responses, list(inside), alpha)
        numbers = {"measured": rows, "preferring": shares, "preferences": [one.as_json() for one in preferred]}
        write_results(folder, vertices, results, {**numbers, **facts[folder.name]})
        write_table(
            folder / "rois.csv", ("roi", *design.categories), ((name, *row) for name, row in tables[-1].items())
        )
        pictures = draw(subject, vertices, design, results, tables[-1], alpha, where(selection), limits, folder)
        sizes = {name: len(region) for name, region in inside.items()}
        pictures += bars_part(subject, design, responses, list(inside), source.ids, folder, roi=where(selection))
        parts = [*pictures, *key_numbers(design, results, preferred, shares, rows, alpha)]
        parts += shares_part(subject, shares, sizes, design.categories, len(source), folder)
        sections.append(Section(f"Subject {subject.description.subject}", parts, folded=len(subjects) > 1))
        of_contrast = {
            name: folder / f"{key}.png" for name, key in zip(design.names, t_map_names(results), strict=True)
        }
        drawn = {name: one for name, path in of_contrast.items() for one in pictures if one.path == path}
        sections += beside_section(
            *(subject, vertices, design, drawn, measured_t, category_rows, folder), roi=where(selection)
        )
        lines += [_summary(subject, design, results, preferred, shares, sizes, rows, alpha)]
    group = _group(design, tables)
    columns = group[0] if group else ("roi", "contrast")
    write_table(output / "contrasts.csv", columns, (row.values() for row in group))
    if effects:
        sections.append(Section("Effects in ROIs", effects_part(subjects, effects, group, output)))
    if len(subjects) > 1:
        few = too_few(group)
        sections.append(Section("Over subjects", [*([few] if few else []), over_subjects_table(group)]))
        lines += [f"Over subjects: {few}" if few else f"Effects over n = {len(subjects)} subjects: contrasts.csv"]
    write_report(
        output,
        "Category localizer",
        sections,
        lead=f"Which vertices and regions prefer which category of images: {len(source):,} images of "
        f"{len(design.categories)} categories ({', '.join(design.categories)}), {counted(subjects)}.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=any(subject.description.synthetic for subject in subjects),
    )
    return ExperimentResult("\n".join([*lines, f"Maps, tables, pictures and report.html: {output}"]), output)


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
    preferred = preferences(glm["betas"], glm["residual_variance"], counts, alpha)
    second = fdr(largest_p(glm["betas"], glm["residual_variance"], counts))
    return {**maps, "preference": preferred, "preference_q": second}


def _stimuli(
    subject: Subject,
    output: Path,
    images: Images | None,
    table: str | Path | None,
    contrasts: Sequence[str],
) -> tuple[Source, Design]:
    if images is not None:
        source = images.open(subject, output=output)
        return source, design_of(source.ids, table, contrasts)
    require_demo(subject, "Give images: a folder that holds a folder for each category.")
    if table is not None:
        raise InvalidParameterError(f"The table {table} is of images that are given: give them, too.")
    design = design_of(
        [f"{category}/{index}" for category in CATEGORIES for index in range(DEMO_EACH)], None, contrasts
    )
    return drawn(output, dict.fromkeys(CATEGORIES, DEMO_EACH), DEMO_SEED), design


def _compared(
    design: Design,
    results: Mapping[str, np.ndarray],
    measured: Mapping[str, Float[np.ndarray, " vertices"]],
    vertices: Vertices,
) -> list[dict[str, Any]]:
    """Pearson's correlation of t with measured t over vertices that have both."""
    rows, patches = [], patches_of(vertices)
    keys = t_map_names(results)
    for name, theirs in measured.items():
        ours = results[keys[design.names.index(name)]]
        there = np.isfinite(ours) & np.isfinite(theirs)
        r = np.corrcoef(ours[there], theirs[there])[0, 1] if there.sum() > 2 else np.nan
        interval = correlation_interval(ours[there], theirs[there], patches[there]) if there.any() else NO_INTERVAL
        rows.append({"contrast": name, "vertices": int(there.sum()), "r": float(r), "interval": interval})
    return rows


def _group(design: Design, tables: Sequence[Mapping[str, Float[np.ndarray, " c"]]]) -> list[dict[str, Any]]:
    """Each ROI's effect of each contrast over subjects, with paired tests; NaN of too few subjects."""
    names = list(dict.fromkeys(name for means in tables for name in means))
    missing = np.full(len(design.categories), np.nan)
    effects = np.array([[design.weights @ means.get(name, missing) for name in names] for means in tables])
    tests = over_subjects(effects.reshape(len(tables), -1))
    labels = [(name, contrast) for name in names for contrast in design.names]
    return [
        {"roi": name, "contrast": contrast, **{key: values[index] for key, values in tests.items()}}
        for index, (name, contrast) in enumerate(labels)
    ]


def _summary(
    subject: Subject,
    design: Design,
    results: Mapping[str, np.ndarray],
    preferred: Sequence[RoiPreference],
    shares: Mapping[str, list[float]],
    sizes: Mapping[str, int],
    measured: Sequence[Mapping[str, Any]],
    alpha: float,
) -> str:
    lines = [f"Subject {subject.description.subject}{origin(subject)}, {len(design.labels)} images"]
    for name, key in zip(design.names, t_map_names(results), strict=True):
        lines.append(f"  {name:<28}{count_selective(results, key, alpha):>8} vertices with t > 0 and q < {alpha:g}")
    if preferred:
        titles = f"{'mean (z)':>9}{'other (z)':>10}{'95% of mean − other':>21}{'vertices for it':>17}"
        width = 2 + max(len(text) for text in ("prefers", *(one.said for one in preferred)))
        lines.append(f"  {'ROI':<14}{'prefers':<{width}}{titles}")
    for one in preferred:
        share = shares[one.roi][design.categories.index(one.largest)]
        numbers = (
            f"{one.mean:>9.2f}{one.others:>10.2f}{one.difference!s:>21}{f'{share:.0%} of {sizes[one.roi]:,}':>17}"
        )
        lines.append(f"  {one.roi:<14}{one.said:<{width}}{numbers}")
    lines += [
        f"  measured {row['contrast']}: r = {row['r']:.3f} (95% {row['interval']}), {row['vertices']} vertices"
        for row in measured
    ]
    return "\n".join(lines)
