"""Variants of the computation agree: forms of convolution and attention, loops, tiles; in all precisions."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax import EncodingModel, value_and_pixel_gradient
from berg_jax.model import tuned
from berg_jax.model.defaults import default_batch_size
from berg_jax.model.nn.attention import attend
from berg_jax.model.nn.config import ATTENTIONS, CONVOLUTIONS, ComputePlan, plan_of
from berg_jax.model.nn.convolutions import convolve
from berg_jax.model.nn.precision import PRECISIONS
from berg_jax.subject import Subject, load

from ..conftest import Golden

HERE = [form for form in ATTENTIONS if form != "cudnn"]  # which needs a GPU
VARIANTS = [
    *({"winograd": False, "convolution": form} for form in CONVOLUTIONS),
    *({"attention": form} for form in HERE if form != "halves"),
    {"unroll": True},
    {"narrow_products": True},
    {"tiles_per_step": 1},
    {"tiles_per_step": 64},
]
CPU = jax.devices("cpu")[0]


@pytest.fixture
def cache(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """An empty cache folder."""
    monkeypatch.setenv("BERG_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def relative(a: jax.Array, b: jax.Array) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("tensorfloat32", 1e-6), ("bfloat16", 1e-2)])
def test_forms_agree_with_numpys(precision: str, tolerance: float) -> None:
    random, kind = np.random.default_rng(0), PRECISIONS[precision]
    maps, kernel = random.normal(size=(2, 9, 8, 6)), random.normal(size=(5, 5, 6, 3))
    expected = np.zeros((2, 5, 4, 3))
    for row, column in np.ndindex(5, 5):
        expected += maps[:, row : row + 5, column : column + 4] @ kernel[row, column]
    for form in CONVOLUTIONS:
        found = convolve(jnp.asarray(maps, jnp.float32), jnp.asarray(kernel, kind.operands), kind, form)
        assert found.dtype == jnp.float32
        assert relative(found, expected) < tolerance, form
    q, k, v = random.normal(size=(3, 2, 4, 7, 5))
    scores = np.exp(q @ k.swapaxes(2, 3) / np.sqrt(5))
    expected = scores / scores.sum(axis=-1, keepdims=True) @ v
    for form in HERE:
        found = attend(*(jnp.asarray(x, jnp.float32) for x in (q, k, v)), kind, form)
        assert found.dtype == jnp.float32
        assert relative(found, expected) < tolerance, form


@pytest.mark.nightly
@pytest.mark.parametrize("tokens", [(7, 7), (8, 8), (7, 8), (8, 7)])
def test_cudnn_s_attention_is_given_even_numbers_of_tokens_and_none_of_the_filling(
    tokens: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = jax.nn.dot_product_attention

    def checked(q: jax.Array, k: jax.Array, v: jax.Array, implementation: str, **options: jax.Array) -> jax.Array:
        assert implementation == "cudnn"  # which needs a GPU; XLA's masks by the same numbers
        assert q.shape[1] % 2 == k.shape[1] % 2 == v.shape[1] % 2 == 0
        return theirs(q, k, v, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", checked)
    random, (queries, keys) = np.random.default_rng(0), tokens
    q, k, v = (jnp.asarray(random.normal(size=(3, 2, count, 4)), jnp.float32) for count in (queries, keys, keys))
    exact = PRECISIONS["float32"]
    gradient = jax.grad(lambda q, k, v, form: (attend(q, k, v, exact, form) ** 2).sum(), argnums=(0, 1, 2))
    np.testing.assert_allclose(attend(q, k, v, exact, "cudnn"), attend(q, k, v, exact, "plain"), atol=1e-5)
    for found, expected in zip(gradient(q, k, v, "cudnn"), gradient(q, k, v, "plain"), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_device_that_was_not_tuned_computes_as_its_kind_does(cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU → what the estimates favor, narrow only in bfloat16; a CPU → the default; tuned → as it was found."""
    assert tuned.untuned_variant("cpu", "bfloat16") == tuned.untuned_variant("tpu", "float32") == {}
    common = {"attention": "plain", "unroll": True, "tiles_per_step": 256}
    assert tuned.untuned_variant("gpu", "float32") == common
    assert tuned.untuned_variant("gpu", "bfloat16") == common | {"narrow_products": True}
    monkeypatch.setitem(tuned._UNTUNED, "cpu", common)
    assert tuned.tuned_variant("float32") == common
    tuned.keep_tuned(CPU, "float32", {"variant": {}, "batch_size": None})
    assert tuned.tuned_variant("float32") == {}


@pytest.mark.nightly
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-5), ("tensorfloat32", 2e-5), ("bfloat16", 5e-2)])
def test_every_variant_s_responses_and_gradients_agree(golden: Golden, precision: str, tolerance: float) -> None:
    subject = Subject(golden.folder, golden.subject)
    images = jnp.asarray(golden.expected["images_96"], jnp.float32)
    weights = np.random.default_rng(0).normal(size=len(golden.model.vertices)).astype(np.float32)

    def pixel_gradient(model: EncodingModel) -> jax.Array:
        return value_and_pixel_gradient(model, images, lambda responses: (responses * weights).sum())[1]

    base = subject.model(precision=precision)
    responses, gradient = base(images), pixel_gradient(base)
    for variant in VARIANTS:
        if precision != "float32":
            variant = {name: value for name, value in variant.items() if name != "winograd"}
        model = subject.model(precision=precision, variant=variant)
        assert relative(model(images), responses) < tolerance, variant
        assert relative(pixel_gradient(model), gradient) < tolerance, variant


@pytest.mark.parametrize("precision", ["float32", "tensorfloat32", "bfloat16"])
def test_every_variant_s_products_have_the_named_precision(complement: Golden, precision: str) -> None:
    kind = PRECISIONS[precision]
    q = jnp.ones((1, 2, 7, 4))
    programs = [(lambda q, form=form: attend(q, q, q, kind, form), (q,)) for form in HERE]
    maps, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((5, 5, 3, 2))
    programs += [(lambda m, k, form=form: convolve(m, k, kind, form), (maps, kernel)) for form in CONVOLUTIONS]
    for program, arguments in programs:
        text = str(jax.make_jaxpr(program)(*arguments))
        products = text.count("dot_general[") + text.count("conv_general_dilated[")
        assert products
        if kind.products.name != "DEFAULT":
            assert text.count(f"Precision.{kind.products.name}") + text.count(f"={kind.products.name}\n") >= products


def test_the_default_is_no_variant_and_a_variant_is_what_differs(complement: Golden) -> None:
    assert complement.model.config.variant == {}
    fast = load(complement.folder, complement.subject, precision="bfloat16")
    assert fast.config.variant == {}
    subject = Subject(complement.folder, complement.subject)
    assert subject.model(fuse_lora=False).config.variant == {}
    for variant in ({"winograd": False, "convolution": "im2col"}, {"attention": "plain", "tiles_per_step": 4}):
        model = subject.model(variant=variant)
        assert model.config.variant == variant
        assert model.crop().rematerialized().config.variant == variant


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"convolution": "fft"}, "convolution must be one of"),
        ({"attention": 3}, "attention must be one of"),
        ({"unroll": 1}, "unroll must be true or false"),
        ({"narrow_products": "yes"}, "narrow_products must be true or false"),
        ({"tiles_per_step": 0}, "tiles_per_step must be at least 1"),
        ({"tiles_per_step": True}, "tiles_per_step must be an integer"),
        ({"window": None}, "A variant has"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused(variant: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan_of(variant, winograd=True)


def test_what_was_kept_is_found_by_device_precision_and_version(cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuned.tuned_variant("float32") == {}
    tuned.keep_tuned(CPU, "float32", {"variant": {"attention": "plain"}, "batch_size": 16})
    tuned.keep_tuned(CPU, "bfloat16", {"variant": {}, "batch_size": None})
    assert tuned.tuned_variant("float32") == {"attention": "plain"}
    assert default_batch_size(CPU) == 16
    assert (tuned.tuned_variant("bfloat16"), default_batch_size(CPU, "bfloat16")) == ({}, 8)
    assert tuned.tuned_variant("tensorfloat32") == {}
    monkeypatch.setattr(jax, "__version__", "99.0")
    assert (tuned.tuned_variant("float32"), default_batch_size(CPU)) == ({}, 8)


@pytest.mark.parametrize(
    "kept",
    [
        b"{",
        b"[1]",
        b"[" * 100_000,
        {"variant": {"convolution": "fft"}},
        {"variant": [1]},
        {"variant": "x"},
        {"batch_size": 10**12},
        {"batch_size": "8"},
        [1],
    ],
)
def test_what_was_kept_and_is_damaged_is_as_if_it_were_not(cache, kept: object) -> None:
    """A damaged ``tuned.json`` → the defaults, in bounded memory."""
    cache.mkdir()
    if not isinstance(kept, bytes):
        kept = json.dumps({tuned._key(CPU, "float32", jax.__version__): kept}).encode()
    (cache / tuned.FILE).write_bytes(kept)
    assert (tuned.tuned_variant("float32"), default_batch_size(CPU)) == ({}, 8)


def test_a_loaded_model_is_computed_as_was_found(cache, complement: Golden) -> None:
    tuned.keep_tuned(CPU, "float32", {"variant": {"attention": "plain", "tiles_per_step": 4}})
    found = load(complement.folder, complement.subject)
    expected = dataclasses.replace(complement.model.config.compute_plan, attention="plain", tiles_per_step=4)
    assert found.config.compute_plan == expected
    assert Subject(complement.folder, complement.subject).model().config.compute_plan == ComputePlan(winograd=True)
