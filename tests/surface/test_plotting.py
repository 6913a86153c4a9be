"""Pictures of the cortex: what is colored where."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from matplotlib.colors import ListedColormap
from matplotlib.text import Text
from PIL import Image

import berg_jax
from berg_jax import surface
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.surface import drawing, meshes, spaces, views
from berg_jax.vertices import Vertices

from .pictures import LATERAL, ONES, SIZE, colored, coordinates, halves, pixels

SOME = Vertices([1, 2], [3], SIZE)


def test_each_hemisphere_colors_its_own_half(smooth: np.ndarray) -> None:
    for own, other in ((0, 1), (1, 0)):
        values = smooth.reshape(2, SIZE).copy()
        values[other] = np.nan
        parts = halves(pixels(surface.plot(values.ravel(), **LATERAL)))
        assert colored(parts[own]).mean() > 0.4
        assert not colored(parts[other]).any()
        assert (parts[other] < 250).any(-1).mean() > 0.4  # the grey hemisphere is there


def test_chosen_vertices_stand_where_they_belong(smooth: np.ndarray) -> None:
    random = np.random.default_rng(0)
    vertices = Vertices(random.permutation(SIZE)[:3000], random.permutation(SIZE)[:2000], SIZE)
    values = np.concatenate([smooth[:SIZE][vertices.lh], smooth[SIZE:][vertices.rh]])
    whole = np.full(2 * SIZE, np.nan)
    whole[vertices.lh], whole[SIZE + vertices.rh] = values[:3000], values[3000:]
    one, two = surface.plot(values, vertices, **LATERAL), surface.plot(whole, **LATERAL)
    np.testing.assert_array_equal(pixels(one), pixels(two))


# Where the hindmost, the uppermost and the outermost vertices of the left hemisphere are in its pictures: to the
# (right, top), toward the viewer or behind. The right hemisphere's pictures are mirror images.
SIDES: dict[str, tuple[Any, Any, Any]] = {
    "lateral": ((1, 0), (0, 1), "front"),
    "medial": ((-1, 0), (0, 1), "behind"),
    "ventral": ((1, 0), "behind", (0, 1)),
    "dorsal": ((1, 0), "front", (0, -1)),
    "posterior": ("front", (0, 1), (-1, 0)),
    "anterior": ("behind", (0, 1), (1, 0)),
    "flat": ((1, 0), (0, 1), "front"),
}


@pytest.mark.parametrize(
    "rows",
    [
        ["lateral", "ventral", "medial", "flat"],
        pytest.param(["dorsal", "posterior", "anterior"], marks=pytest.mark.nightly),
    ],
)
def test_rows_show_the_sides_that_they_are_named_after(rows: list[str]) -> None:
    """The hindmost vertices are painted red, the uppermost ones green, the outermost ones blue."""
    values = np.full((2, SIZE), np.nan)
    for row, hemisphere, outward in zip(values, ("lh", "rh"), (-1, 1), strict=True):
        x, y, z = coordinates(hemisphere, "infl").T
        for measure, value in ((-y, 0.5), (z, 1.5), (outward * x, 2.5)):
            row[np.argsort(measure)[-100:]] = value
    colormap = ListedColormap(["#ff0000", "#00ff00", "#0000ff"])
    views = [row for row in rows if row != "flat"]
    figure = surface.plot(values.ravel(), views=views, flat="flat" in rows, limit=3, colormap=colormap)
    names = [text.get_text() for text in figure.axes[0].texts if text.get_rotation() == 90]
    assert names == rows
    image = pixels(figure)
    blank = (image[:, 40:] > 250).all((1, 2))
    borders = np.flatnonzero(np.diff(blank)) + 1
    strips = [image[top:bottom] for top, bottom in itertools.pairwise(borders) if not blank[top]][1:]
    assert len(strips) == len(rows)
    for name, strip in zip(rows, strips, strict=True):
        for part, mirror in zip(halves(strip), (1, -1), strict=True):
            brain = np.argwhere((part < 250).any(-1))
            center, extent = (brain.min(0) + brain.max(0)) / 2, np.ptp(brain, axis=0) / 2
            for channel, side in enumerate(SIDES[name]):
                painted = np.argwhere(part[..., channel] > np.delete(part, channel, axis=-1).max(-1) + 60)
                if side == "behind":
                    assert len(painted) < 10, (name, channel)
                    continue
                assert len(painted) > 100, (name, channel)
                place = ((painted.mean(0) - center) / extent)[::-1] * (mirror, -1)
                if side == "front":
                    assert abs(place).max() < 0.75, (name, channel)
                else:
                    assert place @ side > 0.6, (name, channel)


@pytest.mark.parametrize("hemisphere", ["lh", "rh"])
def test_the_close_up_holds_early_areas_whole(hemisphere: str) -> None:
    """V1 to hV4 are all in front, none folded over another, with the upper vertices up, and no frontal lobe."""
    points, faces, *_ = views.project(hemisphere, "occipital")
    seen, height = np.unique(faces), coordinates(hemisphere, "sphere")[:, 2]
    early = getattr(berg_jax.Subject("demo", 1).vertices("V1 + V2 + V3 + hV4"), hemisphere)
    assert np.isin(early, seen).all()
    assert np.corrcoef(points[early, 1], height[early])[0, 1] > 0.9
    assert coordinates(hemisphere)[seen, 1].max() < 0
    first, second, third = points[faces, :2].swapaxes(0, 1)
    (a, b), (c, d) = (second - first).T, (third - first).T
    assert (a * d - b * c > 0).all()


def test_pictures_are_as_wide_as_a_column_and_can_be_read(smooth: np.ndarray) -> None:
    regions = {"V1": Vertices(np.arange(300), [], SIZE)}
    options: dict[str, Any] = {"title": "T " * 60, "subtitle": "subject 1 · V1 · n = 3", "note": "n"}
    figure = surface.plot(smooth, **LATERAL, outlines=regions, **options)
    assert figure.get_figwidth() == pytest.approx(89 / 25.4)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert {"V1", "lateral", "subject 1 · V1 · n = 3"} <= {text.get_text() for text in texts}
    assert min(text.get_size() for text in texts) >= 6
    figure.canvas.draw()
    inside = figure.bbox.padded(1)
    for text in texts:
        box = text.get_window_extent()
        assert inside.contains(*box.min), text
        assert inside.contains(*box.max), text


def test_finer_meshes_show_their_first_vertices(smooth: np.ndarray) -> None:
    expected = pixels(surface.plot(smooth, **LATERAL))
    fine = np.random.default_rng(0).normal(size=(2, 163_842))
    fine[:, :SIZE] = smooth.reshape(2, SIZE)
    figure = surface.plot(fine.ravel(), **LATERAL)
    np.testing.assert_array_equal(pixels(figure), expected)
    assert "fsaverage5 subset of fsaverage" in [text.get_text() for text in figure.axes[0].texts]
    lh, rh = spaces.to_fsaverage5(np.arange(2 * 40_962), 40_962)
    np.testing.assert_array_equal(lh, np.arange(SIZE))
    np.testing.assert_array_equal(rh, 40_962 + np.arange(SIZE))


@pytest.mark.parametrize("size", [642, 2562])
def test_coarser_meshes_show_the_nearest_vertex(size: int) -> None:
    chosen = spaces.to_fsaverage5(np.arange(2 * size), size)
    for hemisphere, indices, first in zip(("lh", "rh"), chosen, (0, size), strict=True):
        indices = indices - first
        np.testing.assert_array_equal(indices[:size], np.arange(size))
        points = coordinates(hemisphere, "sphere")
        some = np.random.default_rng(0).choice(SIZE, 300, replace=False)
        distances = np.linalg.norm(points[some, None] - points[:size], axis=-1)
        np.testing.assert_allclose(distances[np.arange(300), indices[some]], distances.min(1), rtol=1e-6)
    masked = surface.plot(np.r_[np.full(size, np.nan), np.ones(size)], views=(), flat=True)
    assert any("nearest" in text.get_text() for text in masked.axes[0].texts)


def test_what_lies_behind_is_not_seen() -> None:
    """In the ventral view the temporal lobe covers a part of the frontal one: neither values nor outlines show."""
    points, faces, *_ = views.project("lh", "ventral")
    corners = points[faces]
    some = np.random.default_rng(0).choice(len(faces), 400, replace=False)
    over = []  # how far before the face's middle the nearest face above it is
    for x, y, depth in corners[some].mean(1):
        a, b, c = (corners[:, k, :2] - (x, y) for k in range(3))
        sides = [p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((a, b), (b, c), (c, a))]
        above = corners[np.min(sides, axis=0) > 0, :, 2].min(1) - depth
        over.append(above.max())
    hidden = np.array(over) > 0
    assert 20 < hidden.sum() < 100
    np.testing.assert_array_equal(drawing._hidden(corners[some].mean(1), corners), hidden)
    deep = Vertices(np.unique(faces[some[np.array(over) > 30]]), [], SIZE)
    assert len(deep) > 20
    image = pixels(surface.plot(np.ones(len(deep)), deep, views=("ventral",), flat=False))
    assert colored(image).sum() < 100  # corners of faces whose middles are hidden


def test_no_network_and_nothing_left_in_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for cache in (meshes.fsaverage, spaces._nearest, views.project):
        cache.cache_clear()
    before = plt.get_fignums()
    surface.plot(np.ones(2 * 642), views=("ventral",))
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        (".png", b"\x89PNG"),
        pytest.param(".PDF", b"%PDF", marks=pytest.mark.nightly),
        pytest.param(".svg", b"<?xml", marks=pytest.mark.nightly),
    ],
)
def test_pictures_are_saved(suffix: str, start: bytes, smooth: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"brain{suffix}"
    figure = surface.plot(smooth, **LATERAL, title="Title", note="SYNTHETIC weights", output=path)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"Title", "SYNTHETIC weights", "left hemisphere", "right hemisphere", "lateral"} <= set(texts)
    assert path.read_bytes().startswith(start)
    if suffix == ".png":
        with Image.open(path) as image:
            assert image.width == 1350
            assert 0.5 < image.height / image.width < 0.7


@pytest.mark.parametrize("chosen", [False, True])
def test_gifti_round_trip(chosen: bool, tmp_path: Path) -> None:
    size = 80
    values = np.random.default_rng(0).normal(size=2 * size)
    values[3] = np.nan
    expected = values.astype(np.float32)
    if chosen:
        vertices = Vertices([9, 3, 4], [79, 0], size)
        values = values[:5].astype(np.float16)
        expected = np.full(2 * size, np.nan, np.float32)
        expected[[9, 3, 4, size + 79, size]] = values
        paths = surface.write_gifti(values, vertices, path_prefix=tmp_path / "few")
    else:
        paths = surface.write_gifti(values, path_prefix=str(tmp_path / "all"))
    assert [path.name.split(".", 1)[1] for path in paths] == ["lh.func.gii", "rh.func.gii"]
    for path, half, side in zip(paths, expected.reshape(2, size), ("CortexLeft", "CortexRight"), strict=True):
        image = nibabel.load(path)
        (array,) = image.darrays
        assert array.data.dtype == np.float32
        np.testing.assert_array_equal(array.data, half)
        assert image.meta["AnatomicalStructurePrimary"] == side


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((np.ones(2000),), {}, r"642 \(fsaverage3\), 2562 .*163842 \(fsaverage\); got 1000\. .* resample"),
        ((np.ones(2 * SIZE + 1),), {}, "20485 in all.*pass vertices"),
        ((np.ones(4), SOME), {}, "4 values for 3 vertices"),
        ((np.ones(3), [1, 2, 3]), {}, "must be berg_jax.Vertices, .* got list"),
        ((np.ones((1, 2 * SIZE)),), {}, r"got float64 of shape \(1, 20484\).*responses\[0\]"),
        ((np.array(["a", "b"]),), {}, "must be numbers"),
        ((ONES * 1j,), {}, "complex128"),
        ((np.array([]),), {}, "must be numbers of shape"),
        ((ONES * np.nan,), {}, "nothing to show: 0 values"),
        ((np.where(np.arange(2 * SIZE) == 4, -np.inf, 1),), {}, "1 values are infinite"),
        ((np.ones(2), Vertices([SIZE], [SIZE + 1], 163_842)), {}, "nothing to show: 2 values.*first 10242"),
        ((ONES,), {"views": "lateral"}, "views must be a list"),
        ((ONES,), {"views": ("top",)}, "views must be a list of .*'lateral'.*'top'"),
        ((ONES,), {"views": (["lateral"],)}, "views must be"),
        ((ONES,), {"views": (), "flat": False}, "empty only with flat"),
        ((ONES,), {"limit": 0}, "limit must be a positive number, or the two ends .*; got 0"),
        ((ONES,), {"limit": np.nan}, "limit must be"),
        ((ONES,), {"limit": "1"}, "limit must be"),
        ((ONES,), {"limit": True}, "limit must be"),
        ((ONES,), {"limit": (1, -1)}, "limit must be"),
        ((ONES,), {"limit": (0, 1, 2)}, "limit must be"),
        ((ONES,), {"limit": (0, np.inf)}, "limit must be"),
        ((ONES,), {"colormap": "sunset"}, "colormap must be .*'sunset'"),
        ((ONES,), {"colormap": 3}, "colormap must be"),
        ((ONES,), {"outlines": SOME}, "outlines must be {name: Vertices}"),
        ((ONES,), {"outlines": {"V1": np.arange(3)}}, "must be berg_jax.Vertices, .* got ndarray"),
        ((ONES,), {"outlines": {"V1": Vertices([1], [], 642)}}, "hemispheres of 642 vertices"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple, options: dict, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        surface.plot(*arguments, **options)


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match=r"output must end in \.pdf, \.png, \.svg, got '.*brain\.bmp'"):
        surface.plot(ONES, output=tmp_path / "brain.bmp")
    with pytest.raises(ResourceError, match=r"Cannot write .*nowhere/brain\.png"):
        surface.plot(ONES, **LATERAL, output=tmp_path / "nowhere" / "brain.png")
    with pytest.raises(ResourceError, match=r"Cannot write .*nowhere/a\.lh\.func\.gii"):
        surface.write_gifti(ONES, path_prefix=tmp_path / "nowhere" / "a")
    with pytest.raises(InvalidParameterError, match="too large for float32"):
        surface.write_gifti(ONES * 1e300, path_prefix=tmp_path / "a")
    with pytest.raises(InvalidParameterError, match="infinite"):
        surface.write_gifti(ONES * np.inf, path_prefix=tmp_path / "a")
    with pytest.raises(InvalidParameterError, match=r"shape \(20484,\), got \(4,\)"):
        spaces.to_fsaverage5(np.ones(4), SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["matplotlib", "nilearn", "nibabel"])
def test_missing_packages_are_named(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    call = (lambda: surface.write_gifti(ONES, path_prefix=tmp_path / "a")) if package == "nibabel" else surface.plot
    with pytest.raises(ResourceError, match=rf"needs {package}: pip install 'berg_jax\[plot\]'"):
        call(*([] if package == "nibabel" else [ONES]))


def test_importing_is_light() -> None:
    program = (
        "import sys, berg_jax.surface; print({'jax', 'matplotlib', 'nibabel', 'nilearn', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
