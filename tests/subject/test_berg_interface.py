"""The published package's whole interface: names, keywords, attributes, validators, and other models' ids."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax import BERG
from berg_jax.berg import BERGModel
from berg_jax.berg.core import berg as core_berg
from berg_jax.berg.core import exceptions, model_registry
from berg_jax.berg.core import parameter_validator as validators
from berg_jax.errors import InvalidParameterError, ModelLoadError, ModelNotFoundError, StimulusError
from berg_jax.published import MODEL_ID

from ..conftest import Golden
from . import berg_table


@pytest.fixture
def berg(complement: Golden) -> BERG:
    return BERG(complement.folder)


def test_every_recorded_name_and_keyword_is_here_or_has_a_reason() -> None:
    rows = berg_table.compared()
    assert len(rows) > 40
    for theirs, ours, given, found in rows:
        if ours is None:
            assert berg_table.RECORD["absent"].get(theirs.rpartition(".")[2]), theirs
        elif found is not None:
            assert set(given) <= set(found), theirs


def test_the_site_s_table_is_the_recorded_list_s() -> None:
    assert berg_table.PAGE.read_text(encoding="utf-8") == berg_table.page()


def test_imports_from_the_published_paths() -> None:
    assert berg_jax.__version__
    assert core_berg.BERG is BERG
    assert exceptions.ModelLoadError is berg_jax.ModelLoadError
    assert model_registry.get_available_models() == [MODEL_ID]
    assert model_registry.get_model_class(MODEL_ID) is BERGModel
    with pytest.raises(ValueError, match=r"^Model 'x' not found in registry"):
        model_registry.get_model_class("x")


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        (validators.validate_subject, (2, [1, 2, 3]), None),
        (validators.validate_subjects, ("all", [1, 2, 3]), [1, 2, 3]),
        (validators.validate_subjects, (2, [1, 2, 3]), [2]),
        (validators.validate_subjects, ([3, 1], [1, 2, 3]), [3, 1]),
        (validators.validate_subjects, ("NSD-01", ["NSD-01"]), ["NSD-01"]),
        (validators.validate_selection_keys, ({"channels": []}, ["channels", "timepoints"]), None),
        (validators.validate_channels, (["Oz"], ["Oz", "Pz"]), ["Oz"]),
        (validators.validate_binary_array, ([1, 0, 1], 3, "timepoints"), [1, 0, 1]),
        (validators.get_selected_indices, (np.array([0, 1, 0, 1]),), [1, 3]),
        (validators.validate_roi, ("V1", ["V1", "V2"]), ["V1"]),
        (validators.validate_roi, (["V1", "V2"], ["V1", "V2"]), ["V1", "V2"]),
    ],
)
def test_validators_accept(call: object, arguments: tuple, expected: object) -> None:
    answer = call(*arguments)
    assert (None if answer is None else list(answer)) == expected


@pytest.mark.parametrize(
    ("call", "arguments", "kind"),
    [
        (validators.validate_subject, (99, [1, 2, 3]), exceptions.InvalidParameterError),
        (validators.validate_subjects, ([], [1, 2, 3]), exceptions.InvalidParameterError),
        (validators.validate_subjects, (None, [1, 2, 3]), exceptions.InvalidParameterError),
        (validators.validate_subjects, ([1, 7], [1, 2, 3]), exceptions.InvalidParameterError),
        (validators.validate_selection_keys, ({"nope": 1}, ["channels"]), exceptions.InvalidParameterError),
        (validators.validate_channels, ("Oz", ["Oz", "Pz"]), validators.ValidationError),
        (validators.validate_channels, (["XX"], ["Oz", "Pz"]), validators.ValidationError),
        (validators.validate_binary_array, ([1, 0], 3, "timepoints"), validators.ValidationError),
        (validators.validate_binary_array, ([2, 0, 1], 3, "timepoints"), validators.ValidationError),
        (validators.validate_binary_array, ([0, 0, 0], 3, "timepoints"), validators.ValidationError),
        (validators.validate_roi, ("ZZ", ["V1", "V2"]), validators.ValidationError),
        (validators.validate_roi, ([], ["V1", "V2"]), validators.ValidationError),
    ],
)
def test_validators_refuse(call: object, arguments: tuple, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        call(*arguments)


def test_a_model_is_constructed_without_files_and_checks_its_arguments() -> None:
    model = BERGModel(subject=1, device="cpu", selection={}, berg_dir="/nonexistent")
    assert (model.subject, model.device, model.roi, model.model) == (1, "cpu", None, None)
    assert BERGModel.get_model_id() == MODEL_ID
    assert model.get_supported_parameters()["subject"]["valid_values"] == BERGModel.VALID_SUBJECTS
    for wrong in ({"subject": 10**9}, {"subject": 1, "selection": {"x": []}}, {"subject": 1, "device": "auto:0"}):
        with pytest.raises(InvalidParameterError):
            BERGModel(berg_dir="/nonexistent", **wrong)
    with pytest.raises(ModelLoadError, match="no berg_dir"):
        BERGModel(subject=1).load_model()


def test_a_list_of_rois_is_their_union_and_that_is_said_once(berg: BERG, caplog: pytest.LogCaptureFixture) -> None:
    def load(roi: object) -> BERGModel:
        return berg.get_encoding_model(MODEL_ID, subject=2, selection={"roi": roi})

    single, listed = load("V1v"), load(["V1v"])
    assert listed.roi == "V1v"
    assert [message for message in caplog.messages if "union" in message] == []
    np.testing.assert_array_equal(listed.selected_lh_vertices, single.selected_lh_vertices)
    both = load(["V1v", "hV4", "V1v"])
    assert both.roi == "V1v + hV4"
    expected = np.union1d(single.selected_rh_vertices, load("hV4").selected_rh_vertices)
    np.testing.assert_array_equal(both.selected_rh_vertices, expected)
    (message,) = (message for message in caplog.messages if "union" in message)
    assert message.startswith("selection['roi'] is a list of 2 ROIs: their union is selected")
    assert message.endswith("takes only the first, V1v.")


def test_attributes_of_a_loaded_model(berg: BERG) -> None:
    mask = np.zeros(80, int)
    mask[[3, 9]] = 1
    model = berg.get_encoding_model(MODEL_ID, subject=2, selection={"lh_vertices": mask}, device="cpu:0")
    np.testing.assert_array_equal(model.selected_lh_vertices, [3, 9])
    assert model.selected_rh_vertices == range(80)
    assert (model.subject, model.roi, model.device) == (2, None, "cpu:0")
    assert berg.get_encoding_model(MODEL_ID, subject=2, selection={"roi": "hV4"}).device == "cpu"  # what auto found
    with pytest.raises(berg_jax.ResourceError, match=r"no device 'cpu:99'; JAX sees \['cpu:0'"):
        berg.get_encoding_model(MODEL_ID, subject=2, device="cpu:99")


def test_metadata_by_class_by_model_and_by_interface(
    complement: Golden, berg: BERG, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_class = BERGModel.get_metadata(berg_dir=complement.folder, subject=2)
    model = BERGModel(subject=2, berg_dir=complement.folder)
    found = [by_class, model.get_metadata(), BERGModel.get_metadata(model_instance=model)]
    found.append(berg.get_model_metadata(MODEL_ID, subject=2, roi="V1v"))
    assert [message for message in caplog.messages if "unknown" in message] == [
        "get_model_metadata ignores unknown keywords: roi."
    ]
    for metadata in found:
        np.testing.assert_array_equal(metadata["fmri"]["lh_ncsnr"], by_class["fmri"]["lh_ncsnr"])
    with pytest.raises(InvalidParameterError, match=r"^Required parameters missing: berg_dir, subject"):
        BERGModel.get_metadata()
    with pytest.raises(FileNotFoundError, match=r"^Metadata file not found at: "):
        BERGModel.get_metadata(berg_dir=tmp_path, subject=1)


def test_unknown_keywords_are_ignored_and_named(berg: BERG, caplog: pytest.LogCaptureFixture) -> None:
    berg.get_encoding_model(MODEL_ID, subject=2, selection={"roi": "hV4"}, hyper=1, batch=3)
    told = ("berg_jax.berg.model", logging.WARNING, "BERGModel ignores unknown keywords: batch, hyper.")
    assert told in caplog.record_tuples


def test_values_that_are_refused_can_be_encoded_unchecked(complement: Golden, berg: BERG) -> None:
    model = berg.get_encoding_model(MODEL_ID, subject=2)
    small = complement.expected["images_96"] / 255  # look like 0–1
    with pytest.raises(StimulusError, match="look like 0–1"):
        berg.encode(model, small)
    lh, rh = berg.encode(model, small, unchecked=True, show_progress=False)
    direct = np.asarray(complement.model(small, check=False))
    np.testing.assert_allclose(np.hstack([lh, rh]), direct, atol=1e-5)
    with pytest.raises(StimulusError, match="must be square"):
        berg.encode(model, small[..., :7], unchecked=True)


STAND_IN = """
import numpy as np

class InvalidParameterError(Exception):
    pass

class Other:
    MODEL_ID = "eeg-other"
    def generate_response(self, stimulus, scale=1):
        return stimulus.mean((1, 2, 3)) * scale

class BERG:
    def __init__(self, berg_dir):
        self.berg_dir = berg_dir
    def list_models(self, expand_brainscore_vision=False, expand_brainscore_language=False):
        return ["eeg-other", "fmri-nsd_fsaverage-huze"] + ["a-vision"] * expand_brainscore_vision
    def get_model_catalog(self, print_format=False):
        return {"EEG": ["things"], "fMRI": ["BMD"]}
    def get_encoding_model(self, model_id, device="auto", selection=None, **kwargs):
        if kwargs.get("subject") == 9:
            raise InvalidParameterError("no such subject")
        model = Other()
        model.given = (model_id, device, selection, kwargs, self.berg_dir)
        return model
    def encode(self, model, stimulus, return_metadata=False, **kwargs):
        return model.generate_response(stimulus, **kwargs)
    def describe(self, model_id):
        return {"model_id": model_id}
    def get_model_variants(self, model_id):
        return ["one"]
    def get_model_metadata(self, model_id, **kwargs):
        return {"model_id": model_id, **kwargs}
"""


@pytest.fixture
def with_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of the published one's name and interface, with another model."""
    (tmp_path / "berg").mkdir()
    (tmp_path / "berg" / "__init__.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("berg", None)


@pytest.mark.usefixtures("with_package")
def test_other_models_are_the_published_package_s(berg: BERG) -> None:
    other = berg.get_encoding_model("eeg-other", device="cuda", selection={"channels": ["Oz"]}, subject=3)
    assert other.given == ("eeg-other", "cuda", {"channels": ["Oz"]}, {"subject": 3}, str(berg.berg_dir))
    images = np.full((2, 3, 4, 4), 7.0)
    np.testing.assert_array_equal(berg.encode(other, images, scale=2), [14, 14])
    assert berg.list_models() == ["eeg-other", MODEL_ID]
    assert berg.list_models(expand_brainscore_vision=True) == ["a-vision", "eeg-other", MODEL_ID]
    catalog = berg.get_model_catalog()
    assert catalog["EEG"] == ["things"]
    assert "BMD" in catalog["fMRI"]
    assert len(catalog["fMRI"]) == 2
    assert berg.describe("eeg-other") == {"model_id": "eeg-other"}
    assert berg.get_model_variants("eeg-other") == ["one"]
    assert berg.get_model_metadata("eeg-other", subject=1) == {"model_id": "eeg-other", "subject": 1}
    assert isinstance(berg.get_encoding_model(MODEL_ID, subject=2), BERGModel)
    with pytest.raises(InvalidParameterError, match="no such subject"):  # ours, from the package's of the same name
        berg.get_encoding_model("eeg-other", subject=9)


def test_without_the_package_the_error_says_so(berg: BERG) -> None:
    assert berg.list_models(expand_brainscore_vision=True, expand_brainscore_language=True) == [MODEL_ID]
    with pytest.raises(ModelNotFoundError, match=r"not found in registry.*not installed here: install berg"):
        berg.get_encoding_model("eeg-things_eeg_2-vit_b_32", subject=1)
