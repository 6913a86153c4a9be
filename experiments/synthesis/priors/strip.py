"""``berg-jax vary``: a photograph's variations from suppressed to driven, what other regions do, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from ....convert.dinov2 import load_dinov2
from ....files.disk import explained
from ....stream.images import Fit
from ....stream.selection import Selection
from ....subject import Subject
from ....surface.meshes import require
from ....surface.style import default_style
from ...inputs.stimuli import refusing
from ...reporting.command import PATH, command_of
from ...reporting.earlier import require_same_run
from ...reporting.figures import about, legend_below, new_figure, save_figure
from ...reporting.page import Gallery, Picture, Section, Table, write_report
from ...reporting.results import OUTLINED, note, origin, outlined, provenance, write_numbers
from .. import objectives
from ..areas import union
from ..judging.sheets import draw_sheet
from ..parametrizations.inputs import input_contents
from ..parametrizations.photographs import read_one
from .drawings import drawings_diffusion
from .features import class_token
from .variation import vary

_PROVENANCE = ("subject", "weights", "identity", "inputs", "versions", "devices", "date")
SCALES = (-1.0, -0.25, 0.0, 0.25, 1.0)


def make_variations(
    subject: Subject,
    output: str | Path,
    path: str | Path,
    *,
    roi: str,
    scale: Sequence[float] = SCALES,
    strength: float = 0.5,
    steps: int = 50,
    seed: int = 0,
    dinov2: str | Path | None = None,
    fit_images: Fit = "error",
    selection: Selection = Selection(),
    precision: str = "float32",
) -> str:
    """Make variations of a photograph that suppress and drive a region, into a folder.

    It holds the variations as ``.png``, their responses and distances as ``results.json``, and of all this
    ``report.html`` with ``config.json``. The prior is the small diffusion model of the demo's drawings; from Python,
    :func:`~berg_jax.experiments.synthesis.priors.variation.vary` takes any other.

    Parameters
    ----------
    subject
        The subject.
    output
        The folder.
    path
        The photograph.
    roi
        ROI expression whose mean response is lowered and raised.
    scale
        Guidance scales, ascending.
    strength, steps, seed
        See :func:`~berg_jax.experiments.synthesis.priors.variation.vary`.
    dinov2
        Stock DINOv2 in whose features distances are given, too: see :func:`berg_jax.convert.dinov2.load_dinov2`. By
        default the model's own network is, a DINOv2 that was adapted to the subject.
    fit_images
        What to do with images that are not square: see :class:`~berg_jax.Images`.
    selection
        Hemisphere and thresholds of the vertices; its ``roi`` is not used.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.

    Returns
    -------
    str
        The result, in a few lines.

    Raises
    ------
    BERGError
        Something of this makes no sense, is not there, or cannot be written.
    """
    output = Path(output)
    command = command_of(
        *("vary", make_variations, [subject], output, selection),
        path=path,
        roi=roi,
        scale=list(scale),
        strength=strength,
        steps=steps,
        seed=seed,
        dinov2=dinov2,
        fit_images=fit_images,
        precision=precision,
    )
    require("matplotlib")  # for the strip
    photograph = read_one(path, fit_images)
    vertices, area = union(subject, {name: name for name in (roi, *outlined(subject, OUTLINED))}, selection)
    # ROIs that share no vertex with the one that is driven.
    area = {name: own for name, own in area.items() if name == roi or not (own * area[roi]).any()}
    inputs = input_contents({PATH: path})
    require_same_run(output, command, inputs, subject.identity(vertices, precision))
    model = subject.model(vertices, precision=precision)
    options = {"scales": scale, "strength": strength, "steps": steps, "seed": seed}
    features = class_token(model if dinov2 is None else load_dinov2(dinov2))
    with refusing(output):
        found = vary(
            drawings_diffusion(), model, objectives.mean(area[roi]), photograph, features=features, **options
        )
        rounded = found.images.round().astype(np.uint8)
        responses = np.concatenate([np.asarray(model(image[None])) for image in rounded])
        means = {name: responses @ weights for name, weights in area.items()}
        files = [output / f"scale_{one:+g}.png" for one in found.scales]
        given = {"photograph": photograph, "as the model gives it back": found.reconstruction.clip(0, 255)}
        given = {name: image.round().astype(np.uint8) for name, image in given.items()}
        given_files = [output / "photograph.png", output / "reconstruction.png"]
        with explained("write", output):
            output.mkdir(parents=True, exist_ok=True)
            for file, image in zip([*given_files, *files], [*given.values(), *rounded], strict=True):
                Image.fromarray(image.transpose(1, 2, 0)).save(file)
    facts = {
        **provenance(subject, vertices, precision, experiment="vary", roi=roi, **options),
        "inputs": inputs,
        "scales": found.scales,
        "responses": means,
        "pixel distance": found.pixel_distance,
        "feature distance": found.feature_distance,
        "features": "the model's own DINOv2, class token" if dinov2 is None else f"{dinov2}, class token",
    }
    write_numbers(output, facts)
    tiles = [(file, [name]) for file, name in zip(given_files, given, strict=True)]
    tiles += [
        (file, [f"scale {one:+g}", f"{roi} {value:.2f} z", f"{pixel:.1f} grey levels", f"DINOv2 {feature:.2f}"])
        for file, one, value, pixel, feature in zip(
            files, found.scales, means[roi], found.pixel_distance, found.feature_distance, strict=True
        )
    ]
    about_it = about([subject.description.subject], roi, images=len(files), vertices=int((area[roi] > 0).sum()))
    small_print = note(subject)
    sheet = draw_sheet(
        np.stack([*given.values(), *rounded]),
        [lines for _, lines in tiles],
        [small_print] * bool(small_print),
        f"Variations · {about_it}",
    )
    distances = (found.pixel_distance, found.feature_distance)
    rows = zip(*(map(float, column) for column in (found.scales, means[roi], *distances)), strict=True)
    columns = ("scale", f"{roi} (z)", "pixel distance (grey levels)", "DINOv2 distance")
    save_figure(sheet, output / "strip.png", columns, rows)
    table = Table(
        "Mean responses to the images in the files (z), and distances from the photograph as the diffusion model "
        "gives it back: root mean square in grey levels, and between DINOv2's class tokens of unit length (0 to 2)",
        ("scale", *means, "pixel distance", "DINOv2 distance"),
        [
            (
                float(one),
                *(float(means[name][index]) for name in means),
                *(float(distance[index]) for distance in distances),
            )
            for index, one in enumerate(found.scales)
        ],
    )
    draw_course(found.scales, means, roi, output / "responses.png", subtitle=about_it, note=small_print)
    lead = (
        f"Variations of a photograph for {roi} of subject {subject.description.subject}{origin(subject)}: "
        f"{means[roi][0]:.2f} z to {means[roi][-1]:.2f} z, each {found.pixel_distance.mean():.1f} grey levels (root "
        "mean square) from the photograph as the diffusion model gives it back."
    )
    write_report(
        output,
        "Variations",
        [
            Section(
                "Strip", [Gallery(tiles, "From suppressed to driven, at the same distance.", {"roi": roi}), table]
            ),
            Section("Responses", [Picture(output / "responses.png", f"{roi} and other ROIs along the strip.")]),
        ],
        lead=lead,
        command=command.line,
        settings=command.settings,
        provenance={key: facts[key] for key in _PROVENANCE},
        synthetic=subject.description.synthetic,
    )
    return "\n".join([lead, f"Images, numbers and report: {output}"])


@default_style()
def draw_course(
    scales: Float[np.ndarray, " scales"],
    means: Mapping[str, Float[np.ndarray, " scales"]],
    roi: str,
    path: Path,
    *,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw the response of a ROI along the strip, and those of others in thin lines.

    Parameters
    ----------
    scales
        Guidance scale of each variation.
    means
        Mean response of each ROI to each variation, z units.
    roi
        The ROI that was driven.
    path
        The .png file; the .csv file beside it has the responses.
    subtitle, note
        Texts above and below the figure.
    """
    from matplotlib import colormaps

    figure = new_figure(2.3, "Responses along a strip of variations", subtitle, note)
    axes = figure.subplots()
    axes.plot(scales, means[roi], "o-", color="black", markersize=3, linewidth=1.5, label=roi)
    others = {name: values for name, values in means.items() if name != roi}
    for (name, values), color in zip(others.items(), colormaps["tab10"].colors * len(others), strict=False):
        axes.plot(scales, values, color=color, linewidth=0.8, label=name)
    axes.set_xlabel("guidance scale")
    axes.set_ylabel("mean response (z)")
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(axes, 4)
    cells = ((float(scale), *(float(means[name][index]) for name in means)) for index, scale in enumerate(scales))
    save_figure(figure, path, ("scale", *means), cells)
