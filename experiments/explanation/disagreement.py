"""``berg-jax compete``: images on which two regions, or two people's regions, disagree most, and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from ...errors import InvalidParameterError
from ...files.disk import explained
from ...stream.images import Fit
from ...stream.selection import Selection
from ...subject import Subject
from ...surface.meshes import require
from ...surface.style import default_style
from ..inputs.stimuli import refusing
from ..reporting.command import PATH, command_of
from ..reporting.earlier import require_same_run
from ..reporting.figures import about, legend_below, new_figure, save_figure
from ..reporting.page import Gallery, Picture, Section, Table, write_report
from ..reporting.results import note, origin, provenance, write_numbers
from ..synthesis import objectives
from ..synthesis.areas import union
from ..synthesis.judging.sheets import draw_sheet
from ..synthesis.parametrizations.inputs import input_contents
from ..synthesis.parametrizations.photographs import read_one
from .competition import compete

_PROVENANCE = ("subject", "weights", "identity", "inputs", "versions", "devices", "date")
_HELD = 0.05  # most that a held response moves, as a share of what the other does
_MOVES = [  # which side is held, which is moved, and where to: in the order of a Competition's images
    (held, moved, where)
    for held, moved in (("first", "second"), ("second", "first"))
    for where in ("raised", "lowered")
]


def make_competition(
    subject: Subject,
    output: str | Path,
    path: str | Path,
    *,
    roi: str,
    against: str | None = None,
    against_subject: int | None = None,
    against_berg_dir: str | Path | None = None,
    steps: int = 128,
    step: float = 1.0,
    fit_images: Fit = "error",
    selection: Selection = Selection(),
    precision: str = "float32",
) -> str:
    """Make images that keep one region's response and raise or lower another's, into a folder.

    It holds the four images as ``.png``, their responses as ``results.json``, and of all this ``report.html`` with
    ``config.json``. All responses given are those to the images in the files, which are rounded to 8 bits.

    Parameters
    ----------
    subject
        The subject.
    output
        The folder.
    path
        The image to start from.
    roi
        ROI expression of the first side.
    against
        ROI expression of the second side; by default that of the first.
    against_subject, against_berg_dir
        Subject of the second side, and the folder where it is; by default those of the first.
    steps, step
        See :func:`~berg_jax.experiments.explanation.compete`.
    fit_images
        What to do with images that are not square: see :class:`~berg_jax.Images`.
    selection
        Hemisphere and thresholds of both sides' vertices; its ``roi`` is not used.
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
        *("compete", make_competition, [subject], output, selection),
        path=path,
        roi=roi,
        against=against,
        against_subject=against_subject,
        against_berg_dir=against_berg_dir,
        steps=steps,
        step=step,
        fit_images=fit_images,
        precision=precision,
    )
    require("matplotlib")  # for the sheet
    image = read_one(path, fit_images)
    number = subject.description.subject
    rivals = [subject, _rival(subject, against_subject, against_berg_dir)]
    expressions = [roi, against or roi]
    if rivals[1] is subject and expressions[0] == expressions[1]:
        raise InvalidParameterError(
            f"{roi} of subject {number} cannot compete with itself: give --against another ROI, or --against-subject."
        )
    unions = [union(one, {"side": own}, selection) for one, own in zip(rivals, expressions, strict=True)]
    if rivals[1] is subject and np.array_equal(unions[0][0].global_indices, unions[1][0].global_indices):
        raise InvalidParameterError(f"{roi} and {against} have the same vertices: nothing tells them apart.")
    identities = [one.identity(vertices, precision) for one, (vertices, _) in zip(rivals, unions, strict=True)]
    inputs = input_contents({PATH: path})
    require_same_run(output, command, inputs, "-".join(identities))
    sides = [
        (one.model(vertices, precision=precision), objectives.mean(weights["side"]))
        for one, (vertices, weights) in zip(rivals, unions, strict=True)
    ]
    numbers = [one.description.subject for one in rivals]
    labels = list(expressions)
    if rivals[1] is not subject:
        places = ["", "" if against_berg_dir is None else f" of {Path(against_berg_dir).name}"]
        prefixes = ["", ""] if len(set(expressions)) == 1 else [f"{one}, " for one in expressions]
        labels = [f"{prefix}subject {n}{place}" for prefix, n, place in zip(prefixes, numbers, places, strict=True)]
    word = dict(zip(("first", "second"), labels, strict=True))
    names = ["start", *(f"{word[moved]} {how}, {word[held]} held" for held, moved, how in _MOVES)]
    stems = ["start", *(f"{moved}_{how}" for _, moved, how in _MOVES)]
    with refusing(output):
        found = compete(*sides, image, steps=steps, step=step)
        rounded = np.concatenate([image[None], found.images]).round().astype(np.uint8)
        values = np.array([[float(objective(model(one[None]))[0]) for one in rounded] for model, objective in sides])
        with explained("write", output):
            output.mkdir(parents=True, exist_ok=True)
            for stem, one in zip(stems, rounded, strict=True):
                Image.fromarray(one.transpose(1, 2, 0)).save(output / f"{stem}.png")
    distance = np.sqrt(((rounded - image) ** 2).mean(axis=(1, 2, 3)))
    facts = {
        **provenance(subject, unions[0][0], precision, experiment="compete", sides=labels, steps=steps, step=step),
        "identity": "-".join(identities),
        "inputs": inputs,
        "images": stems,
        "responses": {"first": values[0], "second": values[1]},
        "grey levels from the start": distance,
    }
    write_numbers(output, facts)
    about_it = about(numbers if numbers[0] != numbers[1] else numbers[:1], f"{roi} against {expressions[1]}")
    small_print = note(subject) or note(rivals[1])
    lines = [
        [name, f"{labels[0]}: {first:.2f} z", f"{labels[1]}: {second:.2f} z"]
        for name, first, second in zip(names, *values, strict=True)
    ]
    sheet = draw_sheet(rounded, lines, [small_print] * bool(small_print), f"Competition · {about_it}")
    columns = ("image", f"{labels[0]} (z)", f"{labels[1]} (z)", "grey levels (root mean square) from the start")
    rows = [
        (name, float(first), float(second), float(far))
        for name, first, second, far in zip(names, *values, distance, strict=True)
    ]
    save_figure(sheet, output / "images.png", columns, rows)
    draw_competition(values, labels, output / "responses.png", subtitle=about_it, note=small_print)
    drift = max(abs(values[0, 1:3] - values[0, 0]).max(), abs(values[1, 3:] - values[1, 0]).max())
    lead = (
        f"Images that tell {labels[0]} from {labels[1]}{origin(subject)}: while the first is held, the second goes "
        f"from {values[1, 2]:.2f} to {values[1, 1]:.2f} z; while the second is held, the first goes from "
        f"{values[0, 4]:.2f} to {values[0, 3]:.2f} z. What is held moves by at most {drift:.2g} z."
    )
    if drift > _HELD * min(np.ptp(values[1, :3]), np.ptp(values[0, [0, 3, 4]])):
        lead += f" It is NOT held, which is below {_HELD:.0%} of what the other moves: give shorter steps (--step)."
    tiles = [(output / f"{stem}.png", own) for stem, own in zip(stems, lines, strict=True)]
    write_report(
        output,
        "Maximal-difference competition",
        [
            Section("Images", [Gallery(tiles, "The start, and what each side sees that the other does not.")]),
            Section(
                "Responses",
                [
                    Picture(
                        output / "responses.png", "Mean responses of both sides: a cross, if each image held one."
                    ),
                    Table(
                        "Mean responses to the images in the files (z), and distance from the start", columns, rows
                    ),
                ],
            ),
        ],
        lead=lead,
        command=command.line,
        settings=command.settings,
        provenance={key: facts[key] for key in _PROVENANCE},
        synthetic=any(one.description.synthetic for one in rivals),
    )
    return "\n".join([lead, f"Images, numbers and report: {output}"])


def _rival(subject: Subject, number: int | None, berg_dir: str | Path | None) -> Subject:
    """Return the second side's subject: the first's own object if it is the same."""
    number = subject.description.subject if number is None else number
    same = berg_dir is None or Path(berg_dir).resolve() == Path(subject.berg_dir).resolve()
    if same and number == subject.description.subject:
        return subject
    return Subject(subject.berg_dir if same else berg_dir, number)


@default_style()
def draw_competition(
    values: Float[np.ndarray, "2 images"], labels: Sequence[str], path: Path, *, subtitle: str, note: str | None
) -> None:
    """Draw both sides' responses to the four images, as lines from those to the start.

    Parameters
    ----------
    values
        Response of each side to the start and the four images, z units.
    labels
        Names of the two sides.
    path
        The .png file; the .csv file beside it has the responses.
    subtitle, note
        Texts above and below the figure.
    """
    figure = new_figure(2.6, "Responses of two sides that compete", subtitle, note)
    axes = figure.subplots()
    for held, color in ((0, "tab:blue"), (1, "tab:red")):
        order = [2, 0, 1] if held == 0 else [4, 0, 3]
        axes.plot(*values[:, order], "o-", color=color, markersize=4, linewidth=1, label=f"{labels[held]} held")
    axes.plot(*values[:, 0], "o", color="black", markersize=5, label="start")
    axes.set_xlabel(f"{labels[0]} (z)")
    axes.set_ylabel(f"{labels[1]} (z)")
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(axes, 3)
    names = ("start", *(f"{moved} {how}" for _, moved, how in _MOVES))
    cells = [(name, *map(float, pair)) for name, pair in zip(names, values.T, strict=True)]
    save_figure(figure, path, ("image", *(f"{label} (z)" for label in labels)), cells)
