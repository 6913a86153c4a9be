"""Representations: matrices agree with scipy's, planted geometries are found, searchlights keep to a hemisphere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nilearn.datasets import fetch_surf_fsaverage
from PIL import Image
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution, Selection
from berg_jax.cli.app import app
from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError, ValidationError
from berg_jax.experiments.representations.dissimilarity import dissimilarities, from_square, similarities
from berg_jax.experiments.representations.experiment import compare_representations
from berg_jax.experiments.representations.searchlight import neighborhoods, searchlights
from berg_jax.vertices import Vertices

SIZE = 642


def test_matrices_agree_with_scipy_s() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(2, 3, (9, 30)), random.normal(size=(9, 12)).round(1)
    rdm_a, rdm_b = dissimilarities(a), dissimilarities(b)
    np.testing.assert_allclose(rdm_a, pdist(a, "correlation"), atol=1e-12)
    np.testing.assert_array_equal(from_square(squareform(rdm_a), "x"), rdm_a)
    expected = stats.spearmanr(rdm_a, rdm_b).statistic
    np.testing.assert_allclose(similarities({"a": rdm_a, "b": rdm_b}), [[1, expected], [expected, 1]], atol=1e-12)
    tied = np.repeat([0.0, 1.0], 18)
    np.testing.assert_allclose(similarities({"a": rdm_a, "t": tied})[0, 1], stats.spearmanr(rdm_a, tied).statistic)


def test_a_planted_geometry_is_found() -> None:
    """Regions that read the same latent causes are aligned, whatever their vertices; others are not."""
    random = np.random.default_rng(0)
    causes = random.normal(size=(2, 40, 5))
    seen = [causes[k] @ random.normal(size=(5, 3000)) for k in (0, 0, 1)]
    truth = pdist(causes[0], "cosine")  # what the correlation over many random mixtures tends to
    np.testing.assert_allclose(dissimilarities(seen[0]), truth, atol=0.1)
    alike = similarities({str(k): dissimilarities(region) for k, region in enumerate(seen)})
    assert alike[0, 1] > 0.98
    assert abs(alike[0, 2]) < 0.2


def test_what_does_not_vary_is_not_a_number() -> None:
    patterns = np.random.default_rng(0).normal(size=(5, 4))
    patterns[2] = 1
    broken = dissimilarities(patterns)
    assert np.isnan(broken).sum() == 4
    found = similarities({"a": broken, "b": np.arange(10.0)})
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1, 1], 1)
    for shape in ((3, 5), (5, 1), (5,)):
        with pytest.raises(InvalidParameterError, match="at least 4 images and 2 features"):
            dissimilarities(np.zeros(shape))


def test_matrices_that_are_none() -> None:
    correlation = np.corrcoef(np.random.default_rng(0).normal(size=(5, 9)))
    for matrix, said in (
        (correlation, "looks like similarities: give 1 minus them"),
        (np.zeros((4, 5)), "symmetric matrix of dissimilarities"),
        (np.triu(np.ones((4, 4)), 1), "symmetric"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            from_square(matrix, "x")


def sphere(hemisphere: str) -> np.ndarray:
    side = {"lh": "left", "rh": "right"}[hemisphere]
    return nibabel.load(fetch_surf_fsaverage()[f"sphere_{side}"]).darrays[0].data.astype(float)[:SIZE]


def test_neighborhoods_are_the_nearest_of_their_hemisphere() -> None:
    random = np.random.default_rng(0)
    vertices = Vertices(random.permutation(SIZE)[:50], random.permutation(SIZE)[:70], SIZE)
    found = np.stack(list(neighborhoods(vertices, 6)))
    assert found.shape == (120, 6)
    np.testing.assert_array_equal(found[:, 0], np.arange(120))
    assert found[:50].max() < 50 <= found[50:].min()
    for column, hemisphere, chosen, before in ((3, "lh", vertices.lh, 0), (90, "rh", vertices.rh, 50)):
        points = sphere(hemisphere)[chosen]
        distance = np.linalg.norm(points - points[column - before], axis=1)
        assert set(found[column] - before) == set(np.argsort(distance)[:6])


def test_searchlights_find_where_a_geometry_is() -> None:
    """It is planted in a patch of the right hemisphere alone."""
    random = np.random.default_rng(0)
    vertices = Vertices.all(SIZE)
    points = sphere("rh")
    patch = np.argsort(np.linalg.norm(points - points[100], axis=1))[:60]
    causes = random.normal(size=(20, 4))
    responses = random.normal(size=(20, 2 * SIZE))
    responses[:, SIZE + patch] = causes @ random.normal(size=(4, 60))
    maps = searchlights(responses, vertices, 20, {"planted": pdist(causes, "cosine")})
    values = maps["planted"].reshape(2, SIZE)
    near = list(neighborhoods(vertices, 20))[SIZE + 100]
    expected = stats.spearmanr(pdist(causes, "cosine"), pdist(responses[:, near], "correlation")).statistic
    np.testing.assert_allclose(values[1, 100], expected, atol=1e-12)
    assert values[1, 100] > 0.8
    assert np.isin(values[1].argmax(), patch)
    assert values[0].max() < 0.6
    for size, k, said in ((32_492, 5, "hemisphere of fs_LR 32k"), (SIZE, 900, "got 900"), (SIZE, 1, "got 1")):
        with pytest.raises(InvalidParameterError, match=said):
            next(neighborhoods(Vertices(np.arange(500), [], size), k))


@pytest.mark.nightly
def test_the_command_on_the_demo(demo: Path, tmp_path: Path) -> None:
    """Areas that prefer one category represent images alike."""
    bodies = np.repeat(np.arange(5) == 1, 8)
    apart = (bodies[:, None] != bodies).astype(float)
    np.save(tmp_path / "bodies.npy", apart)
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).normal(size=(40, 10, 2)))
    command = ["rsa", "--berg-dir", "demo", "--subject", "1", "--output", str(tmp_path / "out"), "--min-ncsnr", "0.3"]
    for roi in ("FFA-1", "FFA-2", "PPA", "OPA"):
        command += ["--roi", roi]
    command += ["--matrix", f"bodies={tmp_path / 'bodies.npy'}", "--features", f"noise={tmp_path / 'noise.npy'}"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "SYNTHETIC" in result.output
    with np.load(tmp_path / "out" / "similarities.npz") as found:
        matrix, names = found["matrix"], found["names"].tolist()
        assert found["subjects"].shape == (1, 1, 4)
    assert names == ["FFA-1", "FFA-2", "PPA", "OPA", "noise", "bodies"]
    np.testing.assert_allclose(np.diagonal(matrix), 1)
    assert matrix[0, 1] > matrix[0, 2:4].max() + 0.2
    assert matrix[2, 3] > matrix[2, :2].max() + 0.2
    assert abs(matrix[names.index("noise"), :4]).max() < 0.2
    with Image.open(tmp_path / "out" / "similarities.png") as picture:
        assert min(picture.size) > 300
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure>") == 5
    assert "<td>FFA-1</td><td>FFA-2</td>" in page
    assert "n = 40 images, 1 subject" in page
    (ffa, *_) = json.loads((tmp_path / "out" / "results.json").read_text())["most alike"]
    assert (ffa["name"], ffa["nearest"], ffa["alike"], ffa["images"]) == ("FFA-1", "FFA-2", None, 40)
    assert ffa["over_images"][0] < ffa["correlation"] < ffa["over_images"][1]
    assert ffa["p"] == 1 / 1001


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"rois": ["V9"]}, InvalidParameterError, "Invalid ROI"),
        ({"subjects": []}, InvalidParameterError, "one or more subjects"),
        ({"searchlight": 10}, InvalidParameterError, "needs features or matrices"),
        ({"searchlight": 10**6, "matrices": {"a": "rdm.npy"}}, InvalidParameterError, "got 1000000"),
        ({"searchlight": 1, "matrices": {"a": "rdm.npy"}}, InvalidParameterError, "got 1"),
        ({"images": "three.npy"}, InvalidParameterError, "needs at least 4 images, got 3"),
        ({"features": {"a": "none.npy"}}, ModelNotFoundError, "no file none.npy"),
        ({"features": {"a": "short.npy"}}, InvalidParameterError, "each of the 40 images, got float64 of shape"),
        ({"features": {"V1": "long.npy"}}, InvalidParameterError, "names of ROIs and of features"),
        ({"features": {"a/b": "long.npy"}}, InvalidParameterError, "without slashes"),
        ({"features": {"a": "long.npy"}, "matrices": {"a": "long.npy"}}, InvalidParameterError, "Rename them"),
        ({"features": {"a": "flat.npy"}}, InvalidParameterError, "NaN: an image's features do not vary"),
        ({"matrices": {"a": "long.npy"}}, InvalidParameterError, "symmetric matrix"),
        ({"matrices": {"a": "bad.npy"}}, ValidationError, "cannot be read"),
    ],
)
def test_mistakes(
    options: dict[str, Any],
    kind: type[BERGError],
    said: str,
    demo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("short.npy", np.zeros((3, 5)))
    np.save("long.npy", np.random.default_rng(0).normal(size=(40, 5)))
    np.save("flat.npy", np.zeros((40, 5)))
    np.save("rdm.npy", 1 - np.eye(40))
    np.save("three.npy", np.zeros((3, 3, 224, 224), np.uint8))
    Path("bad.npy").write_bytes(b"no array")
    with pytest.raises(kind, match=said):
        compare_representations(output=tmp_path / "out", **{"subjects": [berg_jax.Subject("demo", 1)], **options})
    assert not (tmp_path / "out").exists()


@pytest.mark.nightly
def test_searchlights_and_two_subjects(demo: Path, tmp_path: Path) -> None:
    faces = np.repeat(np.arange(5) == 0, 8)
    np.save(tmp_path / "faces.npy", (faces[:, None] != faces).astype(float))
    options: dict[str, Any] = {
        "matrices": {"faces": tmp_path / "faces.npy"},
        "selection": Selection(min_ncsnr=0.3),
        "execution": Execution(show_progress=False),
    }
    subjects = [berg_jax.Subject("demo", number) for number in (1, 2)]
    said = compare_representations(subjects, tmp_path / "out", searchlight=30, **options)
    assert "between subjects" in said
    for row in json.loads((tmp_path / "out" / "results.json").read_text())["most alike"]:
        assert (row["between"] is None) == (row["between_over_images"] is None) == (row["name"] == "faces")
        assert row["over_subjects"] == [None, None]  # two are too few
    with np.load(tmp_path / "out" / "similarities.npz") as found:
        assert found["subjects"].shape == (2, 2, len(found["rois"]))
        assert found["subjects"][0, 1].min() > 0.2
    for subject in ("subj01", "subj02"):
        with np.load(tmp_path / "out" / subject / "maps.npz") as maps:
            assert len(maps["faces"]) == len(maps["lh"]) + len(maps["rh"])
            assert not np.isnan(maps["faces"]).any()
        with Image.open(tmp_path / "out" / subject / "faces.png") as picture:
            assert picture.width == 1350
