"""The PyTorch bridge, both ways, against generators in JAX, ``jax.grad``, the PyTorch reference and differences."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax import bridge
from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.experiments.synthesis import Parametrization, objectives, optimize

from ..conftest import Golden

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
LATENTS, SIDE = 5, 16


def generator() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(LATENTS, 48), torch.nn.Tanh(), torch.nn.Linear(48, 3 * SIDE * SIDE), torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers, torch.nn.Unflatten(1, (3, SIDE, SIDE))).eval()


def in_jax(module: torch.nn.Module) -> Callable[[jax.Array], jax.Array]:
    first, second = ([jnp.asarray(p.detach().numpy()) for p in module[index].parameters()] for index in (0, 2))

    def decode(latents: jax.Array) -> jax.Array:
        hidden = jnp.tanh(jnp.matmul(latents, first[0].T, precision="highest") + first[1][None])
        flat = jax.nn.sigmoid(jnp.matmul(hidden, second[0].T, precision="highest") + second[1][None])
        return flat.reshape(-1, 3, SIDE, SIDE)

    return decode


def test_a_torch_generator_s_gradient_is_that_of_the_same_generator_in_jax() -> None:
    module = generator()
    theirs, ours = bridge.from_torch(module), in_jax(module)
    latents = jax.random.normal(jax.random.key(1), (4, LATENTS))
    weights = jax.random.normal(jax.random.key(2), (4, 3, SIDE, SIDE))
    for run in (lambda f: f, jax.jit):
        got = run(jax.value_and_grad(lambda x: (weights * theirs(x) ** 2).sum()))(latents)
        expected = jax.value_and_grad(lambda x: (weights * ours(x) ** 2).sum())(latents)
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-5, atol=1e-5 * np.abs(expected[1]).max())


def test_vmap_makes_one_batch_and_no_loop() -> None:
    module, batches = generator(), []

    def counted(latents: torch.Tensor) -> torch.Tensor:
        batches.append(len(latents))
        return module(latents)

    theirs = bridge.from_torch(counted)
    latents = jax.random.normal(jax.random.key(1), (2, 3, 4, LATENTS))
    gradient = jax.jit(jax.vmap(jax.vmap(jax.grad(lambda x: (theirs(x) ** 3).sum()))))(latents)
    expected = jax.vmap(jax.vmap(jax.grad(lambda x: (in_jax(module)(x) ** 3).sum())))(latents)
    assert batches[0] == 1  # the probe of the result's shape
    assert set(batches[1:]) == {24}
    assert len(batches) <= 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_the_gradient_agrees_with_finite_differences() -> None:
    theirs = bridge.from_torch(lambda x, t: torch.sin(x * (1 + t[:, None])) + x**2)
    t = jnp.arange(3)

    def value(x: jax.Array) -> jax.Array:
        return theirs(x, t).sum()

    x = jax.random.normal(jax.random.key(0), (3, 4))
    direction = jax.random.normal(jax.random.key(1), (3, 4))
    step = 1e-2
    measured = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    np.testing.assert_allclose((jax.grad(value)(x) * direction).sum(), measured, rtol=1e-3)


def test_a_torch_generator_is_optimized_as_its_twin_in_jax_is() -> None:
    module = generator()

    def scaled(decode: Callable[[jax.Array], jax.Array]) -> Parametrization:
        return Parametrization(lambda key, n: jax.random.normal(key, (n, LATENTS)), lambda z: 255 * decode(z))

    def model(images: jax.Array) -> jax.Array:
        return images.mean(axis=(2, 3)) / 255

    objective = objectives.mean(np.array([1.0, 0.5, -0.5]))
    decoders = (bridge.from_torch(module), in_jax(module))
    results = [optimize(model, objective, scaled(d), n=4, steps=8, show_progress=False) for d in decoders]
    np.testing.assert_allclose(results[0].values, results[1].values, rtol=1e-4)
    assert results[0].history[-1].mean() > results[0].history[0].mean()


def pictures() -> np.ndarray:
    return np.random.default_rng(3).uniform(20, 235, (2, 3, 224, 224)).astype(np.float32)


def test_the_encoder_in_a_torch_loop_has_jax_s_gradient(complement: Golden) -> None:
    from berg_jax.convert.torch_reference import load_reference, pixel_gradient

    images = pictures()
    weights = np.random.default_rng(1).normal(size=len(complement.model.vertices)).astype(np.float32)
    module = bridge.to_torch(complement.model, lambda responses: (responses * weights[None]).sum(axis=1))
    tensor = torch.tensor(images, requires_grad=True)
    value = module(tensor)
    value.sum().backward()
    gradient = jax.jit(jax.grad(lambda images, model: (model(images) * weights[None]).sum()))
    expected = gradient(images, complement.model)
    scale = np.abs(expected).max()
    assert value.shape == (2,)
    np.testing.assert_allclose(tensor.grad.numpy() / scale, expected / scale, atol=1e-6)
    reference = load_reference(complement.berg_dir, complement.subject, num_heads=complement.num_heads)
    theirs = pixel_gradient(reference, images, weights)
    np.testing.assert_allclose(tensor.grad.numpy() / scale, theirs / scale, atol=2e-4)


def test_a_torch_optimizer_climbs_the_encoder_and_leaks_nothing(complement: Golden) -> None:
    count = len(complement.model.vertices)
    module = bridge.to_torch(complement.model, objectives.mean(np.full(count, 1 / count)))
    pixels = torch.full((1, 3, 64, 64), 127.5).add_(torch.randn(1, 3, 64, 64)).requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=0.3)
    decode = bridge.from_torch(generator())
    gradient = jax.jit(jax.grad(lambda x: decode(x).sum()))
    values, counts, memory = [], [], []
    for step in range(120):
        optimizer.zero_grad()
        value = module(pixels.clamp(0, 255))
        (-value.sum()).backward()
        optimizer.step()
        gradient(jnp.ones((8, LATENTS))).block_until_ready()
        values.append(value.item())
        if step in (19, 119):
            gc.collect()
            tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
            counts.append((len(jax.live_arrays()), tensors))
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert values[-1] > values[0]
    assert counts[1] == counts[0]
    # 100 steps that each kept their image, its gradient and one layer's tokens (0.3 MB) would add 30 MB.
    assert memory[1] - memory[0] < 20_000


def in_place(x: torch.Tensor) -> torch.Tensor:
    return x.mul_(2)


ERRORS = {
    "training mode": (lambda: bridge.from_torch(generator().train()), r"module\.eval\(\) first"),
    "device": (lambda: bridge.from_torch(generator(), device="meta"), "weights are on cpu, not on meta"),
    "type": (
        lambda: bridge.from_torch(generator().double())(jnp.ones((2, LATENTS))),
        "float64 and the input float32",
    ),
    "integers": (lambda: bridge.from_torch(generator())(jnp.ones((2, LATENTS), int)), "No argument is of floating"),
    "batch": (lambda: bridge.from_torch(lambda x, y: x + y)(jnp.ones((2, 1)), jnp.ones((3, 1))), "first axis"),
    "in place": (lambda: bridge.from_torch(in_place)(jnp.ones((2, 1))), r"module\(x\.clone\(\)\)"),
    "not a tensor": (lambda: bridge.from_torch(lambda x: (x, x))(jnp.ones((2, 1))), "one tensor, got tuple"),
    "no batch": (lambda: bridge.from_torch(lambda x: x.sum())(jnp.ones((2, 1))), "batch as the first axis"),
    "array": (lambda: bridge.to_torch(jnp.sin)(np.ones(3)), "floating-point tensor, got ndarray"),
    "64 bits out": (
        lambda: bridge.from_torch(lambda x: x.double())(jnp.ones((2, 1))),
        "returns float64, and 64-bit types are off",
    ),
    "64 bits in": (lambda: bridge.to_torch(jnp.sin)(torch.ones(3).double()), r"use tensor\.float\(\)"),
    "whole numbers": (lambda: bridge.to_torch(jnp.sin)(torch.ones(3, dtype=torch.int32)), "got torch.int32"),
}


@pytest.mark.parametrize("mistake", ERRORS)
def test_each_mistake_has_its_sentence(mistake: str) -> None:
    make, sentence = ERRORS[mistake]
    with pytest.raises(InvalidParameterError, match=sentence):
        make()


def test_a_function_that_works_in_place_leaves_jax_s_array_as_it_was() -> None:
    array = jnp.ones((2, 1))
    with pytest.raises(InvalidParameterError, match="in place"):
        bridge.from_torch(in_place)(array)
    assert array.tolist() == [[1.0], [1.0]]


def test_images_modified_before_their_gradient_are_an_error() -> None:
    leaf = torch.ones(3, requires_grad=True)
    images = leaf * 2
    value = bridge.to_torch(jnp.square)(images)
    images.add_(1)
    with pytest.raises(InvalidParameterError, match=r"images\.clone\(\)"):
        value.sum().backward()


def test_images_from_0_to_1_are_refused(complement: Golden) -> None:
    with pytest.raises(StimulusError, match="look like 0–1"):
        bridge.to_torch(complement.model)(torch.rand(1, 3, 64, 64))


def test_bfloat16_crosses_the_bridge_in_both_directions() -> None:
    x = jnp.asarray([[1.0, 2.0, 3.0]], jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda x: bridge.from_torch(torch.square)(x).sum()))(x)
    assert gradient.dtype == jnp.bfloat16
    assert gradient.tolist() == [[2.0, 4.0, 6.0]]
    tensor = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    bridge.to_torch(jnp.square)(tensor).sum().backward()
    assert tensor.grad.tolist() == [2.0, 4.0]


def test_concrete_arrays_are_not_copied() -> None:
    array, addresses = jnp.arange(64.0).reshape(8, 8), []

    def seen(x: torch.Tensor) -> torch.Tensor:
        addresses.append(x.data_ptr())
        return x + 1

    np.testing.assert_array_equal(bridge.from_torch(seen)(array), np.asarray(array) + 1)
    assert addresses[-1] == array.unsafe_buffer_pointer()


def test_without_torch_the_bridge_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from berg_jax import bridge, errors\n"
        "for cross in (bridge.from_torch, bridge.to_torch):\n"
        "    try: cross(abs)\n"
        "    except errors.ResourceError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.count("pip install 'berg_jax[torch]'") == 2
