"""Synthetic subjects: real formats, lively responses, repeatable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import berg_jax
from berg_jax.convert.subject import convert_subject
from berg_jax.convert.synthetic import SIZES, SyntheticSize, make_synthetic_subject, natural_like_images
from berg_jax.demo import photographs
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.files.torch_archive import read_pickled_npy, read_torch
from berg_jax.model.checkpoint import read_description
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.stream.sources.image_files import resize

from ..conftest import DATA

SMALL = SyntheticSize(24, 2, (0, 1), 6, 30, 11, condition=3, hidden=8, layout="complement", num_heads=3)


def photograph_crops(n: int) -> np.ndarray:
    random = np.random.default_rng(0)
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in photographs().values()]
    crops = []
    for index in range(n):
        photo = photos[index % 3]
        side = int(min(photo.shape[:2]) * random.uniform(0.35, 1))
        y, x = random.integers(0, photo.shape[0] - side + 1), random.integers(0, photo.shape[1] - side + 1)
        crops.append(resize(photo[y : y + side, x : x + side]).transpose(2, 0, 1))
    return np.stack(crops)


@pytest.mark.nightly
def test_responses_to_photographs_vary_by_about_half(tmp_path: Path) -> None:
    model = berg_jax.load(make_synthetic_subject(tmp_path, size="tiny"), 1)
    responses = np.concatenate([model(images) for images in np.split(photograph_crops(36), 6)])
    std = responses.std(axis=0)
    assert 0.4 < np.median(std) < 0.65
    assert np.percentile(std, 1) > 0.15
    assert np.percentile(std, 99) < 1.5
    assert abs(responses.mean()) < 0.25


def test_the_same_seed_makes_the_same_subject(tmp_path: Path) -> None:
    folders = [make_synthetic_subject(tmp_path / name, size=SMALL, seed=seed) for name, seed in ("a1", "b1", "c2")]
    parts = [read_torch(SubjectFiles(folder, 1).part1) for folder in folders]
    assert all(np.array_equal(parts[0][key], parts[1][key]) for key in parts[0])
    assert not np.array_equal(parts[0]["coord_dict.subj01"], parts[2]["coord_dict.subj01"])


def test_several_subjects_share_a_folder(tmp_path: Path) -> None:
    for subject in (1, 4):
        make_synthetic_subject(tmp_path, size=SMALL, subject_id=subject)
    assert list(read_torch(SubjectFiles(tmp_path, 1).indices)) == ["subj01", "subj04"]
    description = read_description(convert_subject(tmp_path, 4, num_heads=3))
    assert description.layout == "complement"
    assert description.synthetic
    with pytest.raises(ResourceError, match="exists"):
        make_synthetic_subject(tmp_path, size=SMALL, subject_id=4)


def test_metadata_have_the_published_entries(tmp_path: Path) -> None:
    make_synthetic_subject(tmp_path, size=SMALL)
    metadata = read_pickled_npy(SubjectFiles(tmp_path, 1).metadata)
    golden = DATA / "golden"
    expected = read_pickled_npy(SubjectFiles(golden, 1).metadata)
    assert set(expected) <= set(metadata)
    for section in ("fmri", "encoding_models"):
        assert set(metadata[section]) == set(expected[section])
    for hemisphere in ("lh", "rh"):
        rois = metadata["fmri"][f"{hemisphere}_fsaverage_rois"]
        assert set(rois) == set(expected["fmri"][f"{hemisphere}_fsaverage_rois"])
        assert all(indices.min() >= 0 and indices.max() < 30 for indices in rois.values())


def test_bad_sizes(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="one of"):
        make_synthetic_subject(tmp_path / "x", size="huge")
    with pytest.raises(InvalidParameterError, match="part1_rows"):
        make_synthetic_subject(tmp_path / "x", size=SyntheticSize(64, 2, (1,), 6, 30, 60))
    assert not (tmp_path / "x").exists()


def test_published_size_is_the_published_files_size() -> None:
    """The published subject 1's two files: their sizes less what a zip archive of 342 tensors adds."""
    from berg_jax.convert.synthetic import _network_bytes

    size = SIZES["published"]
    rows = (52_948, 327_684)
    per_row = 4 * (size.width + 1 + 3)
    sizes = [_network_bytes(size) + n * per_row for n in rows]
    assert [1_012_959_757 - sizes[0], 1_228_352_781 - sizes[1]] == [96_437, 96_437]


def test_natural_like_images_have_natural_spectra() -> None:
    images = natural_like_images(8, 0).mean(axis=1) / 255
    spectrum = np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True))).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(224), np.fft.fftfreq(224)))
    band = (frequency > 0.01) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[band]), np.log(spectrum[band]), 1)[0]
    assert -1.8 < slope < -0.8
