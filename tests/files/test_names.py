"""Names with accents are found in whichever form of Unicode they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray
from PIL import Image

from berg_jax.errors import InvalidParameterError, ModelNotFoundError
from berg_jax.files.names import NameIndex, on_disk
from berg_jax.stream.sources.folders import ListSource
from berg_jax.stream.store.responses import Responses

NFC, NFD = "caf\u00e9.png", "cafe\u0301.png"


@pytest.mark.parametrize(("stored", "wanted"), [(NFC, NFD), (NFD, NFC)])
def test_responses_are_selected_by_either_form(stored: str, wanted: str) -> None:
    """`responses.sel(image="café.png")`, stored with the accent in the other form → found."""
    coordinates = {"image": ["a.png", stored], "hemisphere": ("vertex", ["lh", "rh"])}
    data = xarray.Dataset({"responses": (("image", "vertex"), [[1.0, 2.0], [3.0, 4.0]])}, coordinates)
    responses = Responses(data)
    assert responses.sel(image=wanted).values.tolist() == [[3.0, 4.0]]
    assert responses.sel(image=[wanted, "a.png"]).image.values.tolist() == [stored, "a.png"]
    with pytest.raises(InvalidParameterError, match=r"no image 'cafe\.png'"):
        responses.sel(image="cafe.png")


def test_exact_names_come_first_and_doubtful_ones_are_not_guessed() -> None:
    ang, angstrom = "\u00c5.png", "A\u030a.png"
    assert [NameIndex([ang, angstrom]).find(name) for name in (ang, angstrom, "\u212b.png")] == [0, 1, None]


@pytest.mark.parametrize(("stored", "wanted"), [(NFC, NFD), (NFD, NFC)])
def test_a_list_names_files_by_either_form(stored: str, wanted: str, tmp_path: Path) -> None:
    """A list of images with `café/café.png`, on the disk with the accents in the other form → found."""
    folder = tmp_path / stored.removesuffix(".png")
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / stored)
    listed = f"{wanted.removesuffix('.png')}/{wanted}"
    assert on_disk(tmp_path / listed) == folder / stored
    (tmp_path / "list.txt").write_text(f"{listed}\n", encoding="utf-8")
    source = ListSource(tmp_path / "list.txt")
    assert source.ids == [listed]
    assert source.read([0]).shape == (1, 3, 8, 8)
    (tmp_path / "list.txt").write_text(f"{listed}x\n", encoding="utf-8")
    with pytest.raises(ModelNotFoundError, match="there is no file"):
        ListSource(tmp_path / "list.txt")
