"""``berg-jax vary``: a photograph's variations from suppressed to driven, what other regions do, and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ....errors import InvalidParameterError
from ....files.disk import explained
from ....stream.images import Fit
from ....stream.selection import Selection
from ....subject import Subject
from ....surface.meshes import require
from ...inputs.stimuli import refusing
from ...reporting.command import PATH, command_of
from ...reporting.earlier import require_same_run
from ...reporting.figures import about, save_figure
from ...reporting.page import Gallery, Section, Table, write_report
from ...reporting.results import OUTLINED, note, origin, outlined, provenance, write_numbers
from .. import objectives
from ..areas import union
from ..judging.sheets import draw_sheet
from ..parametrizations.inputs import input_contents
from ..parametrizations.photographs import read_squares
from .drawings import drawings_diffusion
from .variation import vary

_PROVENANCE = ("subject", "weights", "identity", "inputs", "versions", "devices", "date")
SCALES = (-1.0, -0.5, 0.0, 0.5, 1.0)


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
        fit_images=fit_images,
        precision=precision,
    )
    require("matplotlib")  # for the strip
    images, count = read_squares(path, fit_images)
    if count != 1:
        raise InvalidParameterError(f"Variations are made of one photograph; {path} has {count}. Give a file.")
    others = {name: name for name in outlined(subject, OUTLINED) if name != roi}
    vertices, area = union(subject, {roi: roi, **others}, selection)
    inputs = input_contents({PATH: path})
    require_same_run(output, command, inputs, subject.identity(vertices, precision))
    model = subject.model(vertices, precision=precision)
    options = {"scales": scale, "strength": strength, "steps": steps, "seed": seed}
    with refusing(output):
        found = vary(drawings_diffusion(), model, objectives.mean(area[roi]), images[0], **options)
        rounded = found.images.round().astype(np.uint8)
        responses = np.concatenate([np.asarray(model(image[None])) for image in rounded])
        means = {name: responses @ weights for name, weights in area.items()}
        files = [output / f"scale_{one:+g}.png" for one in found.scales]
        with explained("write", output):
            output.mkdir(parents=True, exist_ok=True)
            for file, image in zip(files, rounded, strict=True):
                Image.fromarray(image.transpose(1, 2, 0)).save(file)
    facts = {
        **provenance(subject, vertices, precision, experiment="vary", roi=roi, **options),
        "inputs": inputs,
        "scales": found.scales,
        "responses": means,
        "pixel distance": found.pixel_distance,
    }
    write_numbers(output, facts)
    tiles = [
        (file, [f"scale {one:+g}", f"{roi} {value:.2f} z"])
        for file, one, value in zip(files, found.scales, means[roi], strict=True)
    ]
    about_it = about([subject.description.subject], roi, images=len(files), vertices=int((area[roi] > 0).sum()))
    small_print = note(subject)
    sheet = draw_sheet(
        rounded, [lines for _, lines in tiles], [small_print] * bool(small_print), f"Variations · {about_it}"
    )
    rows = zip(map(float, found.scales), map(float, means[roi]), map(float, found.pixel_distance), strict=True)
    save_figure(sheet, output / "strip.png", ("scale", f"{roi} (z)", "pixel distance (grey levels)"), rows)
    table = Table(
        "Mean responses to the images in the files (z)",
        ("scale", *means, "pixel distance"),
        [
            (float(one), *(float(means[name][index]) for name in means), float(found.pixel_distance[index]))
            for index, one in enumerate(found.scales)
        ],
    )
    lead = (
        f"Variations of a photograph for {roi} of subject {subject.description.subject}{origin(subject)}: "
        f"{means[roi][0]:.2f} z to {means[roi][-1]:.2f} z, each {found.pixel_distance.mean():.1f} grey levels (root "
        "mean square) from the photograph as the diffusion model gives it back."
    )
    write_report(
        output,
        "Variations",
        [Section("Strip", [Gallery(tiles, "From suppressed to driven, at the same distance.", {"roi": roi}), table])],
        lead=lead,
        command=command.line,
        settings=command.settings,
        provenance={key: facts[key] for key in _PROVENANCE},
        synthetic=subject.description.synthetic,
    )
    return "\n".join([lead, f"Images, numbers and report: {output}"])
