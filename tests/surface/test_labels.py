"""Names on pictures: at their own region, not over another, not cut off, and none where there is no room."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from nilearn.datasets import fetch_surf_fsaverage
from nilearn.surface import load_surf_mesh
from PIL import Image

from berg_jax import surface
from berg_jax.experiments.reporting.pictures import draw_table
from berg_jax.surface.labels import Region, place_names
from berg_jax.vertices import Vertices

BOUNDS = np.zeros(2), np.array([200.0, 100.0])


def disc(x: float, y: float, radius: float) -> Region:
    angles = np.linspace(0, 2 * np.pi, max(8, int(radius * 8)))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner = np.concatenate([circle * share for share in np.linspace(0, 0.9, 10)])
    return Region(np.array([x, y]) + radius * inner, np.array([x, y]) + radius * circle)


def test_large_regions_hold_their_names_and_small_ones_have_them_beside() -> None:
    large, small, hidden = disc(50, 50, 20), disc(120, 50, 3), Region(np.zeros((0, 2)), np.ones((3, 2)))
    names = {name.index: name for name in place_names([large, small, hidden], np.full((3, 2), [15.0, 6.0]), BOUNDS)}
    assert sorted(names) == [0, 1]
    np.testing.assert_allclose(names[0].middle, (50, 50), atol=1)
    assert names[0].target is None
    assert 6 < np.linalg.norm(names[1].middle - (120, 50)) < 14
    np.testing.assert_allclose(np.linalg.norm(names[1].target - np.array([120, 50])), 3, atol=1e-6)


def test_names_neither_meet_nor_cover_outlines_nor_leave_the_picture() -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        places = random.uniform((5, 5), (195, 95), (14, 2))
        regions = [disc(*place, radius) for place, radius in zip(places, random.uniform(2, 12, 14), strict=True)]
        sizes = np.stack([random.uniform(8, 25, 14), np.full(14, 6.0)], axis=1)
        names = place_names(regions, sizes, BOUNDS)
        assert len(names) >= 7
        outlines = np.concatenate([region.outline for region in regions])
        corners = [(n.middle - sizes[n.index] / 2, n.middle + sizes[n.index] / 2) for n in names]
        for low, high in corners:
            assert (low >= 0).all()
            assert (high <= BOUNDS[1]).all()
            assert not ((outlines > low) & (outlines < high)).all(1).any()
        for (low, high), (other_low, other_high) in itertools.combinations(corners, 2):
            assert (low >= other_high).any() or (other_low >= high).any()
        for name in names:
            if name.target is not None:
                assert np.linalg.norm(regions[name.index].outline - name.target, axis=1).min() == 0


def test_without_room_there_is_no_name() -> None:
    assert place_names([disc(50, 50, 3)], np.array([[300.0, 6.0]]), BOUNDS) == []
    assert place_names([], np.zeros((0, 2)), BOUNDS) == []


@pytest.mark.parametrize(("hemisphere", "side", "sign"), [("lh", "left", -1), ("rh", "right", 1)])
def test_a_picture_names_what_it_shows(hemisphere: str, side: str, sign: int) -> None:
    """A lateral region is named in the lateral row, at its own hemisphere's place, and not in the medial one."""
    points = load_surf_mesh(fetch_surf_fsaverage()[f"infl_{side}"]).coordinates
    near = np.argsort(np.linalg.norm(points - (sign * 60, points[:, 1].mean(), 0), axis=1))[:300]
    lh, rh = (near if name == hemisphere else np.array([], np.int64) for name in ("lh", "rh"))
    region = Vertices(lh, rh, 10_242)
    figure = surface.plot(
        np.ones(300), region, views=("medial", "lateral"), flat=False, outlines={r"V$\frac$": region}
    )
    names = [text for text in figure.axes[0].texts if text.get_text() == r"V$\frac$"]
    assert len(names) == 1
    x, y = names[0].get_position()
    assert np.sign(x) == sign
    row = next(text for text in figure.axes[0].texts if text.get_text() == "lateral")
    assert abs(y - row.get_position()[1]) < 60
    figure.canvas.draw()  # and the sign that begins mathematics is drawn as it is


def test_tables_take_any_names(tmp_path: Path) -> None:
    draw_table(
        np.eye(12), [r"$\frac$", *"abcdefghijk"], [r"$x", *"abcdefghijk"], "$z$", tmp_path / "x.png", title="$"
    )
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width < 1400
