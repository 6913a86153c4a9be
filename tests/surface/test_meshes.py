"""Meshes finer than fsaverage5: drawn and searched where nilearn has them, else fsaverage5, and said so.

The meshes are made here, in nilearn's layout: fsaverage5's faces are cut into four, as finer ones are nested in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn.datasets import fetch_surf_fsaverage

from berg_jax import surface
from berg_jax.errors import ResourceError
from berg_jax.experiments.representations.searchlight import neighborhoods, searchable_vertices
from berg_jax.surface import meshes, views
from berg_jax.vertices import Vertices

SIZE = 10_242
FOLDERS = {40_962: "fsaverage6", 163_842: "fsaverage"}


def cut(points: np.ndarray, faces: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Points with the middles of the first faces' edges behind them, and each list of faces cut into four."""
    ends = [np.stack([f, np.roll(f, -1, axis=1)], axis=2).astype(np.int64) for f in faces]
    keys = [e.min(2) * len(points) + e.max(2) for e in ends]
    edges = np.unique(keys[0])
    middles = [len(points) + np.searchsorted(edges, key) for key in keys]
    cut_faces = [
        np.concatenate([np.stack([f[:, k], m[:, k], m[:, k - 1]], axis=1) for k in range(3)] + [m])
        for f, m in zip(faces, middles, strict=True)
    ]
    between = (points[edges // len(points)] + points[edges % len(points)]) / 2
    return np.concatenate([points, between]), cut_faces


def write_mesh(folder: Path, size: int) -> None:
    """A mesh of this size in the folder and under the names that nilearn gives its files."""
    folder.mkdir(parents=True)
    five = fetch_surf_fsaverage()
    for side in ("left", "right"):
        read = {name: nibabel.load(five[f"{name}_{side}"]).darrays for name in ("infl", "sphere", "flat", "sulc")}
        points = np.concatenate(
            [read[n][0].data for n in ("infl", "sphere", "flat")] + [read["sulc"][0].data[:, None]], 1
        )
        faces = [read["infl"][1].data, read["flat"][1].data]
        while len(points) < size:
            points, faces = cut(points.astype(np.float64), faces)
        assert len(points) == size
        for part in ("area", "curv", "pial", "thick", "white"):
            (folder / f"{part}_{side}.gii.gz").write_bytes(b"")
        for at, name in enumerate(("infl", "sphere", "flat")):
            there = points[:, 3 * at : 3 * at + 3].astype(np.float32)
            if name == "sphere":
                there *= 100 / np.linalg.norm(there, axis=1, keepdims=True)
            write(folder / f"{name}_{side}.gii.gz", there, faces[name == "flat"].astype(np.int32))
        write(folder / f"sulc_{side}.gii.gz", points[:, 9].astype(np.float32))


def write(path: Path, data: np.ndarray, faces: np.ndarray | None = None) -> None:
    arrays = [
        nibabel.gifti.GiftiDataArray(
            data, intent="NIFTI_INTENT_POINTSET" if faces is not None else "NIFTI_INTENT_SHAPE"
        )
    ]
    if faces is not None:
        arrays.append(nibabel.gifti.GiftiDataArray(faces, intent="NIFTI_INTENT_TRIANGLE"))
    nibabel.gifti.GiftiImage(darrays=arrays).to_filename(path)


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder for nilearn's data, with nothing in it, and no other one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NILEARN_DATA", os.pathsep.join(map(str, (tmp_path / "none", tmp_path / "data"))))
    monkeypatch.delenv("NILEARN_SHARED_DATA", raising=False)
    yield tmp_path / "data"
    for cache in (meshes.fsaverage, views.project):
        cache.cache_clear()


def picture(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    figure = surface.plot(values, views=("lateral",))
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(float)
    return image, [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.nightly
@pytest.mark.parametrize("size", [40_962, 163_842])
def test_a_finer_mesh_is_drawn_where_it_is(size: int, empty: Path) -> None:
    """Smooth values look alike on both meshes, and the finer one shows what lies between fsaverage5's vertices."""
    write_mesh(empty / FOLDERS[size], size)
    y = np.concatenate([meshes.fsaverage(h, "infl", size).coordinates[:, 1] for h in ("lh", "rh")])
    smooth = 2 + np.sin(y / 15)
    fine, said = picture(smooth)
    assert not [text for text in said if "subset" in text]
    coarse, _ = picture(smooth.reshape(2, size)[:, :SIZE].ravel())
    assert fine.shape == coarse.shape
    assert abs(fine - coarse).mean() < 3
    between = np.full((2, size), np.nan)
    between[0, SIZE:] = 1.0
    shown, _ = picture(between.ravel())
    half = shown.shape[1] // 2
    colored = np.ptp(shown[: shown.shape[0] // 2], axis=-1) > 25
    assert colored[:, :half].mean() > 0.2
    assert not colored[:, half + 20 :].any()
    outline = Vertices(np.arange(SIZE, SIZE + 50), [], size)
    surface.plot(smooth, views=("lateral",), outlines={"x": outline})


def test_without_it_fsaverage5_is_drawn_and_said_so(empty: Path) -> None:
    (empty / "fsaverage").mkdir(parents=True)
    (empty / "fsaverage" / "infl_left.gii.gz").write_bytes(b"")  # a fetch that was broken off
    assert not meshes.is_here(163_842)
    _, said = picture(np.random.default_rng(0).normal(size=2 * 163_842))
    assert "fsaverage5 subset of fsaverage" in said
    with pytest.raises(
        ResourceError, match=r"fsaverage7 are not on this machine.*fetch_surf_fsaverage\('fsaverage7'\)"
    ):
        meshes.fsaverage("lh", "infl", 163_842)


def test_searchlights_on_a_finer_mesh(empty: Path) -> None:
    size = 40_962
    everything = Vertices.all(size)
    kept = searchable_vertices(everything)
    assert (len(kept.lh), len(kept.rh), kept.hemisphere_size) == (SIZE, SIZE, size)
    coarse = [near.tolist() for near, _ in zip(neighborhoods(kept, 10), range(50), strict=False)]
    five = [near.tolist() for near, _ in zip(neighborhoods(Vertices.all(SIZE), 10), range(50), strict=False)]
    assert coarse == five
    with pytest.raises(ResourceError, match="fsaverage6 are not on this machine"):
        next(neighborhoods(everything, 10))
    write_mesh(empty / FOLDERS[size], size)
    assert searchable_vertices(everything) is everything
    points = meshes.fsaverage("lh", "sphere", size).coordinates
    for vertex, near in zip(range(20), neighborhoods(everything, 10), strict=False):
        distances = np.linalg.norm(points - points[vertex], axis=1)
        assert near[0] == vertex
        np.testing.assert_allclose(np.sort(distances[near]), np.sort(distances)[:10], rtol=1e-5)
