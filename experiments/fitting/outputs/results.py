"""Results of a fit: the test, maps and numbers on disk, the report, and the new subject's metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ....files.csv_tables import write_table
from ....files.disk import explained
from ....vertices import HEMISPHERES
from ...accuracy.uncertainty import too_few
from ...reporting.command import Command
from ...reporting.results import origin, provenance, write_results
from ...reporting.statistics import CONFIDENCE, NO_INTERVAL, mean_interval
from ..inputs.person import Person
from .evaluation import ALPHA, Evaluation, Predictions, evaluate
from .report import write_page
from .subject_folder import fitted_metadata

_HEADLINE = ("r", "explained_variance")


def write_outcome(
    person: Person,
    stage: str,
    found: Predictions,
    sizes: Sequence[int],
    output: Path,
    command: Command,
    precision: str,
    zscored: bool,
) -> tuple[dict[str, Any], str]:
    """Test a fit, write maps, numbers, tables and the report, and return the subject's metadata and a summary.

    Parameters
    ----------
    person
        The person's data.
    stage
        The stage that was fitted.
    found
        Predictions of the test images, controls and maps.
    sizes
        Numbers of training images of the learning curve.
    output
        Folder of the results.
    command
        The command that repeats the fit.
    precision, zscored
        Precision of the network, and whether the betas were taken as they are.

    Returns
    -------
    Metadata for :func:`~berg_jax.experiments.fitting.outputs.subject_folder.write_fitted`, and a few lines.
    """
    measured, split = person.measured, person.split
    others = {name: predicted for name, predicted in found.test.items() if name not in ("fit", stage)}
    tested = evaluate(
        *(found.test["fit"], measured.responses[split.test], measured.counts[split.test], measured.ncsnr),
        person.regions,
        others,
    )
    maps = {**tested.maps, "ncsnr": measured.ncsnr, **found.maps}
    numbers = {
        "stage": stage,
        "images": split.counts,
        "trials": measured.trials,
        "sessions": measured.sessions,
        "medians": tested.medians,
        "intervals": _plain(tested),
        "shuffled": _shuffled(found.control),
        "learning_curve": _curve(found.curve, sizes),
        "training": {part: _record(curves) for part, curves in found.training.items()},
        "left_out": {name: len(vertices) for name, vertices in person.left_out.items()},
        "rois": "given" if person.own_rois else f"those of the donor, subject {person.donor.description.subject}",
        "zscored": "as given" if zscored else "by the training trials of each session",
    }
    settings = {name: value for name, value in command.settings.items() if name != "precision"}
    facts = provenance(person.donor, person.vertices, precision, experiment="fit", **settings)
    facts |= {"subject": person.subject_id, "donor": person.donor.description.subject}
    write_results(output, person.vertices, maps, {**facts, **numbers})
    _write_rois(output / "rois.csv", tested)
    _write_left_out(output / "left_out.csv", person)
    write_page(person, tested, maps, numbers, output, command, facts)
    kept = {name: numbers[name] for name in ("stage", "images", "trials", "sessions", "zscored", "shuffled")}
    metadata = fitted_metadata(
        *(person.donor, person.vertices, maps, split, person.numbers),
        person.rois if person.own_rois else None,
        kept,
    )
    return metadata, _summary(person, tested, numbers, output)


def _plain(tested: Evaluation) -> dict[str, Any]:
    rows = {name: {key: list(ends) for key, ends in row.items()} for name, row in tested.intervals.items()}
    return {"confidence": CONFIDENCE, "over": "images", **rows}


def _shuffled(control: Sequence[Float[np.ndarray, "permutations v"]]) -> dict[str, float]:
    """Return the mean test r of fits to shuffled images over vertices, its interval over permutations, and counts."""
    together = np.concatenate(control, axis=1)
    means = np.nanmean(together, axis=1)
    low, high = mean_interval(means)
    counts = {"permutations": len(together), "vertices": together.shape[1]}
    return {"r": float(means.mean()), "low": low, "high": high, **counts}


def _record(curves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a part's training without the values of single vertices."""
    return {name: value for name, value in curves.items() if name != "vertex_r"} | {"epochs": len(curves["loss"])}


def _curve(curve: Sequence[Float[np.ndarray, "sizes v"]], sizes: Sequence[int]) -> list[dict[str, float]]:
    if not curve:
        return []
    together = np.concatenate(curve, axis=1)
    return [
        {
            "images": size,
            "r": float(np.nanmedian(r)),
            "quarter": float(np.nanquantile(r, 0.25)),
            "three quarters": float(np.nanquantile(r, 0.75)),
            "vertices": len(r),
        }
        for size, r in zip(sizes, together, strict=True)
    ]


def _write_rois(path: Path, tested: Evaluation) -> None:
    columns = list(tested.medians["all vertices"])
    rows = []
    for name, row in tested.medians.items():
        ends = [end for key in _HEADLINE for end in tested.intervals[name].get(key, NO_INTERVAL)]
        rows.append((name, *(row[key] for key in columns), *ends))
    ends = [f"{key}_{end}" for key in _HEADLINE for end in ("low", "high")]
    write_table(path, ("roi", *columns, *ends), rows)


def _write_left_out(path: Path, person: Person) -> None:
    """Write the vertices that were left out; no file where there are none."""
    rows = [
        (hemisphere, int(index), reason)
        for reason, vertices in person.left_out.items()
        for hemisphere in HEMISPHERES
        for index in getattr(vertices, hemisphere)
    ]
    if rows:
        write_table(path, ("hemisphere", "vertex", "reason"), rows)
        return
    with explained("write", path):
        path.unlink(missing_ok=True)


def _summary(person: Person, tested: Evaluation, numbers: Mapping[str, Any], output: Path) -> str:
    counts, left_out = numbers["images"], sum(numbers["left_out"].values())
    lines = [
        f"Subject {person.subject_id}, fitted with donor {person.donor.description.subject}{origin(person.donor)}: "
        f"stage {numbers['stage']}, {counts['train']} training, {counts['validation']} validation and "
        f"{counts['test']} test images, {sum(numbers['trials'].values())} trials; medians on the test images"
    ]
    if left_out:
        lines.append(f"Left out, as their betas are constant or NaN: {left_out} vertices, in left_out.csv")
    others = [name for name in tested.maps if name.startswith("r_")]
    titles = {"r": "r", "noise_ceiling": "ceiling's r", "explained_variance": "expl. var. %"}
    titles |= {name: f"{name[2:]}'s r" if name == "r_donor" else f"r {name[2:]}" for name in others}
    titles["predictable"] = "predictable"
    lines.append(f"  {'':<14}{'vertices':>9}" + "".join(f"{title:>14}" for title in titles.values()))
    for name, row in tested.medians.items():
        cells = [math.sqrt(row[key]) if key == "noise_ceiling" else row[key] for key in titles]
        lines.append(f"  {name:<14}{row['vertices']:>9}" + "".join(f"{cell:>14.3f}" for cell in cells))
    first, shuffled = tested.intervals["all vertices"], numbers["shuffled"]
    ends = (
        f"95% intervals over test images, all vertices: r {first.get('r', NO_INTERVAL)}, explained variance "
        f"{first.get('explained_variance', NO_INTERVAL)} %"
    )
    if few := too_few(counts["test"]):
        ends = f"{counts['test']} test images: {few}"
    lines += [
        f"  {ends}; predictable: share with q < {ALPHA}",
        f"  shuffled images: mean r {shuffled['r']:.3f} ({shuffled['permutations']} permutations, "
        f"{shuffled['vertices']} vertices)",
        *(f"  {row['images']:>6} training images: r {row['r']:.3f}" for row in numbers["learning_curve"]),
        f"Every command takes --berg-dir {output} --subject {person.subject_id}. Report: {output / 'report.html'}",
    ]
    return "\n".join(lines)
