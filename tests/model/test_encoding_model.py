"""EncodingModel: equal to the reference, pure, and the same whatever is selected."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import berg_jax
from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.model.encoding_model import EncodingModel, features_of, pixels_of, slots_of
from berg_jax.model.nn.precision import PRECISIONS
from berg_jax.model.nn.preprocess import preprocess
from berg_jax.model.nn.vit import ViT
from berg_jax.vertices import Vertices

from ..conftest import Golden


def relative(a: jax.Array, b: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b))


@pytest.mark.parametrize("size", [224, 96, 301])
def test_responses_equal_the_reference(golden: Golden, size: int) -> None:
    images, expected = golden.expected[f"images_{size}"], golden.expected[f"responses_{size}"]
    for given_images in (images, images.astype(">f4"), images.astype(">i2"), jnp.asarray(images)):
        responses = golden.model(given_images)
        assert responses.dtype == jnp.float32
        np.testing.assert_allclose(np.asarray(responses), expected, atol=1e-4, rtol=0)


@jax.jit
def _pixel_gradient(images: jax.Array, weights: jax.Array, model: EncodingModel) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(lambda images: (model(images) * weights[None]).sum())(images)


_ALL = [("224", ""), ("224", "_224_batch2"), ("96", "_96")]
_PLAIN = [("complement", "96", "_96")]  # the others compile as long or longer, and are nightly


@pytest.mark.parametrize(
    ("which", "name", "suffix"),
    _PLAIN
    + [
        pytest.param(which, *case, marks=pytest.mark.nightly)
        for which in ("overlay", "complement")
        for case in _ALL
        if (which, *case) not in _PLAIN
    ],
)
def test_pixel_gradients_equal_the_reference(
    which: str, name: str, suffix: str, request: pytest.FixtureRequest
) -> None:
    golden = request.getfixturevalue(which)
    images = jnp.asarray(golden.expected[f"images_{name}"], jnp.float32)[: 1 if suffix == "" else None]
    value, gradient = _pixel_gradient(images, golden.expected["functional_weights"], golden.model)
    assert relative(gradient, golden.expected["functional_pixel_gradient" + suffix]) < 1e-3
    # The sum over hundreds of vertices is large terms that cancel, and the reference's tables are float32.
    np.testing.assert_allclose(value, golden.expected["functional_value" + suffix], atol=1e-4, rtol=1e-4)


def test_intermediates_equal_the_reference(golden: Golden) -> None:
    images = golden.expected["images_224"][:1]
    _, config = golden.model.config.parts[0]
    params = golden.model.params["part1"]
    pixels = pixels_of(images, "float32")
    np.testing.assert_allclose(pixels[..., ::16, ::16], golden.expected["normalized_224"], atol=2e-5)
    plan = golden.model.config.compute_plan
    taps, maps, vectors = features_of(params["vit"], params["heads"], config, "float32", pixels, plan)

    def equal(ours: jax.Array, name: str) -> None:
        np.testing.assert_allclose(np.asarray(ours), golden.expected[f"part1_{name}"], atol=2e-5, rtol=0)

    from berg_jax.model.nn.heads import pool

    pooled = [pool(taps[layer], layer == config.vit.depth - 1)[0] for layer in config.layers]
    equal(jnp.concatenate(pooled), "pooled")
    for index, layer in enumerate(config.layers):
        grid = taps[layer][:, 1:].reshape(1, 16, 16, -1)
        equal(grid.transpose(0, 3, 1, 2), f"tokens_layer{layer}")
        equal(maps[index].transpose(0, 3, 1, 2), f"conv_layer{layer}")
        equal(vectors[index], f"cls_layer{layer}")


def test_tokens_before_the_first_block(golden: Golden) -> None:
    _, config = golden.model.config.parts[0]
    params = golden.model.params["part1"]["vit"]
    silent = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if path[-1].key in ("ls1", "ls2") else leaf, params
    )
    pixels = preprocess(jnp.asarray(golden.expected["images_224"][:1]))
    tokens, _ = ViT(config.vit, PRECISIONS["float32"]).apply({"params": silent}, pixels)
    np.testing.assert_allclose(tokens[:, :4], golden.expected["part1_tokens_before_block0"], atol=2e-5)


@cache
def full_responses(model_id: int) -> np.ndarray:
    golden = _GOLDEN[model_id]
    return np.asarray(golden.model(golden.expected["images_96"]))


_GOLDEN: dict[int, Golden] = {}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_selection_equals_the_slice(golden: Golden, data: st.DataObject) -> None:
    _GOLDEN[golden.subject] = golden
    size = golden.hemisphere_size
    indices = st.lists(st.integers(0, size - 1), unique=True, max_size=size)
    lh, rh = data.draw(indices), data.draw(indices)
    if not lh and not rh:
        return
    vertices = Vertices(np.array(lh, int), np.array(rh, int), size)
    selected = golden.model.select(vertices)
    np.testing.assert_array_equal(selected.vertices, vertices.global_indices)
    everything = full_responses(golden.subject)
    images = golden.expected["images_96"]
    np.testing.assert_allclose(selected(images), everything[:, vertices.global_indices], atol=1e-5)
    # and of the selection again
    some = data.draw(st.lists(st.sampled_from(vertices.global_indices.tolist()), unique=True, min_size=1))
    again = Vertices.from_global(np.array(some), size)
    twice = selected.select(again)
    np.testing.assert_allclose(twice(images), everything[:, again.global_indices], atol=1e-5)


def test_loading_a_selection_equals_selecting(golden: Golden) -> None:
    vertices = Vertices(np.array([5, 2]), np.array([7]), golden.hemisphere_size)
    loaded = berg_jax.load(golden.folder, golden.subject, vertices)
    selected = golden.model.select(vertices)
    images = golden.expected["images_96"]
    np.testing.assert_array_equal(np.asarray(loaded(images)), np.asarray(selected(images)))


def test_a_selection_of_one_part_has_no_other(golden: Golden, tmp_path: Path) -> None:
    size = golden.hemisphere_size
    part1 = golden.expected["part1_vertices"].astype(int)
    rest = np.setdiff1d(np.arange(2 * size), part1)
    for chosen, name in ((part1, "part1"), (rest, "part2")):
        vertices = Vertices.from_global(chosen, size)
        model = golden.model.select(vertices)
        assert list(model.params) == [name]
        assert [part for part, _ in model.config.parts] == [name]
        loaded = berg_jax.load(golden.folder, golden.subject, vertices)
        assert list(loaded.params) == [name]


def test_unknown_vertices_are_refused(complement: Golden) -> None:
    size = complement.hemisphere_size
    few = complement.model.select(Vertices(np.arange(3), np.arange(2), size))
    with pytest.raises(InvalidParameterError, match="lacks 2 of the selected vertices, such as lh 7, rh 5"):
        few.select(Vertices(np.array([0, 7]), np.array([5]), size))
    with pytest.raises(InvalidParameterError, match="No vertex is selected"):
        complement.model.select(Vertices(np.array([], int), np.array([], int), size))
    with pytest.raises(InvalidParameterError, match=f"hemispheres of {size + 1} vertices.*of {size}"):
        complement.model.select(Vertices(np.array([0]), np.array([0]), size + 1))
    for answer in (complement.model.select, lambda v: berg_jax.load(complement.folder, complement.subject, v)):
        with pytest.raises(InvalidParameterError, match=f"of {size // 2} vertices.*of {size}"):
            answer(Vertices([], [0], size // 2))
        for wrong in ("V1", np.arange(3)):
            with pytest.raises(InvalidParameterError, match=r"must be berg_jax\.Vertices"):
                answer(wrong)
    with pytest.raises(InvalidParameterError, match="of 7 vertices"):
        berg_jax.Subject(complement.folder, 2).identity(Vertices([0], [0], 7))
    with pytest.raises(InvalidParameterError, match="No vertex is selected"):
        berg_jax.load(complement.folder, complement.subject, Vertices(np.array([], int), np.array([], int), size))


def compiled() -> list[int]:
    return [program._cache_size() for program in (pixels_of, features_of, slots_of)]


def test_selections_share_compiled_programs(complement: Golden) -> None:
    images = complement.expected["images_96"]
    size = complement.hemisphere_size
    part2 = np.setdiff1d(np.arange(size), complement.expected["part1_vertices"].astype(int))
    tiles: dict[int, list[int]] = {}
    for count in range(5, 30, 3):
        model = complement.model.select(Vertices(part2[:count], np.array([], int), size))
        model(images)
        tiles.setdefault(len(model.corners["part2"]), []).append(count)
        if len(tiles[len(model.corners["part2"])]) == 1:
            before = compiled()
        assert compiled() == before
    assert len(tiles) <= 4
    assert max(map(len, tiles.values())) > 2


def test_both_parts_and_all_selections_share_the_network(complement: Golden) -> None:
    images = complement.expected["images_96"]
    features_of.clear_cache()
    complement.model(images)
    complement.model.select(Vertices(np.arange(3), np.arange(9), complement.hemisphere_size))(images)
    assert features_of._cache_size() == 1


def test_a_second_call_does_not_compile_again(complement: Golden) -> None:
    images = complement.expected["images_96"]
    complement.model(images)
    before = compiled()
    complement.model(images)
    complement.model.replace(params=jax.tree.map(lambda leaf: leaf * 1.0, complement.model.params))(images)
    assert compiled() == before


def test_no_weights_are_baked_into_the_program(complement: Golden) -> None:
    model, images = complement.model, jnp.zeros((1, 3, 224, 224))
    smallest = min(leaf.size for leaf in jax.tree.leaves(model.params) if leaf.ndim > 1)

    def large_constants(text: str) -> int:
        return sum(len(digits) > 8 * smallest for digits in re.findall(r'dense<"0x([0-9A-F]+)"', text))

    assert large_constants(jax.jit(lambda images, model: model(images)).lower(images, model).as_text()) == 0
    # the way not to do it, which shows that the count counts
    assert large_constants(jax.jit(lambda images: model(images)).lower(images).as_text()) > 10


def _products(jaxpr: jax.extend.core.Jaxpr) -> list[jax.extend.core.JaxprEqn]:
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            found.append(equation)
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(inner, "jaxpr"):
                    found += _products(inner.jaxpr)
                elif hasattr(inner, "eqns"):
                    found += _products(inner)
    return found


@pytest.mark.parametrize(
    ("precision", "products", "operands"),
    [("float32", "HIGHEST", "float32"), ("tensorfloat32", "HIGH", "float32"), ("bfloat16", "DEFAULT", "bfloat16")],
)
def test_every_product_has_the_named_precision(
    complement: Golden, precision: str, products: str, operands: str
) -> None:
    model = berg_jax.load(complement.folder, complement.subject, precision=precision)
    jaxpr = jax.make_jaxpr(lambda images, model: model(images))(jnp.zeros((1, 3, 96, 96)), model)
    found = _products(jaxpr.jaxpr)
    assert len(found) > 20
    followed = 0
    for equation in found:
        ours = {str(p).rpartition(".")[2] for p in equation.params["precision"] or ("DEFAULT",)}
        types = {str(variable.aval.dtype) for variable in equation.invars}
        if ours == {products} and types == {operands}:
            followed += 1
            if operands == "bfloat16" and equation.primitive.name == "dot_general":
                assert equation.params["preferred_element_type"] == jnp.float32
        else:  # resizing and the readout's coefficients are exact in every precision
            assert ours == {"HIGHEST"}
            assert types == {"float32"}
    assert followed > 20


@pytest.mark.parametrize(("precision", "tolerance"), [("tensorfloat32", 1e-4), ("bfloat16", 0.15)])
def test_fast_precisions_are_close(complement: Golden, precision: str, tolerance: float) -> None:
    model = berg_jax.load(complement.folder, complement.subject, precision=precision)
    responses = model(complement.expected["images_224"])
    assert responses.dtype == jnp.float32
    np.testing.assert_allclose(responses, complement.expected["responses_224"], atol=tolerance)
    correlation = np.corrcoef(np.asarray(responses).ravel(), complement.expected["responses_224"].ravel())
    assert correlation[0, 1] > 0.999
    # a selection keeps the precision and its stored types
    some = model.select(Vertices(np.arange(4), np.arange(4), complement.hemisphere_size))
    assert {leaf.dtype for leaf in jax.tree.leaves(some.params)} == {
        leaf.dtype for leaf in jax.tree.leaves(model.params)
    }


@pytest.mark.nightly
def test_float64(complement: Golden) -> None:
    with pytest.raises(InvalidParameterError, match="JAX_ENABLE_X64"):
        berg_jax.load(complement.folder, complement.subject, precision="float64")
    images = complement.expected["images_96"]
    with jax.enable_x64(True):
        model = berg_jax.load(complement.folder, complement.subject, precision="float64")
        responses = model(images)
        assert responses.dtype == jnp.float64
        np.testing.assert_allclose(responses, complement.expected["responses_96"], atol=1e-4)
        np.testing.assert_allclose(responses, complement.model(images), atol=2e-5)
        # gradients against central differences, along a direction
        some = model.select(Vertices(np.arange(6), np.arange(6), complement.hemisphere_size))
        start = jnp.asarray(images, jnp.float64)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=images.shape))
        function = jax.jit(lambda images, model: model(images).mean())
        slope = (jax.grad(function)(start, some) * direction).sum()
        step = 1e-4
        ahead, behind = function(start + step * direction, some), function(start - step * direction, some)
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-6)
    with pytest.raises(InvalidParameterError, match="JAX_ENABLE_X64"):
        model(images)


def test_unknown_precision(complement: Golden) -> None:
    with pytest.raises(InvalidParameterError, match=r"one of .*bfloat16.*got 'float16'"):
        berg_jax.load(complement.folder, complement.subject, precision="float16")


def test_live_adapters_agree_with_fused_ones(golden: Golden) -> None:
    model = berg_jax.Subject(golden.folder, golden.subject).model(fuse_lora=False)
    assert model.config.parts[0][1].vit.lora_rank > 0
    assert "lora_down" in model.params["part1"]["vit"]["blocks"]["attn"]["qkv"]
    np.testing.assert_allclose(
        model(golden.expected["images_224"]), golden.model(golden.expected["images_224"]), atol=2e-5
    )


def test_transformations(complement: Golden) -> None:
    model, images = complement.model, jnp.asarray(complement.expected["images_96"], jnp.float32)
    expected = np.asarray(model(images))
    jitted = jax.jit(lambda model, images: model(images))
    np.testing.assert_allclose(jitted(model, images), expected, atol=1e-5)
    stacked = jnp.stack([images, images[:, :, ::-1]])
    mapped = jax.vmap(model)(stacked)
    assert mapped.shape == (2, 1, 2 * complement.hemisphere_size)
    np.testing.assert_allclose(mapped[0], expected, atol=2e-5)
    leaves, structure = jax.tree.flatten(model)
    np.testing.assert_array_equal(jax.tree.unflatten(structure, leaves)(images), expected)
    assert hash(model.config) == hash(complement.model.config)


@pytest.mark.nightly
def test_gradient_with_respect_to_the_weights(complement: Golden) -> None:
    images = jnp.asarray(complement.expected["images_96"], jnp.float32)

    @jax.jit
    def gradient(params: dict, model: EncodingModel) -> dict:
        return jax.grad(lambda params: model.replace(params=params)(images).sum())(params)

    result = gradient(complement.model.params, complement.model)
    assert jax.tree.structure(result) == jax.tree.structure(complement.model.params)
    # every vertex' bias counts once; empty slots count for nothing
    total = sum(float(part["readout"]["bias"].sum()) for part in result.values())
    assert total == 2 * complement.hemisphere_size
    assert float(jnp.abs(result["part2"]["vit"]["patch_kernel"]).max()) > 0


@pytest.mark.nightly
def test_images_over_many_devices(complement: Golden) -> None:
    devices = jax.devices()
    assert len(devices) == 8
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    model = jax.device_put(complement.model, NamedSharding(mesh, PartitionSpec()))
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 96, 96)).astype(np.uint8)
    spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
    program = jax.jit(lambda model, images: model(images)).lower(model, spread).compile()
    responses = program(model, spread)
    assert responses.sharding.spec == PartitionSpec("data")
    alone = [complement.model(image[None])[0] for image in images]
    np.testing.assert_allclose(responses, alone, atol=1e-5)
    communication = r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    assert not re.search(communication, program.as_text())


BAD_IMAGES = {
    "not square": (np.zeros((1, 3, 10, 12), np.uint8), "square, got 10 × 12"),
    "channels last": (np.zeros((2, 8, 8, 3), np.uint8), "has the channels last"),
    "single": (np.zeros((3, 8, 8), np.uint8), r"image\[None\]"),
    "grey": (np.zeros((2, 1, 8, 8), np.uint8), r"got \(2, 1, 8, 8\), which looks like grey"),
    "empty": (np.zeros((0, 3, 8, 8), np.uint8), "empty batch"),
    "no pixels": (np.zeros((1, 3, 0, 0), np.uint8), "square"),
    "complex": (np.zeros((1, 3, 8, 8), complex), "complex128"),
    "bool": (np.zeros((1, 3, 8, 8), bool), "bool"),
    "list": ([[1]], "got list"),
    "long double": (np.zeros((1, 3, 8, 8), np.longdouble), "integers or floats in 0–255"),
    "another library's": (type("Tensor", (), {"shape": (1, 3, 8, 8), "dtype": "float"})(), "got Tensor"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images(complement: Golden, name: str) -> None:
    images, said = BAD_IMAGES[name]
    with pytest.raises(StimulusError, match=said):
        complement.model(images)
