"""Texts by which notebooks show a model, a subject and vertices; a model's vertices as other functions take them."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

import berg_jax
from berg_jax import InvalidParameterError, Vertices, surface
from berg_jax.convert.synthetic import make_synthetic_subject
from berg_jax.stream import Selection
from berg_jax.stream.reducers import roi_weights
from berg_jax.surface.spaces import to_fsaverage5


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> berg_jax.Subject:
    folder = tmp_path_factory.mktemp("berg")
    make_synthetic_subject(folder, size="tiny", seed=0, subject_id=1)
    return berg_jax.Subject(folder, 1)


def test_a_repr_is_one_line_that_says_what_it_is(subject: berg_jax.Subject) -> None:
    model = subject.model(roi="V1", hemisphere="lh")
    count = len(subject.vertices("V1", "lh"))
    vertices = f"Vertices({count} lh + 0 rh of 2 × {subject.hemisphere_size})"
    assert repr(model.vertices) == vertices
    assert repr(model).startswith(f"EncodingModel(subject 1 (SYNTHETIC weights), V1, {vertices}, part")
    assert repr(model).endswith("float32)")
    assert repr(model.crop()) == repr(model)
    first = Vertices(model.vertices.lh[:1], [], subject.hemisphere_size)
    assert repr(model.select(first)).startswith("EncodingModel(subject 1 (SYNTHETIC weights), Vertices(1 lh + 0 rh")
    assert repr(subject) == (
        f"Subject({subject.berg_dir!r}, subject 1 (SYNTHETIC weights), 2 × {subject.hemisphere_size} vertices)"
    )
    assert repr(berg_jax.stack([model, model])) == f"StackedModel(2 subjects, at most {count} vertices each, float32)"


def test_a_repr_of_a_model_under_a_trace_is_one_line(subject: berg_jax.Subject) -> None:
    model, shown = subject.model(roi="V1"), []
    jax.eval_shape(lambda model: shown.append(repr(model)), model)
    assert shown[0].startswith(f"EncodingModel({len(model.vertices)} vertices, part")


def test_a_model_s_vertices_are_what_every_function_takes(subject: berg_jax.Subject, tmp_path: Path) -> None:
    chosen = subject.vertices("V1")
    model = subject.model(chosen)
    assert model.vertices == chosen
    np.testing.assert_array_equal(np.asarray(model.vertices), chosen.global_indices)
    np.testing.assert_array_equal(model.vertices[:2], chosen.global_indices[:2])
    assert subject.identity(model.vertices) == subject.identity(chosen)
    assert subject.vertices(model.vertices, "lh") == subject.vertices("V1", "lh")
    assert Selection(model.vertices).of(subject) == chosen
    assert subject.model(model.vertices).vertices == chosen
    left = Vertices(chosen.lh, [], subject.hemisphere_size)
    assert model.select(left).vertices == left
    np.testing.assert_allclose(roi_weights(model.vertices, {"left": left}).sum(), 1, rtol=1e-6)
    (path,) = surface.save(np.arange(len(chosen)), tmp_path / "map.npz", model.vertices)
    np.testing.assert_array_equal(surface.read(path)[chosen.global_indices], np.arange(len(chosen)))


def test_an_error_names_the_forgotten_keyword(subject: berg_jax.Subject) -> None:
    with pytest.raises(InvalidParameterError, match="For a ROI pass roi=…"):
        subject.model("V1")
    with pytest.raises(InvalidParameterError, match=r"pass vertices=…, too, such as vertices=model\.vertices"):
        surface.save(np.zeros(7), "map.npz")
    with pytest.raises(InvalidParameterError, match=r"such as model\.vertices"):
        surface.save(np.zeros(7), "map.npz", np.arange(7))
    with pytest.raises(InvalidParameterError, match=r"For values of chosen vertices pass vertices=…"):
        to_fsaverage5(np.zeros(38), 19)
