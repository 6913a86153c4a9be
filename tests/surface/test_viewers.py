"""Files for other viewers: read by nibabel, with the values and regions that were given."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import cifti2, gifti
from nibabel.freesurfer import read_annot, read_label
from typer.testing import CliRunner

import berg_jax
from berg_jax import surface
from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError, ModelNotFoundError
from berg_jax.surface.cifti import FS_LR
from berg_jax.vertices import Vertices

from .test_page import SIZE, array, drawn


def cifti_values(path: Path) -> dict[str, np.ndarray]:
    """Values of every fs_LR vertex of each hemisphere, NaN where the file has none."""
    image = cifti2.load(path)
    found = {}
    for name, rows, model in image.header.get_axis(1).iter_structures():
        values = np.full(model.nvertices[name], np.nan)
        values[model.vertex] = image.get_fdata()[0, rows]
        found[name] = values
    return found


def test_cifti_on_fs_lr(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=2 * FS_LR)
    values[[0, 5, FS_LR + 7]] = np.nan  # the medial wall
    (path,) = surface.save(values, tmp_path / "map.dscalar.nii")
    found = cifti_values(path)
    np.testing.assert_array_equal(found["CIFTI_STRUCTURE_CORTEX_LEFT"], values[:FS_LR].astype(np.float32))
    np.testing.assert_array_equal(found["CIFTI_STRUCTURE_CORTEX_RIGHT"], values[FS_LR:].astype(np.float32))
    axis = cifti2.load(path).header.get_axis(0)
    assert (axis.name[0], axis.meta[0]) == ("map", {"resampling": "none"})
    few = Vertices([], [3, 9], FS_LR)
    (path,) = surface.save([1.0, 2.0], tmp_path / "few.dscalar.nii", few)
    found = cifti_values(path)
    assert list(found) == ["CIFTI_STRUCTURE_CORTEX_RIGHT"]
    np.testing.assert_array_equal(found["CIFTI_STRUCTURE_CORTEX_RIGHT"][[3, 9]], [1, 2])


def sphere(path: Path, points: np.ndarray) -> Path:
    faces = np.array([[0, 1, 2]], np.int32)
    arrays = [
        gifti.GiftiDataArray(points.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
        gifti.GiftiDataArray(faces, intent="NIFTI_INTENT_TRIANGLE"),
    ]
    nibabel.GiftiImage(darrays=arrays).to_filename(path)
    return path


def directions(count: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_cifti_takes_the_nearest_vertex_on_the_sphere(tmp_path: Path) -> None:
    """A map of another mesh and two spheres, of other radii → the largest cosine by a plain product."""
    source, target = directions(642, 0), directions(FS_LR, 1)
    pair = sphere(tmp_path / "s.surf.gii", 100 * source), sphere(tmp_path / "t.surf.gii", 7 * target)
    values = np.random.default_rng(2).normal(size=2 * 642)
    (path,) = surface.save(values, tmp_path / "m.dscalar.nii", spheres={"lh": pair, "rh": pair})
    nearest = (target @ source.T).argmax(1)
    found = cifti_values(path)
    for name, half in zip(("LEFT", "RIGHT"), values.reshape(2, 642), strict=True):
        np.testing.assert_array_equal(found[f"CIFTI_STRUCTURE_CORTEX_{name}"], half[nearest].astype(np.float32))
    assert cifti2.load(path).header.get_axis(0).meta[0]["resampling"] == "nearest vertex on the sphere"
    for spheres, kind, said in (
        (None, InvalidParameterError, "642, which looks like a hemisphere of fsaverage3. Give spheres"),
        ({"lh": pair}, InvalidParameterError, "spheres lack 'rh'"),
        ({"lh": pair[::-1], "rh": pair}, InvalidParameterError, "32,492 vertices.*expected 642"),
        ({"lh": (tmp_path / "none.surf.gii", pair[1]), "rh": pair}, ModelNotFoundError, "no file"),
    ):
        with pytest.raises(kind, match=said):
            surface.save(values, tmp_path / "n.dscalar.nii", spheres=spheres)
    with pytest.raises(InvalidParameterError, match=r"spheres are for \.dscalar\.nii"):
        surface.save(values, tmp_path / "n.mgz", spheres={"lh": pair, "rh": pair})


REGIONS = {"FFA-1": Vertices([4, 2], [7], 642), "a/b": Vertices([9], [], 642)}


def test_annotations_hold_each_region(tmp_path: Path) -> None:
    left, right = surface.save_annot(REGIONS, tmp_path / "x.annot", colors={"FFA-1": (10, 20, 30)})
    labels, table, names = read_annot(left)
    assert names == [b"FFA-1", b"a/b"]
    expected = np.full(642, -1)
    expected[[2, 4]], expected[9] = 0, 1
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(table[0, :3], [10, 20, 30])
    np.testing.assert_array_equal(np.flatnonzero(read_annot(right)[0] == 0), [7])
    both = {**REGIONS, "V1": Vertices([9, 11], [], 642)}
    with pytest.raises(InvalidParameterError, match="'V1' and 'a/b' share vertices"):
        surface.save_annot(both, tmp_path / "y.annot")
    left, _ = surface.save_annot(both, tmp_path / "y.annot", overlap="first")
    np.testing.assert_array_equal(np.flatnonzero(read_annot(left)[0] == 2), [11])
    many = {str(number): Vertices([number], [], 642) for number in range(100)}
    left, _ = surface.save_annot(many, tmp_path / "z.annot")  # a hundred colors, all different
    np.testing.assert_array_equal(read_annot(left)[0][:101], [*range(100), -1])
    for regions, options, said in (
        ({}, {}, "at least one"),
        ({**REGIONS, "x": Vertices([1], [], 2562)}, {}, "of one mesh"),
        (REGIONS, {"colors": {"PPA": (0, 0, 0)}}, "which are no regions"),
        (REGIONS, {"colors": dict.fromkeys(REGIONS, (1, 2, 3))}, "differ between regions"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            surface.save_annot(regions, tmp_path / "w.annot", **options)


def test_labels_hold_each_region(tmp_path: Path) -> None:
    files = surface.save_labels(REGIONS, tmp_path / "labels")
    assert [file.name for file in files] == ["lh.FFA-1.label", "rh.FFA-1.label", "lh.a_b.label"]
    np.testing.assert_array_equal(read_label(files[0]), [2, 4])
    np.testing.assert_array_equal(read_label(files[2]), [9])


def test_rois_are_exported_by_a_command(demo: Path, tmp_path: Path) -> None:
    subject = berg_jax.Subject("demo", 1)
    arguments = ["export-rois", "--berg-dir", "demo", "--subject", "1", "--output"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "r.annot"), "--roi", "FFA-1", "--roi", "PPA"])
    assert result.exit_code == 0, result.output
    labels, _, names = read_annot(tmp_path / "rh.r.annot")
    assert names == [b"FFA-1", b"PPA"]
    np.testing.assert_array_equal(np.flatnonzero(labels == 1), subject.vertices("PPA").rh)
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "labels")])
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read_label(tmp_path / "labels" / "lh.hV4.label"), subject.vertices("hV4").lh)


def test_pycortex_s_arrays() -> None:
    values = np.arange(2 * SIZE, dtype=float)
    found = surface.to_pycortex(values)
    assert found.dtype == np.float32
    left, right = found.reshape(2, 163_842)
    np.testing.assert_array_equal(left[:SIZE], values[:SIZE])
    np.testing.assert_array_equal(right[:SIZE], values[SIZE:])
    assert np.isnan(left[SIZE:]).all()
    fine = surface.to_pycortex([5.0], Vertices([], [163_841], 163_842))
    assert fine[-1] == 5
    with pytest.raises(InvalidParameterError, match="fs_LR"):
        surface.to_pycortex(np.zeros(2 * FS_LR))


def test_angles_on_a_page_have_cyclic_colors() -> None:
    """−180° and 180° look the same, and the scale is the whole circle, whatever the angles."""
    angles = np.linspace(-180, 180, 2 * SIZE)
    page = surface.html({"size": abs(angles), "angle": angles / 2}, angles=["angle"])
    changed = [json.loads(text) for text in re.findall(r'"args":(\[\{.*?\},\[0,1,2\]\])', page)]
    ends = [(update["marker.cmin"][2], update["marker.cmax"][2]) for update, _ in changed]
    assert ends[1] == (-180, 180)
    assert ends[0][0] == 0
    shades = [update["marker.colorscale"][2] for update, _ in changed]
    first, last = (np.array([re.findall(r"\d+", own[end][1]) for own in shades], int) for end in (0, -1))
    assert abs(first - last).max(1)[1] < 30 < abs(first - last).max(1)[0]
    with pytest.raises(InvalidParameterError, match=r"angles names \['x'\]; the maps are \['size'\]"):
        surface.html({"size": angles}, angles=["x"])


def test_a_page_switches_between_maps() -> None:
    """Two maps → the first is drawn; the menu's entries hold each map's colors, texts and scale."""
    first, second = np.linspace(-2, 2, 2 * SIZE), np.linspace(0, 9, 2 * SIZE)
    page = surface.html({"faces": first, "<places>": second})
    alone = [drawn(surface.html(values, label="x"))[:3] for values in (first, second)]
    shown = drawn(page)
    np.testing.assert_array_equal(array(shown[0]["vertexcolor"]), array(alone[0][0]["vertexcolor"]))
    assert shown[2]["marker"]["colorbar"]["title"]["text"] == "faces"
    buttons = surface.page._menu(
        {name: surface.page._Map(surface.spaces.to_fsaverage5(v, SIZE), SIZE) for name, v in (("a", first),)},
        {"a": surface.colors.color_scale(first, None, None)},
    )["buttons"]
    assert buttons[0]["args"][1] == [0, 1, 2]
    assert page.count('"method":"restyle"') == 2
    assert "<places>" not in page
    assert "&lt;places&gt;" in page or "\\u0026lt;places\\u0026gt;" in page
    with pytest.raises(InvalidParameterError, match="no value of 'b'"):
        surface.html({"a": first, "b": np.full(2 * SIZE, np.nan)})
    with pytest.raises(InvalidParameterError, match="empty mapping"):
        surface.html({})
