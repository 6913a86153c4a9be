"""Trials, features and measured maps that do not lie as the images do: matched by name, or refused."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel import gifti
from scipy.spatial.distance import pdist, squareform

from berg_jax import surface
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ValidationError
from berg_jax.experiments.accuracy.image_names import image_numbers
from berg_jax.experiments.accuracy.trials import read_array
from berg_jax.experiments.localizer.contrasts import design_of
from berg_jax.experiments.representations.given import read_given
from berg_jax.vertices import Vertices

SIZE = 642
VERTICES = Vertices([5], [9, 2], SIZE)
NFC, NFD = "caf\u00e9.png", "cafe\u0301.png"


def write_trials(folder: Path, names: list[str]) -> tuple[Path, Path]:
    betas, table = folder / "betas.npy", folder / "trials.csv"
    np.save(betas, np.random.default_rng(0).normal(size=(len(names), 3)).astype(np.float32))
    table.write_text("\n".join(["image,session", *(f"{name},1" for name in names)]), encoding="utf-8")
    return betas, table


def test_a_table_that_counts_from_1_is_refused(tmp_path: Path) -> None:
    """A trial table that counts images from 1, beside an array that counts from 0 → refused, with what to do."""
    paths = write_trials(tmp_path, [str(number) for number in (1, 2, 3, 4, 1, 2, 3, 4)])
    known = [str(number) for number in range(4)]
    for images in (known, known[1:]):  # all rows, or some, which hide that no trial shows image 0
        with pytest.raises(
            InvalidParameterError, match=r"names 1 images that are not there, such as '4'.*subtract 1"
        ):
            read_array(*paths, VERTICES, images, known=known)
    right = write_trials(tmp_path, ["0", "1", "2", "3"])
    assert read_array(*right, VERTICES, ["2"], known=known).images.tolist() == [0]


def test_trials_of_images_that_are_not_given_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A trial table with images that the folder lacks → a warning counts the trials that are left out."""
    paths = write_trials(tmp_path, ["a.png", "b.png", "a.png", "c.png"])
    assert read_array(*paths, VERTICES, ["a.png", "b.png"]).images.tolist() == [0, 1, 0]
    assert "has 1 of 4 trials of images that are not given, such as 'c.png'" in caplog.text
    with pytest.raises(InvalidParameterError, match=r"such as 'x/a\.png'; the first trial is of 'a\.png'"):
        read_array(*paths, VERTICES, ["x/a.png"])


@pytest.mark.parametrize(("written", "given"), [(NFC, NFD), (NFD, NFC)])
def test_accents_in_either_form_are_one_name(written: str, given: str, tmp_path: Path) -> None:
    """`café.png` in a table as one character, in file names as two (macOS) → the same image."""
    paths = write_trials(tmp_path, [written, "b.png", written])
    assert read_array(*paths, VERTICES, ["b.png", given]).images.tolist() == [1, 0, 1]
    (tmp_path / "table.csv").write_text(f"image,category\n{written},x\nb.png,x\nc.png,y\nd.png,y\n", encoding="utf-8")
    assert design_of(["b.png", "c.png", "d.png", given], tmp_path / "table.csv").labels.tolist() == [0, 1, 1, 0]
    assert unicodedata.normalize("NFC", NFD) == NFC != NFD


def test_names_that_two_forms_share_are_told_apart(tmp_path: Path) -> None:
    paths = write_trials(tmp_path, [NFC, NFD, NFC])
    assert read_array(*paths, VERTICES, [NFD, NFC]).images.tolist() == [1, 0, 1]


SHOWN = np.array([2950, 11, 2990, 500, 11])  # counted from 0
SHARED = np.array([2951, 2991, 3050])  # counted from 1, as NSD's sharedix


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["11", "500"], [11, 500]),
        (["shown/00011.png", "shown/00500.png"], [11, 500]),
        (["shared0001_nsd02951.png", "shared0002_nsd02991.png"], [2950, 2990]),
        (["shared0001_nsd02950.png", "shared0002_nsd02990.png"], [2950, 2990]),
        (["nsd00011.png", "nsd00500.png"], [11, 500]),
        (["nsd00012.png", "nsd00501.png"], [11, 500]),
        (["train-0001_nsd-00011.png", "train-0002_nsd-00500.png"], [11, 500]),
    ],
)
@pytest.mark.parametrize("shared", [SHARED, None], ids=["with sharedix", "without"])
def test_nsd_s_names_are_numbers(names: list[str], numbers: list[int], shared: Any) -> None:
    """A folder of `nsd00012.png`, `shared0001_nsd02951.png`, `00012.png` → NSD's images, from 0 or 1."""
    assert image_numbers(names, SHOWN, shared) == numbers


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["nsd00011.png", "face.png"],
            r"'face\.png' is no name of one of NSD's images, and the first.*nsd02950\.png",
        ),
        (["nsd00011.png", "nsd00012.png"], r"Of 2 images, 1 were shown .* count from 0, and 1 if they count from 1"),
        (["nsd00600.png"], r"Of 1 images, 0 were shown"),
        (["a/nsd00011.png", "b/nsd00011.png"], r"Two images have the number of 'a/nsd00011\.png'"),
    ],
)
def test_names_that_may_mean_other_images_are_refused(names: list[str], said: str) -> None:
    """Names that are no numbers, or of images that were not shown → one image's name beside one trial's."""
    with pytest.raises(InvalidParameterError, match=said):
        image_numbers(names, SHOWN)


def test_a_number_that_fits_either_way_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match=r"may count from 0 or from 1: both .* beside the name 'nsd00012"):
        image_numbers(["nsd00012.png"], np.array([11, 12]))


def test_features_are_matched_by_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`rsa --features` in another order than the images → `--feature-names` orders them; without, a line says so."""
    features = np.random.default_rng(0).normal(size=(6, 9))
    names = [NFD, "b.png", "c.png", "d.png", "e.png", "f.png"]
    images = ["e.png", NFC, "d.png", "c.png", "b.png"]
    rows = [4, 0, 3, 2, 1]
    np.save(tmp_path / "features.npy", features)
    np.save(tmp_path / "rdm.npy", squareform(pdist(features)))
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n\n", encoding="utf-8")
    files = {"features": {"net": tmp_path / "features.npy"}, "matrices": {"behavior": tmp_path / "rdm.npy"}}
    with caplog.at_level(logging.INFO):
        found = read_given(images, **files, names=tmp_path / "names.txt").triangles
        assert not caplog.records
        np.testing.assert_allclose(found["net"], pdist(features[rows], "correlation"))
        np.testing.assert_allclose(found["behavior"], pdist(features[rows]))
        plain = read_given(names, **files).triangles
    np.testing.assert_allclose(plain["net"], pdist(features, "correlation"))
    assert "The rows of net, behavior are taken to be in the images' order" in caplog.text
    for text, said in (
        ("a.png\nb.png", r"lacks 4 of the 5 images, such as 'e\.png'; it has names such as 'a\.png'"),
        ("b.png\nb.png", r"names 'b\.png' twice"),
        ("", "it is empty"),
        ("\n".join(names[:5]), r"must be numbers for each of the 5 images in"),
    ):
        (tmp_path / "names.txt").write_text(text, encoding="utf-8")
        with pytest.raises(InvalidParameterError, match=said):
            read_given(images, **files, names=tmp_path / "names.txt")
    with pytest.raises(ModelNotFoundError, match=r"no file .*nowhere\.txt"):
        read_given(images, **files, names=tmp_path / "nowhere.txt")
    with pytest.raises(InvalidParameterError, match="give them, too"):
        read_given(images, names=tmp_path / "names.txt")


@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_gifti_file_of_several_maps_is_refused_as_mgz_is(number: int, tmp_path: Path) -> None:
    """A GIFTI or MGZ file with several maps as a measured map → refused; neither is read by its first."""
    values = np.random.default_rng(0).normal(size=(number, SIZE)).astype(np.float32)
    for hemisphere in ("lh", "rh"):
        arrays = [gifti.GiftiDataArray(row, datatype="NIFTI_TYPE_FLOAT32") for row in values]
        gifti.GiftiImage(darrays=arrays).to_filename(tmp_path / f"m.{hemisphere}.func.gii")
        nibabel.MGHImage(values.T[:, None, None, :] if number else np.zeros((2, 3, 1), "f4"), np.eye(4)).to_filename(
            tmp_path / f"m.{hemisphere}.mgz"
        )
    for ending, said in ((".func.gii", rf"it has {number} arrays, expected one"), (".mgz", "expected one value for")):
        with pytest.raises(ValidationError, match=said) as found:
            surface.read(tmp_path / f"m{ending}")
        assert "Get the file" not in str(found.value)
