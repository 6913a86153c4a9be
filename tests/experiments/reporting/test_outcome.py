"""The result of an experiment: its summary as text, its values and maps by name, and its files in another folder."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import berg_jax
from berg_jax import InvalidParameterError, Vertices
from berg_jax.experiments import ExperimentResult
from berg_jax.experiments.inputs.stimuli import listed
from berg_jax.experiments.reporting import write_results

VERTICES = Vertices(np.array([3, 5]), np.array([7]), 642)


@pytest.fixture
def result(tmp_path: Path) -> ExperimentResult:
    folder = tmp_path / "out"
    for number in (1, 2):
        maps = {"t_faces": np.array([1.0, 2.0, 3.0]) * number}
        write_results(folder / f"subj{number:02d}", VERTICES, maps, {"synthetic": True, "alpha": 0.05})
    (folder / "subj01" / "stream").mkdir()
    (folder / "subj01" / "stream" / "zarr.json").write_text("{}")
    (folder / "report.html").write_text("<p>")
    return ExperimentResult("Subject 1 <b>\n  found", folder)


def test_a_result_is_its_summary(result: ExperimentResult) -> None:
    assert repr(result) == str(result) == result == "Subject 1 <b>\n  found"
    assert result._repr_html_() == "<pre>Subject 1 &lt;b&gt;\n  found</pre>"
    for again in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert (again, again.output) == (result, result.output)


def test_a_result_s_values_have_names(result: ExperimentResult) -> None:
    assert result.maps == ["subj01/t_faces", "subj02/t_faces"]
    np.testing.assert_array_equal(result.values["subj02/t_faces"], [2.0, 4.0, 6.0])
    assert result.values["subj01/alpha"] == 0.05
    assert result.vertices("subj02/t_faces") == VERTICES
    with pytest.raises(InvalidParameterError, match=r"no map 't_faces'.*the maps are \['subj01/t_faces'"):
        result.plot("t_faces")


def test_a_result_is_saved_without_its_streams(result: ExperimentResult, tmp_path: Path) -> None:
    folder = result.save(tmp_path / "kept")
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"report.html", "subj01/results.json", "subj02/maps.npz"} <= kept
    assert not [name for name in kept if "stream" in name]
    with pytest.raises(InvalidParameterError, match="is there already"):
        result.save(folder)


@pytest.mark.nightly
def test_a_result_s_map_is_drawn(tmp_path: Path) -> None:
    vertices = Vertices(np.arange(50), np.arange(50), 10_242)
    maps = {"r": np.linspace(-1, 1, 100), "fit_angle": np.linspace(-180, 180, 100)}
    write_results(tmp_path, vertices, maps, {"synthetic": True, "subject": 3})
    result = ExperimentResult("", tmp_path)
    words = {name: [text.get_text() for text in result.plot(name, views=[]).findobj(Text)] for name in maps}
    for name, found in words.items():
        assert any("SYNTHETIC" in text for text in found)
        assert any(f"{name}\nsubject 3 · n = 100 vertices" in text or name == text for text in found)
    assert {"up", "down", "left", "right"} <= set(words["fit_angle"])  # the wheel
    assert "up" not in words["r"]


def test_what_a_first_day_needs_is_at_hand(tmp_path: Path) -> None:
    assert berg_jax.encode is berg_jax.stream.encode_images
    assert berg_jax.synthesis.optimize is berg_jax.experiments.synthesis.optimize
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    np.testing.assert_array_equal(berg_jax.read_images(tmp_path / "a.png"), pixels.transpose(2, 0, 1)[None])
    assert berg_jax.read_images(str(tmp_path)).shape == (2, 3, 20, 20)
    with pytest.raises(berg_jax.ModelNotFoundError, match="no folder"):
        berg_jax.read_images(tmp_path / "nowhere")


@pytest.mark.nightly
def test_one_subject_or_several() -> None:
    one, other = berg_jax.Subject("demo", 1), berg_jax.Subject("demo", 2)
    assert listed(one) == [one]
    assert listed((one, other)) == [one, other]
    for wrong in ([], [one, one], [one, "demo"], iter([one]), 1):
        with pytest.raises(InvalidParameterError):
            listed(wrong)


def test_what_is_no_list_of_subjects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match=r"subjects must be a berg_jax\.Subject, or a list.*got 'demo'"):
        berg_jax.experiments.localize("demo", tmp_path / "out")
    for function in (berg_jax.experiments.compare_representations, berg_jax.experiments.control_regions):
        with pytest.raises(InvalidParameterError, match=r"or a list such as.*got 'demo'"):
            function("demo", tmp_path / "out")
    (tmp_path / "a.png").touch()
    with pytest.raises(InvalidParameterError, match=r"subject must be a berg_jax\.Subject.*got 'demo'"):
        berg_jax.encode("demo", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
