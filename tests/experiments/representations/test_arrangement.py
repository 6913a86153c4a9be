"""Dissimilarity matrices in files and figures: their numbers, the order of images, planes and trees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from berg_jax import Subject
from berg_jax.demo import images
from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.inputs.categories import ShownImages, shown_images
from berg_jax.experiments.reporting.thumbnails import read_thumbnails, shrunk
from berg_jax.experiments.representations.measure import measure_of
from berg_jax.experiments.representations.reports import Study, dissimilarities_section
from berg_jax.experiments.representations.reports.arrangement import (
    clustered,
    leaf_order,
    scaled_to_plane,
    turned_alike,
)
from berg_jax.stream.sources.arrays import ArraySource

from ...conftest import Golden
from ..reporting.standing import check_figure

RANDOM = np.random.default_rng(3)


def test_images_are_in_the_order_of_their_categories(tmp_path: Path) -> None:
    shown = shown_images(["1.png", "2.png", "3.png"], drawn=["b", "a", "b"])
    assert (shown.kinds, shown.order.tolist()) == (["b", "a"], [0, 2, 1])
    plain = shown_images(["0", "1"])
    assert (plain.kinds, plain.order.tolist()) == ([], [0, 1])
    (tmp_path / "table.csv").write_text("image,category\n1,x\n0,y\n")
    assert shown_images(["0", "1"], tmp_path / "table.csv").categories == ["y", "x"]
    with pytest.raises(InvalidParameterError, match="no category for 1 images, such as '2'"):
        shown_images(["0", "2"], tmp_path / "table.csv")


def test_points_of_a_plane_are_found_again() -> None:
    points = RANDOM.normal(size=(14, 2))
    found = scaled_to_plane(pdist(points))
    assert found.stress < 0.01
    np.testing.assert_allclose(pdist(found.points), pdist(points), rtol=0.02, atol=0.02)
    angle = 2.0
    turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])  # and a mirror
    other = found._replace(points=found.points @ turn)
    alike = turned_alike({"one": found, "other": other})
    np.testing.assert_allclose(alike["other"].points, found.points, atol=1e-9)
    assert 0.1 < scaled_to_plane(pdist(RANDOM.normal(size=(14, 40)))).stress < 1  # which no plane holds


def test_trees_join_at_the_mean_dissimilarity_of_their_images() -> None:
    points = np.concatenate([RANDOM.normal(0, 0.1, (4, 3)), RANDOM.normal(9, 0.1, (5, 3))])[
        [0, 4, 1, 5, 2, 6, 3, 7, 8]
    ]
    pairs = pdist(points)
    tree = clustered(pairs)
    groups = np.array([0, 1, 0, 1, 0, 1, 0, 1, 1])
    first, second = np.triu_indices(9, 1)
    assert tree[0, 2] == pytest.approx(pairs.min())
    assert tree[-1, 2] == pytest.approx(pairs[groups[first] != groups[second]].mean())
    assert np.abs(np.diff(groups[leaf_order(tree)])).sum() == 1  # each group's leaves are side by side


@pytest.fixture(scope="module")
def drawn(
    overlay: Golden, complement: Golden, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, ShownImages, list[np.ndarray]]:
    """Two subjects' made-up responses of two ROIs, and the section that they give."""
    folder = tmp_path_factory.mktemp("matrices")
    np.save(folder / "images.npy", np.concatenate([images(kind, 3, 1) for kind in ("faces", "words")]))
    source = ArraySource(folder / "images.npy")
    shown = shown_images(source.ids, drawn=["words", "faces"] * 3)
    patterns = [{roi: RANDOM.normal(size=(6, 9)) for roi in ("V1", "PPA / x")} for _ in range(2)]
    measure = measure_of("rdm")
    own = [{roi: measure.triangle(some) for roi, some in mine.items()} for mine in patterns]
    subjects = [Subject(golden.folder, golden.subject) for golden in (overlay, complement)]
    study = Study(subjects, folder, measure, 6, list(own[0]), own, patterns, {}, {}, [])
    dissimilarities_section(study, shown, source)
    return study, shown, [1 - np.corrcoef(np.array(mine["V1"])) for mine in patterns]


@pytest.mark.nightly
def test_matrices_are_saved_with_their_names(drawn: tuple[Study, ShownImages, list[np.ndarray]]) -> None:
    study, _, expected = drawn
    for number, matrix in enumerate(expected, 1):
        folder = study.output / f"subj{number:02d}" / "dissimilarities"
        np.testing.assert_allclose(np.load(folder / "V1.npy"), matrix, atol=1e-12)
        assert (folder / "PPA-x.npy").is_file()
        assert (folder / "images.csv").read_text().splitlines()[:2] == ["row,image,category", "0,0,words"]


@pytest.mark.nightly
def test_the_figure_has_the_mean_in_the_order_of_categories(
    drawn: tuple[Study, ShownImages, list[np.ndarray]],
) -> None:
    study, _, expected = drawn
    header, *rows = check_figure(study.output / "dissimilarities.png")
    order = [0, 2, 4, 1, 3, 5]
    assert header == ["roi", "image", *map(str, order)]
    numbers = np.array([[float(cell) for cell in row[2:]] for row in rows if row[0] == "V1"])
    np.testing.assert_allclose(numbers, np.mean(expected, axis=0)[np.ix_(order, order)], atol=1e-5)


@pytest.mark.nightly
def test_planes_and_trees_have_their_numbers(drawn: tuple[Study, ShownImages, list[np.ndarray]]) -> None:
    study, _, expected = drawn
    _, *rows = check_figure(study.output / "scaling.png")
    points = np.array([[float(cell) for cell in row[3:5]] for row in rows if row[0] == "V1"])
    mean = np.mean(expected, axis=0)[np.triu_indices(6, 1)]
    distances = pdist(points)
    stress = np.sqrt(((distances - mean) ** 2).sum() / (distances**2).sum())
    assert float(rows[0][5]) == pytest.approx(stress, rel=1e-3)
    assert [row[2] for row in rows[:2]] == ["words", "faces"]
    header, *merges = check_figure(study.output / "trees.png")
    assert header == ["roi", "merge", "first", "second", "dissimilarity", "images"]
    heights = [float(row[4]) for row in merges if row[0] == "V1"]
    assert heights[0] == pytest.approx(mean.min(), rel=1e-5)
    assert [row[5] for row in merges if row[0] == "V1"][-1] == "6"


def test_thumbnails_are_the_images(tmp_path: Path) -> None:
    blocks = np.zeros((5, 3, 64, 64), np.uint8)
    blocks[:, 0, :32] = np.arange(5, dtype=np.uint8)[:, None, None] * 50
    np.save(tmp_path / "a.npy", blocks)
    found = read_thumbnails(ArraySource(tmp_path / "a.npy"), [4, 1], side=8)
    assert found.shape == (2, 8, 8, 3)
    assert found[0, 0, 0].tolist() == [200, 0, 0]
    assert found[1, 7, 7].tolist() == [0, 0, 0]
    assert shrunk(blocks[:0]).shape[0] == 0
