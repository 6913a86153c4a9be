"""Report of a fit: accuracy on the test images beside the baselines, controls, penalties, and a Methods paragraph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...accuracy.uncertainty import FEWEST_FOR_INTERVAL, too_few
from ...reporting.command import Command
from ...reporting.figures import about, remove_figure, where
from ...reporting.page import Picture, Section, Table, write_report
from ...reporting.pictures import draw_brain
from ...reporting.results import OUTLINED, note, origin
from ...reporting.statistics import NO_INTERVAL
from ..inputs.person import Person
from .evaluation import ALPHA, Evaluation
from .figures import ceiling_r, draw_curve, draw_rois, draw_training

_VERTICES = "fitted vertices"  # what maps show
CHANCE = 0.02  # mean r of fits to shuffled images that is no sign of a leak
_STAGES = {
    "readout": "readout (ridge regression), with the donor's network, layer weights and receptive-field centers",
    "selectors": "readout, layer weights and receptive-field centers, with the donor's network",
    "full": "readout, layer weights, receptive-field centers and network",
}


def write_page(
    person: Person,
    tested: Evaluation,
    maps: Mapping[str, np.ndarray],
    numbers: Mapping[str, Any],
    output: Path,
    command: Command,
    facts: Mapping[str, Any],
) -> None:
    """Draw the figures of a fit and write its page.

    Parameters
    ----------
    person, tested
        The person's data, and the accuracy on the test images.
    maps, numbers
        Maps and numbers of the results.
    output
        Folder of the results.
    command, facts
        The command that repeats the fit, and its provenance.
    """
    counts = numbers["images"]
    lead = (
        f"Subject {person.subject_id}, fitted with donor {person.donor.description.subject}{origin(person.donor)} at "
        f"{len(person.vertices):,} vertices. Fitted: {_STAGES[numbers['stage']]}.\n"
        f"Median test r {tested.medians['all vertices']['r']:.3f} over vertices, {counts['test']} images that "
        f"nothing was fitted to; the donor's own prediction {tested.medians['all vertices']['r_donor']:.3f}."
    )
    sections = [
        Section("Test accuracy", [*_pictures(person, maps, numbers, output), _rois(person, tested, numbers, output)]),
        Section("Medians over vertices", [_table(tested, counts["test"])]),
        Section("Controls", _controls(person, tested, numbers)),
        *_curve(person, tested, numbers, output),
        *_training(person, maps, numbers, output),
        Section("Data", [_data(person, numbers)]),
        Section("For a Methods section", [methods(person, tested, numbers)]),
    ]
    write_report(
        output,
        "Fit",
        sections,
        lead=lead,
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=person.donor.description.synthetic,
    )


def _pictures(
    person: Person, maps: Mapping[str, np.ndarray], numbers: Mapping[str, Any], output: Path
) -> list[Picture]:
    settings = {"subject": person.subject_id, "fitted": numbers["stage"], "test images": numbers["images"]["test"]}
    options: dict[str, Any] = {"settings": settings, "regions": () if person.own_rois else OUTLINED}
    options |= {"roi": _VERTICES, "images": numbers["images"]["test"]}
    shown = [
        (
            "r",
            "Test r of the fit",
            "r over test images (no unit)",
            None,
            "Correlation over the test images with the mean response.",
        ),
        (
            *("explained_variance", "Explained variance on the test images", "% of noise ceiling", 100.0),
            "r² as a share of what noise allows, by the person's own repeats; 0 where r is negative.",
        ),
        (
            "r_donor",
            "Test r of the donor's own prediction",
            "r over test images (no unit)",
            None,
            "Baseline: the donor as it is.",
        ),
        (
            *("penalty", "Ridge penalty", "log10 of λ by the mean eigenvalue", None),
            "Penalty that leave-one-out has chosen: the larger, the noisier the vertex or the fewer the images.",
        ),
    ]
    pictures = []
    for name, title, label, limit, caption in shown:
        if name in maps:
            path = output / f"{name}.png"
            drawn = {"label": label, "title": title, "limit": limit, **options}
            pictures += draw_brain(person.donor, person.vertices, maps[name], path, caption, **drawn)
    return pictures


def _who(person: Person, numbers: Mapping[str, Any], vertices: int) -> str:
    """Return the words below a figure's title."""
    counts = {"test images": numbers["images"]["test"], "vertices": vertices}
    return about([person.subject_id], where(person.selection), **counts)


def _rois(person: Person, tested: Evaluation, numbers: Mapping[str, Any], output: Path) -> Picture:
    path = output / "rois.png"
    images = numbers["images"]["test"]
    few = f"{images} test images: {too_few(images)}" if too_few(images) else ""
    small_print = " · ".join(filter(None, (few, note(person.donor))))
    who = _who(person, numbers, len(person.vertices))
    words = {"title": "Test r of the fit in each ROI", "subtitle": who, "note": small_print}
    draw_rois(tested.medians, tested.intervals, numbers["shuffled"]["r"], path, **words)
    caption = (
        f"Median test r of each ROI ({_whose(person)}) beside the donor's own prediction, the noise ceiling (the "
        f"root of the share of variance that can be predicted) and fits to shuffled images.{f' {few}.' * bool(few)}"
    )
    return Picture(path, caption, {"fitted": numbers["stage"]})


def _table(tested: Evaluation, images: int) -> Table:
    names = [name for name in tested.maps if name.startswith("r_")]
    titles = {"r_donor": "donor's r", "r_readout": "readout's r"}
    rows = []
    for name, row in tested.medians.items():
        ends = tested.intervals[name]
        rows.append(
            [
                *(name, row["vertices"], row["r"], str(ends.get("r", NO_INTERVAL)), ceiling_r(row)),
                *(row["explained_variance"], str(ends.get("explained_variance", NO_INTERVAL))),
                *(row[other] for other in names),
                row["predictable"],
            ]
        )
    return Table(
        f"Medians over vertices on n = {images:,} test images, "
        f"{too_few(images) or 'with 95% bootstrap intervals over images'}; explained variance in per cent of the "
        f"noise ceiling; share of vertices with r > 0 at a false discovery rate of {ALPHA}",
        (
            *("ROI", "vertices", "r", "95% of r", "ceiling's r", "expl. var. %", "95% of expl. var. %"),
            *(titles.get(name, name) for name in names),
            "predictable",
        ),
        rows,
    )


def _controls(person: Person, tested: Evaluation, numbers: Mapping[str, Any]) -> list[str]:
    shuffled, medians = numbers["shuffled"], tested.medians["all vertices"]
    low, high = shuffled["low"], shuffled["high"]
    at_chance = low <= 0 or shuffled["r"] < CHANCE
    chance = "no more than chance" if at_chance else "which is MORE than chance: look for a leak"
    return [
        f"Shuffled images: readouts of {shuffled['vertices']} vertices, fitted to the responses of other images than "
        f"were shown ({shuffled['permutations']} permutations), have a mean test r of {shuffled['r']:.3f} (95% "
        f"interval over permutations {low:.3f} to {high:.3f}), {chance}.\n"
        f"The donor's own prediction of the same responses has a median r of {medians['r_donor']:.3f}.\n"
        f"{100 * medians['predictable']:.0f}% of the vertices are predictable: r > 0 by a one-sided t test over "
        f"images, q < {ALPHA} by Benjamini and Hochberg."
    ]


def _curve(person: Person, tested: Evaluation, numbers: Mapping[str, Any], output: Path) -> list[Section]:
    curve, path = numbers["learning_curve"], output / "learning_curve.png"
    if not curve:
        remove_figure(path)  # of an earlier run
        return []
    medians = tested.medians["all vertices"]
    words = {"title": "Test r of the readout by the number of training images", "note": note(person.donor)}
    subtitle = _who(person, numbers, curve[0]["vertices"])
    draw_curve(curve, ceiling_r(medians), medians["r_donor"], path, subtitle=subtitle, **words)
    caption = (
        f"Test r of readouts of {curve[0]['vertices']} evenly spaced vertices by the number of training images. A "
        "curve that still rises says that more images would help."
    )
    columns = ("images", "r", "quarter", "three quarters", "vertices")
    table = Table("Median and quartiles of test r", columns, [[row[key] for key in columns] for row in curve])
    return [Section("Learning curve", [Picture(path, caption), table])]


def _training(
    person: Person, maps: Mapping[str, np.ndarray], numbers: Mapping[str, Any], output: Path
) -> list[Section]:
    """Return the section on a stage that trains: its curves, and where layers and receptive fields have moved."""
    curves, path = numbers["training"], output / "training.png"
    if not curves:
        for name in ("training", "rf_shift", "layer_shift"):
            remove_figure(output / f"{name}.png")  # of an earlier run
        return []
    words = {"title": f"Training of the fit, stage {numbers['stage']}", "note": note(person.donor)}
    draw_training(curves, path, subtitle=about([person.subject_id], where(person.selection)), **words)
    caption = (
        "Loss and validation r of each epoch; 0 is before training. Dots: the epochs whose parameters were averaged."
    )
    pictures = [Picture(path, caption)]
    moved = (
        ("rf_shift", "halves of the image", "Distance of receptive-field centers from the donor's."),
        (
            "layer_shift",
            "share (no unit)",
            "Share of the layer weights that has moved to other layers than the donor's.",
        ),
    )
    for name, label, text in moved:
        options = {"label": label, "title": text.removesuffix("."), "roi": _VERTICES}
        options |= {"settings": {"subject": person.subject_id, "fitted": numbers["stage"]}}
        file = output / f"{name}.png"
        pictures += draw_brain(person.donor, person.vertices, maps[name], file, text, **options)
    rows = [
        [part, record["start"], record["epochs"], len(record["members"]), record["score"], record["skipped"]]
        for part, record in curves.items()
    ]
    columns = ("part", "start", "epochs", "averaged epochs", "validation r", "steps left out")
    return [Section("Training", [*pictures, Table("Training of each part of the donor", columns, rows)])]


def _data(person: Person, numbers: Mapping[str, Any]) -> Table:
    rows = [[name, numbers["images"][name], numbers["trials"][name]] for name in numbers["images"]]
    left_out = numbers["left_out"]
    file = " (left_out.csv)" if any(left_out.values()) else ""
    return Table(
        f"Images and trials of {numbers['sessions']} sessions, z-scored {numbers['zscored']}; "
        f"vertices left out{file}: {left_out['constant']} whose betas do not vary, {left_out['missing']} with NaN",
        ("split", "images", "trials"),
        rows,
    )


def _whose(person: Person) -> str:
    return (
        "the person's own" if person.own_rois else f"those of the donor, subject {person.donor.description.subject}"
    )


def methods(person: Person, tested: Evaluation, numbers: Mapping[str, Any]) -> str:
    """Return a paragraph for a Methods section, with the numbers filled in."""
    counts, trials, row = numbers["images"], numbers["trials"], tested.medians["all vertices"]
    ends = tested.intervals["all vertices"]
    interval = f"95% CI by bootstrap over images {ends.get('r', NO_INTERVAL)}"
    explained = f" (95% CI {ends.get('explained_variance', NO_INTERVAL)})"
    if counts["test"] < FEWEST_FOR_INTERVAL:
        interval, explained = f"no CI, for which {counts['test']} images are too few", ""
    ceiling = (
        f"The noise ceiling was estimated from repeated images (median ncsnr {_median(person.measured.ncsnr):.3f}); "
        f"the model explained a median of {row['explained_variance']:.1f}% of the explainable variance{explained}."
        if not math.isnan(row["explained_variance"])
        else "No image was shown twice, so that no noise ceiling is given."
    )
    return (
        f"An encoding model of subject {person.subject_id} was fitted with berg_jax from the network of "
        f"{'the synthetic' if person.donor.description.synthetic else 'the'} donor subject "
        f"{person.donor.description.subject} of fmri-nsd_fsaverage-huze. Of {sum(counts.values()):,} images, "
        f"{counts['train']:,} ({trials['train']:,} trials) were used for training, {counts['validation']:,} for "
        f"validation and {counts['test']:,} ({trials['test']:,} trials) for the test; no image was in two of them. "
        f"Single-trial betas of {numbers['sessions']} sessions were z-scored {numbers['zscored']} and averaged over "
        f"trials. Of {len(person.chosen):,} vertices, {len(person.vertices):,} were fitted. The donor's features "
        "were sampled at each vertex's receptive-field center and mixed by its layer weights, and their readout was "
        "a ridge regression with an unpenalized intercept, whose penalty was chosen for each vertex by leave-one-out "
        f"over the training images.{_trained(numbers)} On the test images the median correlation over vertices was "
        f"{row['r']:.3f} ({interval}), against "
        f"{row['r_donor']:.3f} for the donor's own prediction and {numbers['shuffled']['r']:.3f} for fits to "
        f"shuffled images. {ceiling} {100 * row['predictable']:.0f}% of the vertices were predictable (one-sided t "
        f"test, false discovery rate {ALPHA}). ROIs were {_whose(person)}."
    )


def _trained(numbers: Mapping[str, Any]) -> str:
    """Return the sentence of a Methods section on the stage that was trained."""
    if numbers["stage"] == "readout":
        return ""
    what = "layer weights, receptive-field centers and readouts were"
    if numbers["stage"] == "full":
        what = "low-rank adapters, convolutions, layer weights, receptive-field centers and readouts were"
    epochs = " and ".join(str(record["epochs"]) for record in numbers["training"].values())
    return f" From there, {what} trained by gradient for {epochs} epochs, and the best epochs were averaged."


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if not np.isnan(values).all() else math.nan
