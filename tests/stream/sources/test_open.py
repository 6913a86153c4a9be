"""What a path stands for, and what is said where it stands for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from berg_jax.errors import InvalidParameterError, ModelNotFoundError, StimulusError
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.stream.sources.folders import FolderSource, ListSource
from berg_jax.stream.sources.open import open_source
from berg_jax.stream.sources.tars import TarSource

from .image_files import encoded, pixels, png, write_tar


def test_what_a_path_stands_for(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(encoded(pixels(0)))
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "a.tar", png("a.png"))
    (tmp_path / "shards" / "meta.json").touch()
    (tmp_path / "list.TXT").write_text("images/a.png")
    np.save(tmp_path / "a.npy", pixels(0).transpose(2, 0, 1)[None])
    zarr.create_array(tmp_path / "a.zarr", data=pixels(0)[None])
    for name, kind, ids in (
        ("images", FolderSource, ["a.png"]),
        ("shards", TarSource, ["a/a.png"]),
        ("shards/a.tar", TarSource, ["a/a.png"]),
        ("list.TXT", ListSource, ["images/a.png"]),
        ("a.npy", ArraySource, ["0"]),
        ("a.zarr", ArraySource, ["0"]),
    ):
        source = open_source(str(tmp_path / name))
        assert type(source) is kind
        assert source.ids == ids
        np.testing.assert_array_equal(source.read([0]), pixels(0).transpose(2, 0, 1)[None])
        if kind is not ArraySource:
            with pytest.raises(InvalidParameterError, match="layout is for arrays"):
                open_source(tmp_path / name, layout="NCHW")
        with pytest.raises(InvalidParameterError, match="fit must be one of"):
            open_source(tmp_path / name, "zoom")
    (tmp_path / "shards" / "b.png").write_bytes(encoded(pixels(1)))
    with pytest.raises(StimulusError, match=r"holds 1 image files and 1 tar files, such as a\.tar\. Give"):
        open_source(tmp_path / "shards")
    mixed = open_source(tmp_path / "shards", on_error="skip")
    assert mixed.ids == ["b.png"]
    assert mixed.account.skipped == {"a.tar": "a tar file beside images"}
    assert open_source(tmp_path / "a.zarr", layout="NHWC").layout == "NHWC"


def test_paths_that_stand_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InvalidParameterError, match=r"a\.mp4 is no source of images\. Give a folder.*\.npy.*\.tar"):
        open_source(tmp_path / "a.mp4")
    (tmp_path / "a.zip").touch()
    with pytest.raises(InvalidParameterError, match=r"a\.zip is no source of images\. Unpack it and give the folder"):
        open_source(tmp_path / "a.zip")
    for name, said in (
        ("no", r"folder .*no\. Give a folder of image files, or a \.npy"),
        ("no.png", r"file .*no\.png\. Give a folder of image files, or a \.npy"),
        ("no.npy", "file"),
        ("no.zarr", "folder"),
        ("no.tar", "file"),
        ("no.txt", ""),
    ):
        with pytest.raises(ModelNotFoundError, match=f"There is no {said}"):
            open_source(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StimulusError, match="holds no image files"):
        open_source(tmp_path / "empty")
