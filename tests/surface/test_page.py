"""The page with a brain that can be turned: each hemisphere has its own values, colors and place."""

from __future__ import annotations

import base64
import json
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import matplotlib
import nibabel
import numpy as np
import pytest
from nilearn.datasets import fetch_surf_fsaverage

from berg_jax import surface
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.vertices import Vertices

from .pictures import coordinates

SIZE = 10_242


def drawn(page: str) -> list[dict[str, Any]]:
    """What the page's call of Plotly gives to be drawn."""
    (call,) = re.finditer(r'Plotly\.newPlot\(\s*"[^"]+",\s*(?=\[\{)', page)
    return json.JSONDecoder().raw_decode(page[call.end() :])[0]


def array(value: dict[str, str]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
    return values.reshape([int(n) for n in value["shape"].split(",")]) if "shape" in value else values


@pytest.mark.parametrize("own", [0, 1])
def test_each_hemisphere_has_its_own_values(own: int) -> None:
    values = np.full((2, SIZE), np.nan)
    values[own] = np.linspace(-2, 2, SIZE)
    meshes = drawn(surface.html(values.ravel(), limit=2, label="r"))[:2]
    assert [mesh["name"] for mesh in meshes] == ["lh", "rh"]
    left, right = (array(mesh["x"]) for mesh in meshes)
    assert left.max() < 0 < right.min()
    for index, side in enumerate(("left", "right")):
        original = nibabel.load(fetch_surf_fsaverage()[f"infl_{side}"]).darrays
        np.testing.assert_allclose(array(meshes[index]["z"]), original[0].data[:, 2], rtol=1e-6)
        assert np.ptp(array(meshes[index]["x"]) - original[0].data[:, 0]) < 1e-3
        faces = np.stack([array(meshes[index][corner]) for corner in "ijk"], axis=1)
        np.testing.assert_array_equal(faces, original[1].data)
    colors = [array(mesh["vertexcolor"]).astype(int) for mesh in meshes]
    expected = matplotlib.colormaps["RdBu_r"]((values[own] + 2) / 4)[:, :3]
    np.testing.assert_allclose(colors[own], 255 * expected, atol=1.01)
    assert np.ptp(colors[1 - own], axis=1).max() == 0  # grey
    assert meshes[own]["text"][0] == f"{('lh', 'rh')[own]} 0: -2"


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    few = Vertices([3], [5, 6], SIZE)
    page = surface.html([1, 2, 3], few, title="Three vertices", output=tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == page
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="http', page)
    assert "<h1>Three vertices</h1>" in page
    assert re.fullmatch(r"<berg_jax page, \d\.\d MB>", repr(page))
    (frame,) = re.findall(r'^<iframe srcdoc="([^"]*)" style="[^"]*"></iframe>$', page._repr_html_())
    assert unescape(frame) == page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    bar = drawn(page)[2]["marker"]
    assert (bar["cmin"], bar["colorbar"]["title"]["text"]) == (0, "response (z)")


def test_the_page_says_what_it_shows() -> None:
    """Names of hemispheres at their own side, names as they are, and which mesh is shown of a finer one."""
    fine = Vertices([3], [5, 6], 163_842)
    page = surface.html([1, 2, 3], fine, title="<script>a</script>", label="<b>r", note="SYNTHETIC & <i>")
    assert "<script>a" not in page
    assert "<h1>&lt;script&gt;a&lt;/script&gt;</h1>" in page
    assert "SYNTHETIC &amp; &lt;i&gt; · fsaverage5 subset of fsaverage</p>" in page
    bar, names = drawn(page)[2:]
    assert bar["marker"]["colorbar"]["title"]["text"] == "&lt;b&gt;r"
    assert names["text"] == ["left", "right"]
    left, right = array(names["x"])
    assert left < 0 < right


def opened(page: str) -> np.ndarray:
    """Direction from which a page shows the brain: x right, y front, z up."""
    (eye,) = set(re.findall(r'"eye":(\{[^}]*\})', page))
    place = json.loads(eye)
    return np.array([place["x"], place["y"], place["z"]])


@pytest.mark.parametrize(
    ("hemisphere", "point", "side"),
    [
        ("lh", (-70, -30, 0), (-1, 0, 0)),
        pytest.param("rh", (70, -30, 0), (1, 0, 0), marks=pytest.mark.nightly),
        ("lh", (-40, -50, -30), (0, 0, -1)),
        ("rh", (20, -105, 0), (0, -1, 0)),
        pytest.param("rh", (30, 70, 0), (0, 1, 0), marks=pytest.mark.nightly),
    ],
)
def test_the_page_opens_where_the_values_are(hemisphere: str, point: tuple, side: tuple) -> None:
    index = np.argsort(np.linalg.norm(coordinates(hemisphere) - point, axis=1))[:60]
    vertices = Vertices(index, [], SIZE) if hemisphere == "lh" else Vertices([], index, SIZE)
    eye = opened(surface.html(np.ones(60), vertices))
    assert eye @ side / np.linalg.norm(eye) > 0.8


def test_outlines_of_the_page() -> None:
    """Black lines over wider white ones along the border, a third of an edge outside, and a name at each region."""
    index = np.argsort(np.linalg.norm(coordinates("lh") - (-70, -30, 0), axis=1))[:60]
    page = surface.html(np.ones(60), Vertices(index, [], SIZE), outlines={"<A>": Vertices(index, [], SIZE)})
    assert "<A>" not in page
    halo, line, name = drawn(page)[4:]
    assert (halo["line"]["color"], line["line"]["color"]) == ("white", "black")
    assert halo["line"]["width"] > line["line"]["width"]
    places = np.stack([array(line[axis]) for axis in "xyz"], axis=1)
    places = places[~np.isnan(places).any(1)]
    mesh = np.stack([array(drawn(page)[0][axis]) for axis in "xyz"], axis=1)
    inside = np.isin(np.arange(SIZE), index)
    faces = np.stack([array(drawn(page)[0][corner]) for corner in "ijk"], axis=1)
    mixed = faces[(inside[faces].sum(1) % 3) > 0]
    assert len(places) == 2 * len(mixed)
    nearest = np.linalg.norm(places[:, None] - mesh[np.unique(mixed)], axis=2).min(1)
    assert nearest.max() < 5
    assert name["text"] == ["&lt;A&gt;"]
    with pytest.raises(InvalidParameterError, match="outlines must be"):
        surface.html(np.ones(2 * SIZE), outlines=[1])


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for values, options, said in (
        (np.ones(2 * SIZE), {"output": "x.png"}, "output must end in .html"),
        (np.full(2 * SIZE, np.nan), {}, "nothing to show"),
        (np.ones(64_984), {}, "fs_LR 32k"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            surface.html(values, **options)
    with pytest.raises(ResourceError, match="Cannot write"):
        surface.html(np.ones(2 * SIZE), output=tmp_path / "nowhere" / "x.html")
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ResourceError, match=r"needs plotly: pip install 'berg_jax\[plot\]'"):
        surface.html(np.ones(2 * SIZE))
