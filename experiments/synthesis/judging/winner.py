"""Judgement of a synthesis: what its images are worth after small changes, to other subjects, and as images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from ....surface.style import default_style
from ...reporting.figures import new_figure, save_figure
from ...reporting.page import Picture, Section, Table
from ...reporting.statistics import mean_interval
from ..ascent import Model
from .judge import percentile, robustness, score, statistics, unnaturalness

FIGURE = "judged.png"
_JITTER, _DOTS = 0.22, 400
_UNITS = {
    "luminance": "grey levels",
    "contrast": "grey levels",
    "slope": "log power by log frequency",
    "saturated": "share of values",
    "color": "grey levels",
}


class Judge(NamedTuple):
    """A model that took no part in a synthesis, with the objective for it.

    Attributes
    ----------
    model
        The model, such as that of another subject.
    objective
        The objective with this model's weights.
    """

    model: Model
    objective: Callable[..., Array]


class Judgement(NamedTuple):
    """Worth of synthesized images.

    Attributes
    ----------
    values
        Objective's value of each image by what was changed: see
        :func:`~berg_jax.experiments.synthesis.judging.judge.robustness`.
    transfer
        Objective's value of each image in the models that took no part, by their names.
    natural
        Natural images' values in the model, and in those that took no part, by their names; empty without any.
    statistics
        Image statistics: see :func:`~berg_jax.experiments.synthesis.judging.judge.statistics`.
    unusual
        The same in standard deviations from natural images' mean; empty without any.
    """

    values: dict[str, Float[np.ndarray, " n"]]
    transfer: dict[str, Float[np.ndarray, " n"]]
    natural: dict[str, Float[np.ndarray, " images"]]
    statistics: dict[str, Float[np.ndarray, " n"]]
    unusual: dict[str, Float[np.ndarray, " n"]]

    def as_json(self) -> dict[str, dict[str, list[float]]]:
        """Return all but the natural images' values as plain numbers, to six digits."""
        return {
            part: {name: np.asarray(values, float).round(6).tolist() for name, values in getattr(self, part).items()}
            for part in ("values", "transfer", "statistics", "unusual")
        }


def judge_images(
    model: Model,
    objective: Callable[..., Array],
    images: Float[np.ndarray, "n 3 height width"],
    *,
    others: Mapping[str, Judge] | None = None,
    natural: Float[np.ndarray, "m 3 height width"] | None = None,
    batch: int = 8,
) -> Judgement:
    """Judge synthesized images by small changes, by models that took no part, and by their statistics.

    Parameters
    ----------
    model, objective
        Those of the synthesis; the objective is of single images.
    images
        The images in 0–255.
    others
        Models that took no part, by name.
    natural
        Natural images to compare with.
    batch
        Number of images that are computed at a time.

    See Also
    --------
    berg_jax.experiments.synthesis.judging.judge.transfer : Shares of the gain over natural images.
    """
    others = others or {}
    usual: dict[str, Float[np.ndarray, " images"]] = {}
    if natural is not None:
        usual["the model"] = score(model, objective, natural, batch=batch)
        usual |= {name: score(*judge, natural, batch=batch) for name, judge in others.items()}
    return Judgement(
        values=robustness(model, objective, images, batch=batch),
        transfer={name: score(*judge, images, batch=batch) for name, judge in others.items()},
        natural=usual,
        statistics=statistics(images),
        unusual={} if natural is None else unnaturalness(images, natural),
    )


def judged_section(found: Judgement, output: Path, *, subtitle: str, note: str | None) -> Section:
    """Draw a judgement into a folder, and return its section of the report.

    Parameters
    ----------
    found
        The judgement.
    output
        The folder, which gets ``judged.png``.
    subtitle, note
        Texts above and below the figure.
    """
    n = len(found.values["as made"])
    _draw(found, output / FIGURE, subtitle, note)
    caption = (
        "The objective's value of each image (dots), and the mean with its 95% interval by Student's t: as made, "
        "after small changes, and for "
        "subjects that took no part" + ("; natural images in grey." if found.natural else ".")
    )
    usual = {name: found.natural["the model"] for name in found.values} if found.natural else {}
    usual |= {name: values for name, values in found.natural.items() if name in found.transfer}
    best = int(np.argmax(found.values["8 bits"]))
    rows = []
    for name, values in {**found.values, **found.transfer}.items():
        rank = float(percentile(values, usual[name])[best]) if name in usual else None
        rows.append((name, float(values[best]), rank, float(values.mean()), str(mean_interval(values.astype(float)))))
    worth = Table(
        f"The objective's value (z) of the best image, its percentile among natural images, and the mean of n = {n} "
        "images with its 95% interval by Student's t",
        ("judged", "best image", "percentile", "mean", "95% of mean"),
        rows,
    )
    looks = Table(
        "Statistics of the best image and, in standard deviations, its distance from natural images' mean",
        ("statistic", "unit", "best image", "deviation"),
        [
            (name, _UNITS[name], float(values[best]), float(found.unusual[name][best]) if found.unusual else None)
            for name, values in found.statistics.items()
        ],
    )
    return Section("Judged", [Picture(output / FIGURE, caption, {"images": n}), worth, looks])


@default_style()
def _draw(found: Judgement, path: Path, subtitle: str, note: str | None) -> None:
    rows: list[tuple[str, Sequence[float], str]] = []
    if found.natural:
        rows.append(("natural images", found.natural["the model"], "0.6"))
    rows += [(name, values, "tab:blue") for name, values in found.values.items()]
    for name, values in found.transfer.items():
        if name in found.natural:
            rows.append((f"natural images, {name}", found.natural[name], "0.6"))
        rows.append((name, values, "tab:orange"))
    figure = new_figure(0.19 * len(rows) + 0.5, "What the images are worth", subtitle, note)
    axes = figure.subplots()
    random, cells = np.random.default_rng(0), []
    for row, (name, own, color) in enumerate(rows):
        values = np.asarray(own, float)
        dots = values[:: -(-len(values) // _DOTS)]
        axes.scatter(
            dots,
            row + random.uniform(-_JITTER, _JITTER, len(dots)),
            s=5,
            alpha=0.5 if color != "0.6" else 0.25,
            color=color,
            linewidths=0,
        )
        axes.plot([values.mean()] * 2, [row - 0.35, row + 0.35], color="black", linewidth=1)
        axes.hlines(row, *mean_interval(values), color="black", linewidth=0.8)
        cells += [(name, float(value)) for value in values]
    axes.set_yticks(range(len(rows)), [f"{name} (n = {len(values)})" for name, values, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("objective's value (z)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    save_figure(figure, path, ("judged", "value"), cells)
