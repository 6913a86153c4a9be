"""The certificate with PyTorch: it passes for the model as it is, and fails for every mistake that is planted."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import berg_jax
from berg_jax import convert
from berg_jax.convert import constants
from berg_jax.convert.subject import convert_subject
from berg_jax.convert.synthetic import natural_like_images
from berg_jax.errors import ResourceError
from berg_jax.experiments.certificate.comparison import compare
from berg_jax.experiments.certificate.experiment import certify, check_against
from berg_jax.experiments.certificate.observation import Observation, observe, observe_reference
from berg_jax.experiments.certificate.record import read_certificate
from berg_jax.experiments.certificate.stimuli import all_stimuli
from berg_jax.model import checkpoint
from berg_jax.model.nn.preprocess import preprocess

from ...conftest import Golden
from .test_certificate import GRADIENT, RESPONSES, TOKENS, all_text, failed, pictures, read_page

STIMULI = {
    "natural": natural_like_images(1, 3)[0],
    "grey": np.full((3, 224, 224), 128, np.uint8),
    "small": np.random.default_rng(0).integers(0, 256, (3, 300, 300), np.uint8),
}


def of_reference(golden: Golden, stimuli: dict[str, np.ndarray]) -> Observation:
    pytest.importorskip("torch")
    from berg_jax.convert.torch_reference import load_reference

    model = load_reference(golden.berg_dir, golden.subject, num_heads=golden.num_heads)
    return observe_reference(model, stimuli)[0]


@pytest.fixture(scope="module")
def reference_overlay(overlay: Golden) -> Observation:
    return of_reference(overlay, STIMULI)


@pytest.fixture(scope="module")
def reference_complement(complement: Golden) -> Observation:
    return of_reference(complement, STIMULI)


def caught(
    model: berg_jax.EncodingModel, theirs: Observation, stimuli: dict[str, np.ndarray] = STIMULI
) -> dict[str, float]:
    """By how many times its limit each check that fails is exceeded."""
    checks = compare(observe(model, stimuli), theirs)
    return {check.name.partition(",")[0]: check.value / check.limit for check in checks if not check.passed}


def with_readout(model: berg_jax.EncodingModel, name: str, change: Callable) -> berg_jax.EncodingModel:
    params = jax.tree.map(lambda leaf: leaf, model.params)  # a copy of the dicts
    for part in params.values():
        part["readout"][name] = change(part["readout"][name])
    return model.replace(params=params)


def rows_swapped(golden: Golden) -> berg_jax.EncodingModel:
    order = golden.model.order
    return golden.model.replace(order=order.at[jnp.array([40, 41])].set(order[jnp.array([41, 40])]))


def hemispheres_swapped(golden: Golden) -> berg_jax.EncodingModel:
    return golden.model.replace(order=jnp.roll(golden.model.order, golden.hemisphere_size))


def summed(golden: Golden) -> berg_jax.EncodingModel:
    width = dict(golden.model.config.parts)["part1"].width
    return with_readout(golden.model, "weight", lambda weight: weight * width)


def layers_as_strings(golden: Golden) -> berg_jax.EncodingModel:
    layers = dict(golden.model.config.parts)["part1"].layers
    order = np.argsort([str(layer) for layer in layers])
    assert order.tolist() != sorted(order)
    return with_readout(golden.model, "layer_weights", lambda weights: weights[..., order])


@pytest.mark.torch
@pytest.mark.parametrize("plant", [rows_swapped, hemispheres_swapped, summed, layers_as_strings])
def test_arrangements_that_are_wrong(overlay: Golden, reference_overlay: Observation, plant: Callable) -> None:
    assert caught(overlay.model, reference_overlay) == {}
    found = caught(plant(overlay), reference_overlay)
    print(plant.__name__, found)
    assert set(found) == {RESPONSES}
    assert found[RESPONSES] > 100


@pytest.mark.torch
def test_part_1_not_laid_over_part_2(
    overlay: Golden, reference_overlay: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_parts_needed", lambda *arguments: ["part2"])
    found = caught(berg_jax.load(overlay.folder, 1), reference_overlay)
    print(found)
    assert found[RESPONSES] > 100


@pytest.mark.torch
def test_every_tensor_counts(complement: Golden) -> None:
    """Scaled by 1%, each is found out; of tensors that are stacked over blocks, each block's."""
    stimuli = {name: STIMULI[name] for name in ("natural", "grey")}
    theirs = of_reference(complement, stimuli)
    assert caught(complement.model, theirs, stimuli) == {}
    leaves, structure = jax.tree_util.tree_flatten_with_path(complement.model.params)
    margins = {}
    for index, (place, leaf) in enumerate(leaves):
        names = [getattr(key, "key", None) for key in place]
        for block in range(len(leaf)) if "blocks" in names else [None]:
            chosen = slice(None) if block is None else block
            if names[-1] in ("conv_0", "conv_1"):  # a norm follows, which undoes a scale: one input channel then
                chosen = (..., 0, slice(None))
            scaled = leaf.at[chosen].multiply(1.01)
            altered = [scaled if i == index else other for i, (_, other) in enumerate(leaves)]
            params = jax.tree.unflatten(structure, altered)
            found = caught(complement.model.replace(params=params), theirs, stimuli)
            margins[f"{jax.tree_util.keystr(place)} {block}"] = max(found.values(), default=0)
    worst = sorted(margins, key=margins.get)[:3]
    print({name: margins[name] for name in worst}, len(margins))
    assert len(margins) > 100
    assert margins[worst[0]] > 1


@pytest.mark.torch
@pytest.mark.parametrize("number", [1, 2])
def test_another_lora_scale(number: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    name = {1: "overlay", 2: "complement"}[number]
    golden, theirs = request.getfixturevalue(name), request.getfixturevalue(f"reference_{name}")
    folder = tmp_path / "converted"
    convert_subject(golden.berg_dir, number, num_heads=golden.num_heads, lora_scale=0.25, output=folder)
    found = caught(berg_jax.load(folder, number), theirs)
    print(found)
    assert found[TOKENS] > 100


@pytest.mark.torch
def test_position_embedding_without_the_offset(
    complement: Golden, reference_complement: Observation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = partial(constants.resize_position_embedding, offset=0.0)
    monkeypatch.setattr(convert.subject, "resize_position_embedding", without)
    convert_subject(complement.berg_dir, 2, num_heads=3, output=tmp_path / "converted")
    found = caught(berg_jax.load(tmp_path / "converted", 2), reference_complement)
    print(found)
    assert found[TOKENS] > 100


def antialiased(images: jax.Array, precision: str) -> jax.Array:
    resized = jax.image.resize(jnp.asarray(images, "float32"), (len(images), 3, 224, 224), "bilinear", antialias=True)
    return preprocess(resized)


def without_gradient(images: jax.Array, precision: str) -> jax.Array:
    pixels = preprocess(jnp.asarray(images, "float32"))
    return 0.99 * pixels + 0.01 * jax.lax.stop_gradient(pixels)


@pytest.mark.torch
def test_antialiasing_in_the_resize(
    complement: Golden, reference_complement: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert caught(complement.model, reference_complement) == {}
    with monkeypatch.context() as patch:
        patch.setattr("berg_jax.model.encoding_model.pixels_of", antialiased)
        found = caught(complement.model, reference_complement)
    print(found)
    assert set(found) == {RESPONSES}
    assert found[RESPONSES] > 100


@pytest.mark.torch
def test_a_gradient_that_loses_a_hundredth(complement: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    stimuli = {"natural-like": natural_like_images(1, 3)[0]}
    theirs = of_reference(complement, stimuli)
    assert failed(compare(observe(complement.model, stimuli), theirs)) == []
    monkeypatch.setattr("berg_jax.model.encoding_model.pixels_of", without_gradient)
    (name,) = failed(compare(observe(complement.model, stimuli), theirs))
    assert name.startswith(GRADIENT)


@pytest.mark.torch
@pytest.mark.timeout(300)
def test_a_subject_from_end_to_end(berg_dir: Path, complement: Golden, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    options = {"num_heads": 3, "precisions": ("bfloat16",), "show_progress": False}
    made = certify(berg_dir, 2, tmp_path / "out", **options)
    print(made.summary())
    assert made.passed, made.summary()
    assert len(made.checks) == 8
    assert {(row["device"], row["precision"]) for row in made.errors} == {("cpu", "float32"), ("cpu", "bfloat16")}
    assert {row["region"] for row in made.errors} > {"all vertices", "part 1", "FFA-1"}
    assert set(made.stimuli) == set(all_stimuli())
    assert {image["side"] for image in made.stimuli.values()} == {96, 224, 280, 427, 512}
    assert made.versions["torch"]
    assert made.origin == "unrecognized"
    assert made.selection_path["differing"] == 0
    assert read_certificate(tmp_path / "out" / "certificate.json") == made
    page = read_page(tmp_path / "out" / "report.html")
    assert "equals the PyTorch reference, convert/torch_reference.py" in all_text(page)
    assert len(pictures(page)) == 3
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["command"] in page.text["pre"]
    assert shlex.split(config["command"])[:6] == ["berg-jax", "verify", "--berg-dir", str(berg_dir), "--subject", "2"]
    assert (config["settings"]["subject"], config["settings"]["num_heads"]) == (2, 3)
    assert config["settings"]["precisions"] == ["float32", "bfloat16"]

    # The converted folder alone, as on a machine without PyTorch.
    assert check_against(complement.folder, 2, tmp_path / "out" / "certificate.json", show_progress=False).passed

    shutil.rmtree(berg_jax.Subject(berg_dir, 2).folder)
    convert_subject(berg_dir, 2, num_heads=3, lora_scale=0.25)
    options |= {"precisions": ()}
    wrong = certify(berg_dir, 2, tmp_path / "wrong", **options)
    assert {name.partition(",")[0] for name in failed(wrong.checks)} >= {RESPONSES, TOKENS}
    assert wrong.notes == ["The subject was converted with lora_scale 0.25, and the reference was given 0.2."]
    page = read_page(tmp_path / "wrong" / "report.html")
    assert "does NOT equal" in all_text(page)
    assert wrong.notes[0] in page.text["p"]
    with pytest.raises(ResourceError, match="exists"):
        certify(berg_dir, 2, tmp_path / "wrong", **options)


def lenient_norm(precision: Any, name: str) -> flax.linen.LayerNorm:
    return flax.linen.LayerNorm(
        epsilon=1e-5, use_fast_variance=False, dtype=precision.accumulate, param_dtype=jnp.float32, name=name
    )


def gelu_of_tanh(x: jax.Array, approximate: bool) -> jax.Array:
    return 0.5 * x * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("target", "plant", "times"),
    [("jax.nn.gelu", gelu_of_tanh, 50), ("berg_jax.model.nn.vit.layer_norm", lenient_norm, 5)],
)
def test_a_network_that_is_not_quite_it(
    complement: Golden,
    reference_complement: Observation,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    plant: Callable,
    times: float,
) -> None:
    jax.clear_caches()
    monkeypatch.setattr(target, plant)
    try:
        found = caught(complement.model, reference_complement)
    finally:
        jax.clear_caches()  # what was compiled must not outlive the patch
    print(found)
    assert found[TOKENS] > times
