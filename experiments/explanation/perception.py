"""``berg-jax metamer``: metamers of an image for a region, and the image's eigendistortions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from ...files.disk import explained
from ...stream.images import Fit
from ...stream.selection import Selection
from ...subject import Subject
from ...surface.meshes import require
from ..inputs.stimuli import refusing
from ..reporting.command import PATH, command_of
from ..reporting.earlier import require_same_run
from ..reporting.figures import about, save_figure
from ..reporting.page import Gallery, Section, Table, write_report
from ..reporting.results import note, origin, provenance, write_numbers
from ..synthesis.areas import union
from ..synthesis.judging.sheets import draw_sheet
from ..synthesis.parametrizations.inputs import input_contents
from ..synthesis.parametrizations.photographs import read_one
from .eigendistortions import eigendistortions
from .metamers import metamers

_METAMER = 0.01  # error of a metamer, as a share of the responses' spread
_PROVENANCE = ("subject", "weights", "identity", "inputs", "versions", "devices", "date")
_CONTRAST = 40.0  # grey levels (root mean square) of an eigendistortion as it is drawn


def make_metamers(
    subject: Subject,
    output: str | Path,
    path: str | Path,
    *,
    roi: str,
    start: str | Path | None = None,
    n: int = 4,
    steps: int = 4096,
    apart: float = 0.0,
    seed: int = 0,
    fit_images: Fit = "error",
    selection: Selection = Selection(),
    precision: str = "float32",
    show_progress: bool = True,
) -> str:
    """Make metamers of an image for a region, and its eigendistortions, into a folder.

    It holds the metamers as ``.png``, their numbers as ``results.json``, the eigendistortions, and of all this
    ``report.html`` with ``config.json``. Errors are also given for the images in the files, which are rounded to
    8 bits.

    Parameters
    ----------
    subject
        The subject.
    output
        The folder.
    path
        The image.
    roi
        ROI expression whose vertices' responses are matched.
    start
        Image to start from; by default noise.
    n, steps, apart, seed
        See :func:`~berg_jax.experiments.explanation.metamers.metamers`.
    fit_images
        What to do with images that are not square: see :class:`~berg_jax.Images`.
    selection
        Hemisphere and thresholds of the vertices; its ``roi`` is not used.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    show_progress
        Show a progress bar.

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
        *("metamer", make_metamers, [subject], output, selection),
        path=path,
        roi=roi,
        start=start,
        n=n,
        steps=steps,
        apart=apart,
        seed=seed,
        fit_images=fit_images,
        precision=precision,
    )
    require("matplotlib")  # for the sheet
    vertices, _ = union(subject, {"region": roi}, selection)
    image = read_one(path, fit_images)
    first = None if start is None else read_one(start, fit_images)
    inputs = input_contents({PATH: path, "start": start})
    require_same_run(output, command, inputs, subject.identity(vertices, precision))
    model = subject.model(vertices, precision=precision)
    with refusing(output):
        options: dict[str, Any] = {"n": n, "steps": steps, "apart": apart, "seed": seed}
        found = metamers(model, image, start=first, show_progress=show_progress, **options)
        changes = eigendistortions(model, image, tolerance=1e-3, seed=seed)
        rounded = found.images.round().astype(np.uint8)
        target = np.asarray(model(image[None]))[0]
        responses = np.concatenate([np.asarray(model(one[None])) for one in rounded])
        in_files = np.sqrt(((responses - target) ** 2).mean(axis=1)) / found.spread
        shown = {"image": image.round().astype(np.uint8)}
        shown |= {f"metamer_{index + 1}": one for index, one in enumerate(rounded)}
        shown |= {"most_visible": _drawn(changes.largest[0]), "least_visible": _drawn(changes.smallest[0])}
        with explained("write", output):
            output.mkdir(parents=True, exist_ok=True)
            for name, one in shown.items():
                Image.fromarray(one.transpose(1, 2, 0)).save(output / f"{name}.png")
    facts = {
        **provenance(subject, vertices, precision, experiment="metamer", roi=roi, **options),
        "inputs": inputs,
        "error": found.error,
        "error in files": in_files,
        "psnr": found.psnr,
        "spread": found.spread,
        "sensitivity": {"largest": changes.largest_sensitivity, "smallest": changes.smallest_sensitivity},
        "measured": {"largest": changes.largest_measured, "smallest": changes.smallest_measured},
    }
    write_numbers(output, facts)
    tiles = [(output / "image.png", ["the image"])]
    for index in range(n):
        lines = [f"error {100 * in_files[index]:.2f}%", f"{found.psnr[index]:.1f} dB"]
        tiles.append((output / f"metamer_{index + 1}.png", lines))
    about_it = about([subject.description.subject], roi, metamers=n, vertices=len(vertices))
    sheet_images = np.stack([shown["image"], *rounded])
    small_print = note(subject)
    sheet = draw_sheet(
        sheet_images, [lines for _, lines in tiles], [small_print] * bool(small_print), f"Metamers · {about_it}"
    )
    errors = (100 * found.error, 100 * in_files, found.psnr)
    rows = zip(range(1, n + 1), *(map(float, one) for one in errors), strict=True)
    columns = ("metamer", "error (% of spread)", "error of the 8-bit file (% of spread)", "PSNR (dB)")
    save_figure(sheet, output / "metamers.png", columns, rows)
    table = Table(
        "Metamers: difference of the responses as a share of their spread over vertices, and likeness to the image",
        ("metamer", "error (%)", "error of the 8-bit file (%)", "PSNR (dB)"),
        [(i + 1, *map(float, (100 * found.error[i], 100 * in_files[i], found.psnr[i]))) for i in range(n)],
    )
    ends = Gallery(
        [
            (output / "most_visible.png", ["most visible", f"{changes.largest_measured[0]:.3g} z per grey level"]),
            (output / "least_visible.png", ["least visible", f"{changes.smallest_measured[0]:.3g} z per grey level"]),
        ],
        f"Eigendistortions on grey, drawn with {_CONTRAST:.0f} grey levels, and their measured sensitivity.",
    )
    sensitivity = Table(
        "Sensitivity to the eigendistortions: change of the responses in z per grey level (both root mean squares)",
        ("change", "predicted", "measured"),
        [
            ("most visible", float(changes.largest_sensitivity[0]), float(changes.largest_measured[0])),
            ("least visible", float(changes.smallest_sensitivity[0]), float(changes.smallest_measured[0])),
        ],
    )
    largest, in_file = 100 * found.error.max(), 100 * in_files.max()
    lead = (
        f"{n} metamer{'s' * (n > 1)} of an image for {roi} of subject {subject.description.subject}{origin(subject)}"
        f": the largest error is {largest:.2f}% of the responses' spread, and {in_file:.2f}% in the 8-bit files."
    )
    if largest > 100 * _METAMER:
        lead += (
            f" These are NOT metamers yet, whose error is below {_METAMER:.0%}: make them with more steps (--steps)."
        )
    caption = f"Images whose responses in {roi} differ from the image's by at most {in_file:.2f}% of their spread."
    write_report(
        output,
        "Metamers",
        [
            Section("Metamers", [Gallery(tiles, caption), table]),
            Section("Eigendistortions", [ends, sensitivity]),
        ],
        lead=lead,
        command=command.line,
        settings=command.settings,
        provenance={key: facts[key] for key in _PROVENANCE},
        synthetic=subject.description.synthetic,
    )
    return "\n".join([lead, f"Images, numbers and report: {output}"])


def _drawn(change: Float[np.ndarray, "3 h w"]) -> np.ndarray:
    return (127.5 + _CONTRAST * change).clip(0, 255).round().astype(np.uint8)
