"""The drop-in: the published package's interface, answers and errors."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax import BERG
from berg_jax.errors import InvalidParameterError, ModelLoadError, ModelNotFoundError, ResourceError, StimulusError
from berg_jax.published import MODEL_ID

from ..conftest import Golden


@pytest.fixture
def berg(complement: Golden, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BERG:
    return BERG(complement.folder)


def test_the_published_example(complement: Golden, berg: BERG) -> None:
    assert berg.list_models() == [MODEL_ID]
    model = berg.get_encoding_model(MODEL_ID, subject=2)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64))
    responses, metadata = berg.encode(model, images, return_metadata=True)
    lh, rh = berg.encode(model, images, show_progress=False)
    for hemisphere, again in zip((lh, rh), responses, strict=True):
        assert hemisphere.shape == (2, 80)
        assert hemisphere.dtype == np.float32
        np.testing.assert_array_equal(hemisphere, again)
    np.testing.assert_allclose(np.hstack([lh, rh]), complement.model(images), atol=1e-5)
    assert len(metadata["fmri"]["lh_ncsnr"]) == 80


@pytest.mark.parametrize("which", [pytest.param("overlay", marks=pytest.mark.nightly), "complement"])
def test_responses_equal_the_reference(which: str, request: pytest.FixtureRequest) -> None:
    golden = request.getfixturevalue(which)
    model = BERG(golden.folder).get_encoding_model(MODEL_ID, subject=golden.subject, device="cpu")
    lh, rh = model.generate_response(golden.expected["images_224"])
    np.testing.assert_allclose(np.hstack([lh, rh]), golden.expected["responses_224"], atol=1e-4)


def test_selections(complement: Golden, berg: BERG) -> None:
    images = complement.expected["images_96"]
    full = np.asarray(complement.model(images))
    rois = {
        h: berg.get_encoding_model(MODEL_ID, subject=2).get_metadata()["fmri"][f"{h}_fsaverage_rois"]
        for h in ("lh", "rh")
    }
    mask = np.zeros(80, int)
    mask[[3, 9]] = 1
    everything = np.arange(80)
    for selection, left, right in (
        (None, everything, everything),
        ({}, everything, everything),
        ({"roi": None}, everything, everything),
        ({"roi": "hV4"}, rois["lh"]["hV4"], rois["rh"]["hV4"]),
        ({"roi": "OVWFA", "lh_vertices": mask}, rois["lh"]["OWFA"], rois["rh"]["OWFA"]),
        ({"roi": "FFA-2"}, rois["lh"]["FFA-2"], rois["rh"]["FFA-2"]),
        ({"roi": "V1"}, *(np.union1d(rois[h]["V1v"], rois[h]["V1d"]) for h in ("lh", "rh"))),
        ({"lh_vertices": mask}, [3, 9], everything),
        ({"rh_vertices": mask.tolist(), "roi": None}, everything, [3, 9]),
        ({"lh_vertices": mask, "rh_vertices": 1 - mask}, [3, 9], np.setdiff1d(everything, [3, 9])),
    ):
        lh, rh = berg.get_encoding_model(MODEL_ID, subject=2, selection=selection).generate_response(images)
        np.testing.assert_allclose(lh, full[:, np.asarray(left, int)], atol=1e-5)
        np.testing.assert_allclose(rh, full[:, 80 + np.asarray(right, int)], atol=1e-5)


def test_a_roi_keeps_the_metadata_s_order(complement: Golden, berg: BERG, monkeypatch: pytest.MonkeyPatch) -> None:
    from berg_jax.published.metadata import Metadata

    shuffled = np.array([30, 2, 17])
    original = Metadata._rois

    def rois(self: Metadata, fmri: dict, key: str) -> dict:
        return original(self, fmri, key) | {"hV4": shuffled}

    monkeypatch.setattr(Metadata, "_rois", rois)
    model = berg.get_encoding_model(MODEL_ID, subject=2, selection={"roi": "hV4"})
    np.testing.assert_array_equal(model.encoder.vertices, [*shuffled, *(80 + shuffled)])


def test_the_model_is_differentiable_and_lets_go(complement: Golden, berg: BERG) -> None:
    with berg.get_encoding_model(MODEL_ID, subject=2, selection={"roi": "V1v"}) as model:
        assert model.get_model_id() == MODEL_ID
        gradient = jax.jit(jax.grad(lambda images: model(images).mean()))(jnp.full((1, 3, 32, 32), 100.0))
        assert float(jnp.abs(gradient).max()) > 0
        assert model.encoder is not None
    with pytest.raises(ModelLoadError, match="not loaded"):
        model.generate_response(complement.expected["images_96"])


def test_cards_and_catalog(berg: BERG) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        card = berg.describe(MODEL_ID)
        catalog = berg.get_model_catalog(print_format=True)
    assert "vision transformer" in said.getvalue().lower()
    assert catalog == berg.get_model_catalog()
    assert list(catalog) == ["fMRI"]
    sections = {"description", "metadata", "input", "output", "parameters", "performance", "references", "model_id"}
    assert sections <= set(card)
    assert berg.get_model_variants(MODEL_ID) == []
    assert len(berg.get_model_metadata(MODEL_ID, subject=2)["fmri"]["rh_ncsnr"]) == 80


def test_unknown_models(berg: BERG) -> None:
    for call in (berg.describe, berg.get_model_variants, berg.get_encoding_model, berg.get_model_metadata):
        with pytest.raises(ModelNotFoundError, match=r"^Model 'x' not found in registry\."):
            call("x")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"subject": 9}, r"^Subject must be one of \[1, 2, 3, 4, 5, 6, 7, 8\], got 9"),
        ({"subject": "1"}, "^Subject must be one of"),
        (
            {"selection": {"x": 1}},
            r"^Invalid selection key: 'x'. Valid keys are: \['lh_vertices', 'rh_vertices', 'roi'\]",
        ),
        ({"selection": [1]}, "must be a dict"),
        ({"selection": {"roi": "x"}}, r"^Invalid ROI: 'x'. Valid ROIs are: \["),
        ({"selection": {"lh_vertices": "x"}}, "^lh_vertices must be a list or numpy array, got"),
        ({"selection": {"rh_vertices": [0, 2]}}, r"^rh_vertices must be binary \(contain only 0s and 1s\)"),
        ({"selection": {"lh_vertices": [0, np.nan]}}, "^lh_vertices must be binary"),
        (
            {"selection": {"lh_vertices": [0, 0]}},
            r"^At least one element in lh_vertices must be selected \(contain at least one 1\)",
        ),
        ({"device": "abacus"}, "Device must be one of"),
        ({"precision": "float16"}, "Precision must be one of"),
    ],
)
def test_mistakes_are_found_without_the_disk(arguments: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        BERG(tmp_path / "nowhere").get_encoding_model(MODEL_ID, **({"subject": 1} | arguments))


def test_mistakes_that_need_the_files(berg: BERG, tmp_path: Path) -> None:
    for selection, said in (
        ({"lh_vertices": [0, 1]}, r"^Failed to load model: lh_vertices must have exactly 80 elements, got 2"),
        ({"roi": "mTL-bodies"}, "no vertices in either hemisphere"),
    ):
        with pytest.raises(ModelLoadError, match=said):
            berg.get_encoding_model(MODEL_ID, subject=2, selection=selection)
    with pytest.raises(ModelLoadError, match=r"^Failed to load model: There is no folder"):
        BERG(tmp_path / "nowhere").get_encoding_model(MODEL_ID, subject=1)
    with pytest.raises(ResourceError, match="no device 'tpu'; JAX sees"):
        berg.get_encoding_model(MODEL_ID, subject=2, device="tpu")
    with pytest.raises(InvalidParameterError, match="Required parameters missing: subject"):
        berg.get_model_metadata(MODEL_ID)
    with pytest.raises(InvalidParameterError, match=r"^Error retrieving metadata: Metadata file not found at: "):
        BERG(tmp_path).get_model_metadata(MODEL_ID, subject=1)


GOOD = np.full((2, 3, 8, 8), 7, np.uint8)
STIMULI = {
    "not square": (GOOD[..., :7], "must be square, got 8 × 7"),
    "grey": (GOOD[:, :1], "which looks like grey"),
    "RGBA": (np.pad(GOOD, ((0, 0), (0, 1), (0, 0), (0, 0))), "RGBA"),
    "channels last": (GOOD.transpose(0, 2, 3, 1), "channels last: use images.transpose"),
    "0 to 1": (GOOD / 255, "look like 0–1"),
    "over 255": (GOOD.astype(int) * 100, "got 700 to 700"),
    "negative": (-GOOD.astype(float), "got -7.0 to -7.0"),
    "NaN": (GOOD * np.nan, "NaN"),
    "empty": (GOOD[:0], "empty batch"),
    "single": (GOOD[0], r"image\[None\]"),
    "list": (GOOD.tolist(), "^Stimulus must be a 4D numpy array .batch, channels, height, width., got list"),
    "text": (GOOD.astype(str), "integers or floats"),
}


@pytest.mark.parametrize("name", STIMULI)
def test_bad_stimuli(name: str, complement: Golden, berg: BERG) -> None:
    stimulus, said = STIMULI[name]
    model = berg.get_encoding_model(MODEL_ID, subject=2)
    with pytest.raises(StimulusError, match=said):
        berg.encode(model, stimulus)
