"""Dissimilarity matrices of the ROIs: saved, and drawn with the images along the axes, as points, and as trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import squareform

from ....files.csv_tables import write_table
from ....files.disk import explained
from ....stream.sources.image_files import Source
from ....surface.style import default_style
from ...inputs.categories import ShownImages
from ...reporting.figures import about, new_figure, save_figure
from ...reporting.page import Picture, Section, Table
from ...reporting.results import folder_of
from ...reporting.thumbnails import Thumbnails, amid, paste, read_thumbnails
from .categories import category_colors, category_legend
from .pictures import draw_scalings, draw_trees
from .study import Part, Study

FOLDER, IMAGES = "dissimilarities", "images.csv"
PICTURE, SCALING, TREES = "dissimilarities.png", "scaling.png", "trees.png"
MOST_DRAWN = 1000  # images; figures of more would take minutes, and tables gigabytes
_ALONG, _COLUMNS = 8, 3  # thumbnails along an axis, and matrices in a row, at most


def dissimilarities_section(study: Study, shown: ShownImages, source: Source) -> Part:
    """Save each subject's matrices with the images' names, and draw the means over subjects.

    Parameters
    ----------
    study
        What is compared, by dissimilarities.
    shown
        Names and categories of the images.
    source
        The images.
    """
    for subject, own in zip(study.subjects, study.own, strict=True):
        _save(folder_of(study.output, subject) / FOLDER, own, shown)
    means = {roi: np.mean(study.of_region(roi), axis=0) for roi in study.rois}
    saved = f"{FOLDER}/ in each subject's folder has the matrices (.npy), and {IMAGES} the names of rows and columns."
    title = "Dissimilarity matrices"
    if study.images > MOST_DRAWN:
        few = f"They are drawn of up to {MOST_DRAWN:,} images, not of {study.images:,}."
        return Part(Section(title, [f"{saved} {few}"]), {"folder": FOLDER}, [])
    subtitle = about([one.description.subject for one in study.subjects], f"{len(means)} ROIs", images=study.images)
    several = f", mean over {len(study.subjects)} subjects" * (len(study.subjects) > 1)
    _draw(study, means, shown, source, f"{title}{several}", subtitle)
    order = "category by category" if shown.kinds else "in their own order"
    parts: list[Any] = [
        Picture(
            study.output / PICTURE,
            f"Dissimilarity (1 − r of response patterns) of each pair of images in each ROI{several}; images "
            f"{order}. All matrices share the scale. {saved}",
            {"images": study.images, "categories": shown.kinds or None},
        )
    ]
    known = {roi: pairs for roi, pairs in means.items() if np.isfinite(pairs).all()}
    if known:
        stresses = draw_scalings(known, shown, source, study.output / SCALING, (subtitle, several, study.note))
        draw_trees(known, shown, study.output / TREES, (subtitle, several, study.note))
        parts += [
            Picture(
                study.output / SCALING,
                "Images as points of a plane by metric multidimensional scaling: distances are near the "
                "dissimilarities, as far as the stress in brackets is near 0; the bar is "
                "a dissimilarity. Planes are turned onto the first.",
                {"images": study.images},
            ),
            Picture(
                study.output / TREES,
                "Hierarchical clustering of the images by average linkage: two branches join at the mean "
                "dissimilarity of their images. Colors below are categories.",
                {"images": study.images},
            ),
        ]
    if shown.kinds:
        parts.append(_categories_table(study, means, shown))
    numbers = {"folder": FOLDER, "stress": stresses if known else {}, "categories": shown.kinds}
    return Part(Section(title, parts), numbers, [])


def square(pairs: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, "images images"]:
    """Return the matrix of an upper triangle, with 0 on its diagonal."""
    return squareform(pairs, checks=False)


def within_and_between(
    pairs: Float[np.ndarray, " pairs"], categories: list[str] | tuple[str, ...]
) -> tuple[float, float]:
    """Return the mean dissimilarity of images of one category, and of images of different ones.

    Examples
    --------
    >>> within_and_between(np.array([0.25, 0.5, 1.0]), ["a", "a", "b"])
    (0.25, 0.75)
    """
    labels = np.unique(list(categories), return_inverse=True)[1]
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    return tuple(float(pairs[some].mean()) if some.any() else float("nan") for some in (same, ~same))


def _save(folder: Path, own: Any, shown: ShownImages) -> None:
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.npy"):  # of an earlier run with other ROIs
            stale.unlink()
        for roi, pairs in own.items():
            np.save(folder / f"{_file_name(roi)}.npy", square(pairs))
    rows = ((row, name, category) for row, (name, category) in enumerate(zip(*shown, strict=True)))
    write_table(folder / IMAGES, ("row", "image", "category"), rows)


def _file_name(roi: str) -> str:
    return roi.replace("/", "-").replace(" ", "")


def _categories_table(study: Study, means: dict[str, np.ndarray], shown: ShownImages) -> Table:
    rows = [(roi, *within_and_between(pairs, list(shown.categories)), study.images) for roi, pairs in means.items()]
    return Table(
        f"Mean dissimilarity of pairs of images of one category and of different ones; {study.said}",
        ("ROI", "within categories", "between categories", "images"),
        rows,
        folded=True,
    )


@default_style()
def _draw(
    study: Study,
    means: dict[str, Float[np.ndarray, " pairs"]],
    shown: ShownImages,
    source: Source,
    title: str,
    subtitle: str,
) -> None:
    order = shown.order
    squares = {roi: square(pairs)[np.ix_(order, order)] for roi, pairs in means.items()}
    columns = min(_COLUMNS, len(squares))
    rows = -(-len(squares) // columns)
    figure = new_figure((3.1 / columns + 0.28) * rows + 0.55, title, subtitle, study.note)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    places = _places(shown, order)
    named = order[places.astype(int)]
    thumbnails, colors = read_thumbnails(source, named), category_colors(shown)
    frames = [colors[index] for index in named] if shown.kinds else None
    values = np.concatenate(list(means.values()))
    low, high = 0.0, float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    image = None
    for axes, (roi, matrix) in zip(panels, squares.items(), strict=False):
        image = axes.imshow(matrix, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        _along(axes, thumbnails, places, len(order), frames)
        axes.set_title(roi, pad=3)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes in panels[len(squares) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=list(panels), orientation="horizontal", shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("dissimilarity, 1 − r (no unit)")
    category_legend(figure, shown)
    names = [str(shown.names[index]) for index in order]
    table = ([roi, name, *row] for roi, matrix in squares.items() for name, row in zip(names, matrix, strict=True))
    save_figure(figure, study.output / PICTURE, ("roi", "image", *names), table)


def _places(shown: ShownImages, order: np.ndarray) -> Float[np.ndarray, " n"]:
    """Return the places along an axis at which thumbnails stand: amid each category, or evenly spread."""
    categories = [shown.categories[index] for index in order]
    if not 1 < len(shown.kinds) <= _ALONG:
        return amid(len(order), _ALONG).astype(float)
    middles = [np.flatnonzero([one == kind for one in categories]).mean() for kind in shown.kinds]
    return np.floor(middles)


def _along(
    axes: Any, thumbnails: Thumbnails, places: Float[np.ndarray, " n"], images: int, frames: list[str] | None
) -> None:
    """Paste thumbnails, framed in their categories' colors, left of and below a matrix of images."""
    size = 0.8 * min(images / max(len(places), 1), images / 5)
    away = 0.62 * size
    left, below = np.full(len(places), -0.5 - away), np.full(len(places), images - 0.5 + away)
    for across, down in ((left, places), (places, below)):
        paste(axes, thumbnails, np.column_stack([across, down]), (size, size), frames)
