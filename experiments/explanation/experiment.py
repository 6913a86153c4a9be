"""``berg-jax explain``: attribution maps of images for a region, its readout in closed form, and sanity checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError
from ...files.disk import explained
from ...stream.images import Fit
from ...stream.selection import Selection
from ...subject import Subject
from ..inputs.stimuli import refusing
from ..reporting.command import PATH, command_of
from ..reporting.earlier import require_same_run
from ..reporting.figures import about
from ..reporting.page import Picture, Section, SideBySide, Table, write_report
from ..reporting.results import note, origin, provenance, require_reporting, write_numbers
from ..reporting.statistics import mean_correlation_interval, mean_interval
from ..synthesis import objectives
from ..synthesis.areas import union
from ..synthesis.judging.judge import score
from ..synthesis.parametrizations.inputs import input_contents
from ..synthesis.parametrizations.photographs import read_squares
from .attribution import GREY, Maps, gradient_times_input, integrated_gradients, occlusion, smooth_grad
from .methods import DEFAULT_METHODS, Method
from .pictures import draw_curves, draw_maps, draw_reading, map_limits
from .reading import Contributions, contributions, reading
from .sanity import Curves, deletion_and_insertion, likeness, randomized

METHODS: Mapping[str, Callable[..., Maps]] = {
    "gradient-times-input": gradient_times_input,
    "integrated-gradients": integrated_gradients,
    "smooth-grad": smooth_grad,
    "occlusion": occlusion,
}
MAPS = "attribution.npz"
_COMPLETE = "integrated-gradients"  # whose maps sum to a change of the response
_PROVENANCE = ("subject", "weights", "identity", "inputs", "versions", "devices", "date")
_SHOWN = 12  # images that the report shows


def explain(
    subject: Subject,
    output: str | Path,
    path: Sequence[str | Path],
    *,
    roi: str,
    against: str | None = None,
    method: Sequence[Method] = DEFAULT_METHODS,
    fit_images: Fit = "error",
    selection: Selection = Selection(),
    precision: str = "float32",
    batch_size: int = 8,
) -> str:
    """Explain what in images drives a region, or a contrast of two regions, into a folder.

    It holds a picture for each image with its maps, ``attribution.npz`` with the maps themselves, where the region
    looks and which layers it reads, ``results.json``, and of all this ``report.html`` with ``config.json``. Sanity
    checks say whether each method's maps depend on the network's weights, and whether their order beats a random one.

    Parameters
    ----------
    subject
        The subject.
    output
        The folder.
    path
        Images: files, folders, or anything else that holds images, up to 1,000 of each.
    roi
        ROI expression whose mean response is explained.
    against
        ROI expression whose mean response is subtracted.
    method
        Attribution methods.
    fit_images
        What to do with images that are not square: see :class:`~berg_jax.Images`.
    selection
        Hemisphere and thresholds of the vertices; its ``roi`` is not used.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    batch_size
        Number of images that are computed at a time.

    Returns
    -------
    str
        The result, in a few lines.

    Raises
    ------
    BERGError
        Something of this makes no sense, is not there, or cannot be written.

    See Also
    --------
    berg_jax.experiments.explanation.attribution : The methods.
    berg_jax.experiments.explanation.sanity : The checks.
    """
    output, path = Path(output), [Path(one) for one in path]
    command = command_of(
        *("explain", explain, [subject], output, selection),
        path=path,
        roi=roi,
        against=against,
        method=list(method),
        fit_images=fit_images,
        precision=precision,
        batch_size=batch_size,
    )
    if not path or not method:
        raise InvalidParameterError("Give at least one image and one method.")
    if unknown := set(method) - set(get_args(Method)):
        raise InvalidParameterError(f"A method is one of {list(get_args(Method))}, got {sorted(unknown)}.")
    if roi == against:
        raise InvalidParameterError(f"A region cannot be explained against itself: {roi!r}.")
    require_reporting()
    areas = {"region": roi} | ({} if against is None else {"against": against})
    vertices, area = union(subject, areas, selection)
    found_images = [read_squares(one, fit_images) for one in path]
    if (count := sum(many for _, many in found_images)) > (read := sum(len(some) for some, _ in found_images)):
        raise InvalidParameterError(f"At most {read} images are explained at once, got {count}. Give fewer.")
    images = np.concatenate([some for some, _ in found_images]).astype(np.float32)
    inputs = {PATH: [input_contents({PATH: one})[PATH] for one in path]}
    require_same_run(output, command, inputs, subject.identity(vertices, precision))
    model = subject.model(vertices, precision=precision)
    weights = area["region"] - (0 if against is None else area["against"])
    objective, label = objectives.mean(weights), roi if against is None else f"{roi} − ({against})"
    options = {"batch": min(batch_size, len(images))}
    with refusing(output):
        values = score(model, objective, images, **options)
        maps = {name: METHODS[name](model, objective, images, **options) for name in dict.fromkeys(method)}
        other = randomized(model)
        alike = {name: likeness(maps[name], METHODS[name](other, objective, images, **options)) for name in maps}
        curves = {name: deletion_and_insertion(model, objective, images, maps[name], **options) for name in maps}
        shares, found = contributions(model, weights, images), reading(model, weights)
        grey = float(score(model, objective, np.full_like(images[:1], GREY), batch=1)[0])
        with explained("write", output):
            output.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(output / MAPS, values=values, places=shares.places, **maps)
    checks = {name: _checks(alike[name], curves[name]) for name in maps}
    missing = {name: maps[name].sum(axis=(1, 2)) - (values - grey) for name in maps if name == _COMPLETE}
    facts = {
        **provenance(
            subject, vertices, precision, experiment="explain", roi=roi, against=against, method=list(method)
        ),
        "objective": label,
        "inputs": inputs,
        "values": values,
        "layers": {f"block {layer + 1}": share for layer, share in zip(found.layers, found.layer_share, strict=True)},
        "share of the response": _shares(shares),
        "checks": checks,
        "response to grey": grey,
        "sum of the map minus change from grey": missing,
    }
    write_numbers(output, facts)
    roi_and = " and ".join(areas.values())
    subtitle = about([subject.description.subject], roi_and, images=len(images), vertices=len(vertices))
    texts = {"subtitle": subtitle, "note": note(subject)}
    of_one = {**texts, "subtitle": about([subject.description.subject], roi_and, vertices=len(vertices))}
    names = [name for one, (some, _) in zip(path, found_images, strict=True) for name in _names(one, len(some))]
    sections = [
        Section("Images", _pictures(output, images, names, maps, shares, values, label, of_one)),
        Section("Deletion and insertion", [SideBySide(_curves(output, curves, label, texts))]),
    ]
    draw_reading(found, weights, output / "reading.png", title=f"Where {label} looks, and what it reads", **of_one)
    caption = f"Share of the readout of {label} at each place of the visual field, and in each transformer block."
    table = Table(
        f"Sanity checks of the maps, averaged over n = {len(images)} images; 95% intervals by Student's "
        "t, of likenesses after Fisher's z",
        ("method", "likeness to maps of shuffled weights", "95%", "gain over a random order (z)", "95%"),
        [
            (name, row["likeness"], str(row["likeness interval"]), row["gain"], str(row["gain interval"]))
            for name, row in checks.items()
        ],
    )
    tables = [table]
    if missing:
        rows = zip(names, (values - grey).tolist(), maps[_COMPLETE].sum(axis=(1, 2)).tolist(), strict=True)
        title = (
            "Integrated gradients (z): they sum to the change of the response from grey, but for the error of steps"
        )
        tables.append(Table(title, ("image", "change from grey", "sum of the map"), list(rows)))
    sections += [Section("Where it looks", [Picture(output / "reading.png", caption)]), Section("Checks", tables)]
    lead = f"What drives {label} of subject {subject.description.subject}{origin(subject)} in {len(images)} images."
    write_report(
        output,
        "Explanation",
        sections,
        lead=lead,
        command=command.line,
        settings=command.settings,
        provenance={key: facts[key] for key in _PROVENANCE},
        synthetic=subject.description.synthetic,
    )
    lines = [lead, f"Responses (z): {', '.join(f'{value:.2f}' for value in values[:8])}"]
    lines += [
        f"{name}: likeness to shuffled weights {row['likeness']:.2f}, gain over random order {row['gain']:+.2f} z"
        for name, row in checks.items()
    ]
    return "\n".join([*lines, f"Pictures, maps and report: {output}"])


def _checks(alike: Float[np.ndarray, " n"], curves: Curves) -> dict[str, Any]:
    error = curves.gain.std(ddof=1) / np.sqrt(len(curves.gain)) if len(curves.gain) > 1 else np.nan
    return {
        "likeness": float(alike.mean()),
        "likeness interval": mean_correlation_interval(alike),
        "gain": float(curves.gain.mean()),
        "gain interval": mean_interval(curves.gain),
        "standard error": float(error),
    }


def _shares(shares: Contributions) -> dict[str, Any]:
    places = shares.places.sum(axis=(1, 2, 3)).mean()
    return {"places": places, "whole image": shares.vectors.sum(axis=1).mean(), "bias": shares.bias}


def _names(path: Path, count: int) -> list[str]:
    """Return what the images at a path are called."""
    return [path.name] if count == 1 else [f"{path.name}, image {number + 1}" for number in range(count)]


def _pictures(
    output: Path,
    images: Float[np.ndarray, "n 3 h w"],
    names: Sequence[str],
    maps: Mapping[str, Maps],
    shares: Contributions,
    values: Float[np.ndarray, " n"],
    label: str,
    texts: Mapping[str, Any],
) -> list[Picture]:
    size = images.shape[2]
    places = np.kron(shares.places.sum(axis=1), np.ones((size // 16, size // 16)))
    pictures = []
    every = {**maps, "places read out": places}
    limits = map_limits(every)
    for index in range(min(len(images), _SHOWN)):
        file = output / f"image_{index + 1}.png"
        shown = {name: own[index] for name, own in every.items()}
        title = f"{names[index]}: response of {label} {values[index]:.2f} z"
        draw_maps(images[index], shown, limits, file, title=title, **texts)
        caption = f"{names[index]}: red raises {label}, blue lowers it; all images share the scales."
        pictures.append(Picture(file, caption))
    return pictures


def _curves(output: Path, curves: Mapping[str, Curves], label: str, texts: Mapping[str, Any]) -> list[Picture]:
    pictures = []
    for name, found in curves.items():
        file = output / f"curves_{name}.png"
        kinds = {
            "insertion": (found.insertion, found.random_insertion),
            "deletion": (found.deletion, found.random_deletion),
        }
        draw_curves(found.share, kinds, file, unit=f"response of {label} (z)", title=f"Sanity of {name}", **texts)
        pictures.append(Picture(file, f"{name}: response as blocks are inserted or deleted, mean over images."))
    return pictures
