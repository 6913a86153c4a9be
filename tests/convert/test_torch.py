"""Against PyTorch: files it writes and reads, the resize, and whole subjects of many sizes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import berg_jax
from berg_jax.convert.constants import resize_position_embedding
from berg_jax.convert.subject import convert_subject
from berg_jax.convert.synthetic import SIZES, SyntheticSize, make_synthetic_subject, natural_like_images
from berg_jax.experiments.synthesis import objectives
from berg_jax.files.torch_archive import read_torch
from berg_jax.model.encoding_model import features_of, pixels_of
from berg_jax.model.nn.preprocess import preprocess
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.vertices import Vertices

from ..conftest import DATA, Golden

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SUBJECTS = {
    "one layer": SyntheticSize(64, 3, (1,), 5, 40, 33, lora_rank=1, condition=3, hidden=16),
    "last of one block": SyntheticSize(24, 1, (0,), 1, 20, 7, condition=2, hidden=8, num_heads=2),
    "twelve layers": SyntheticSize(48, 12, tuple(range(12)), 7, 300, 150, lora_rank=9, hidden=24, num_heads=6),
    "complement": SyntheticSize(40, 4, (0, 3), 33, 77, 100, layout="complement", num_heads=1),
    "grid of 16": SyntheticSize(32, 2, (0, 1), 6, 50, 2, position_side=16, num_heads=4),
    "grid of 20": SyntheticSize(32, 2, (1,), 6, 50, 97, position_side=20, num_heads=4, layout="complement"),
    "ViT-S": SyntheticSize(384, 12, (2, 5, 8, 11), 32, 500, 300),
}


def reference(berg_dir: Path, subject: int, **options: object) -> ModuleType:
    from berg_jax.convert.torch_reference import load_reference

    return load_reference(berg_dir, subject, **options)


# The layers' gradients are the same in all sizes, so that those of the other subjects are left to the nightly group,
# and so is a subject of twelve layers, as ViT-S has, too.
@pytest.mark.parametrize(
    ("name", "gradients"),
    [
        *((name, name == "complement") for name in SUBJECTS if name != "twelve layers"),
        *(pytest.param(name, True, marks=pytest.mark.nightly) for name in SUBJECTS if name != "complement"),
    ],
)
def test_subjects_of_every_size(name: str, gradients: bool, tmp_path: Path) -> None:
    size = SUBJECTS[name]
    berg_dir = make_synthetic_subject(tmp_path, size=size, seed=3)
    theirs = reference(berg_dir, 1, num_heads=size.heads)
    ours = berg_jax.load(berg_dir, 1, num_heads=size.heads)
    images = natural_like_images(2, 11, 130)
    pixels = torch.tensor(images, dtype=torch.float32, requires_grad=True)
    responses = theirs(pixels)
    np.testing.assert_allclose(ours(images), responses.detach().numpy(), atol=1e-4, rtol=0)
    if not gradients:
        return

    weights = np.random.default_rng(0).normal(size=2 * size.hemisphere_size).astype(np.float32)
    (responses * torch.tensor(weights)).sum().backward()

    @jax.jit
    def gradient(images: jax.Array, model: berg_jax.EncodingModel) -> jax.Array:
        return jax.grad(lambda images: (model(images) * weights[None]).sum())(images)

    expected = pixels.grad.numpy()
    got = np.asarray(gradient(jnp.asarray(images, jnp.float32), ours))
    assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < 1e-3


def test_the_reference_equals_the_published_package(golden: Golden) -> None:
    theirs = reference(golden.berg_dir, golden.subject, num_heads=golden.num_heads)
    with torch.no_grad():
        for size in (224, 96, 301):
            images = torch.tensor(golden.expected[f"images_{size}"])
            np.testing.assert_allclose(theirs(images), golden.expected[f"responses_{size}"], atol=1e-4, rtol=0)
        weights, centers = theirs.part1.tables()
    np.testing.assert_allclose(weights, golden.expected["part1_layer_weights"], atol=2e-5)
    np.testing.assert_allclose(centers, golden.expected["part1_receptive_field_xy"], atol=2e-5)


def test_tapped_tokens(golden: Golden) -> None:
    theirs = reference(golden.berg_dir, golden.subject, num_heads=golden.num_heads)
    images = golden.expected["images_224"]
    with torch.no_grad():
        expected, _, _ = theirs.part2.features(theirs.normalize(torch.tensor(images)))
    config = dict(golden.model.config.parts)["part2"]
    params = golden.model.params["part2"]
    pixels, plan = pixels_of(images, "float32"), golden.model.config.compute_plan
    taps, _, _ = features_of(params["vit"], params["heads"], config, "float32", pixels, plan)
    for layer, tokens in zip(config.layers, expected, strict=True):
        assert np.linalg.norm(taps[layer] - tokens.numpy()) / np.linalg.norm(tokens) < 2e-6


@pytest.mark.parametrize("size", [30, 200, 425, 500])
def test_resize(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 3, size, size)).astype(np.uint8)
    from berg_jax.convert.torch_reference import ReferenceModel

    expected = ReferenceModel.normalize(None, torch.tensor(images))
    np.testing.assert_allclose(preprocess(jnp.asarray(images)), expected, atol=2e-4)


@pytest.mark.parametrize("side", [2, 15, 17, 37, 50])
def test_position_embedding(side: int) -> None:
    embedding = np.random.default_rng(0).normal(size=(1 + side**2, 4)).astype(np.float32)
    from berg_jax.convert.torch_reference import VisionTransformer

    sizes = {"embed": 4, "positions": 1 + side**2, "hidden": 4, "rank": 1, "condition": 1, "depth": 1}
    network = VisionTransformer(sizes, 1, 0.2)
    network.pos_embed.data = torch.tensor(embedding)[None]
    expected = network.position_embedding(16)[0].detach()
    np.testing.assert_allclose(resize_position_embedding(embedding), expected, atol=2e-5)


def test_torch_reads_our_files_back_equal(tmp_path: Path) -> None:
    files = SubjectFiles(make_synthetic_subject(tmp_path, size="tiny"), 1)
    for path in (files.part1, files.part2):
        theirs, ours = torch.load(path, weights_only=True), read_torch(path)
        assert list(theirs) == list(ours)
        for name, tensor in theirs.items():
            assert tensor.dtype == torch.float32
            np.testing.assert_array_equal(tensor.numpy(), ours[name])
    indices = torch.load(files.indices, weights_only=False)
    np.testing.assert_array_equal(indices["subj01"], read_torch(files.indices)["subj01"])


def test_we_read_what_this_torch_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DATA / "reading" / "make.py", tmp_path], check=True)
    spec = importlib.util.spec_from_file_location("make", DATA / "reading" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)

    def compare(theirs: object, ours: object) -> None:
        if isinstance(theirs, torch.Tensor):
            assert theirs.shape == ours.shape
            assert str(theirs.dtype).removeprefix("torch.") == str(ours.dtype)
            np.testing.assert_array_equal(theirs.detach().double().numpy(), ours.astype(np.float64))
        elif isinstance(theirs, dict):
            assert list(theirs) == list(ours)
            for key, value in theirs.items():
                compare(value, ours[key])
        elif isinstance(theirs, list):
            for a, b in zip(theirs, ours, strict=True):
                compare(a, b)
        else:
            assert type(theirs) is type(ours)
            np.testing.assert_array_equal(theirs, ours)

    for protocol in (2, 3, 4, 5):
        compare(make.everything(), read_torch(tmp_path / f"protocol{protocol}.pth"))


def test_gradients_of_objectives(complement: Golden) -> None:
    theirs = reference(complement.berg_dir, complement.subject, num_heads=complement.num_heads)
    pixels = torch.tensor(complement.expected["images_96"], dtype=torch.float32, requires_grad=True)
    random = np.random.default_rng(0)
    weights, target = random.uniform(size=(3, 160)), random.normal(size=160)
    responses = theirs(pixels).double()
    faces, places, ceiling = (torch.tensor(w / w.sum()) for w in weights)

    def standardized(x: torch.Tensor) -> torch.Tensor:
        centered = (x - (ceiling * x).sum(-1, keepdim=True)) * ceiling.sqrt()
        return centered / centered.norm(dim=-1, keepdim=True)

    matched = (standardized(responses) * standardized(torch.tensor(target)[None])).sum(-1)
    (responses @ faces - 2 * responses @ places + 3 * matched).sum().backward()
    faces, places, ceiling = (w / w.sum() for w in weights)
    objective = objectives.mean(faces) - 2 * objectives.mean(places) + 3 * objectives.correlation(target, ceiling)

    @jax.jit
    def gradient(images: jax.Array, model: berg_jax.EncodingModel) -> jax.Array:
        return jax.grad(lambda images: objective(model(images)).sum())(images)

    got = np.asarray(gradient(jnp.asarray(pixels.detach().numpy()), complement.model))
    expected = pixels.grad.numpy()
    assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < 1e-3


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_published_size(tmp_path: Path) -> None:
    """All 327,684 vertices forward, and the pixel gradient of a weighted sum of them all. Prints the figures."""
    berg_dir = make_synthetic_subject(tmp_path, size="published")
    convert_subject(berg_dir, 1)
    ours = berg_jax.load(berg_dir, 1)
    total = 2 * SIZES["published"].hemisphere_size
    images = natural_like_images(1, 5)
    weights = np.random.default_rng(0).normal(size=total).astype(np.float32) / np.sqrt(total)

    @jax.jit
    def gradient(images: jax.Array, model: berg_jax.EncodingModel) -> jax.Array:
        return jax.grad(lambda images: (model(images) * weights[None]).sum())(images)

    responses = np.asarray(ours(images))
    pixel_gradient = np.asarray(gradient(jnp.asarray(images, jnp.float32), ours))
    some = Vertices(np.arange(0, total // 2, 1000), np.arange(5, total // 2, 1000), total // 2)
    np.testing.assert_allclose(ours.select(some)(images), responses[:, some.global_indices], atol=1e-5)
    del ours

    theirs = reference(berg_dir, 1)
    pixels = torch.tensor(images, dtype=torch.float32, requires_grad=True)
    expected = theirs(pixels)
    (expected * torch.tensor(weights)).sum().backward()
    error = np.abs(responses - expected.detach().numpy()).max()
    relative = np.linalg.norm(pixel_gradient - pixels.grad.numpy()) / np.linalg.norm(pixels.grad.numpy())
    print(f"\nlargest response error {error:.2g}, relative gradient error {relative:.2g}")
    assert error < 1e-4
    assert relative < 1e-3
