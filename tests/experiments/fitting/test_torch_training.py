"""One training step of the full network, and AdamW, against plain PyTorch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from berg_jax.convert.keys import check_part, convert_part
from berg_jax.experiments.fitting import Recipe
from berg_jax.experiments.fitting.full import predict_with
from berg_jax.experiments.fitting.selectors import is_trained
from berg_jax.experiments.fitting.training.losses import entropy, smooth_l1
from berg_jax.experiments.fitting.training.optimizers import adamw
from berg_jax.experiments.fitting.training.parametrizations import coordinates, read_coordinate_networks
from berg_jax.experiments.fitting.training.steps import Batch, gradient_of, init
from berg_jax.model.checkpoint import read_part
from berg_jax.model.nn.config import ComputePlan

from ...conftest import Golden

pytestmark = pytest.mark.torch
ENTROPY = 0.05  # more than the recipe's, so that its gradient shows


def _made(subject: Golden) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (3, 3, 224, 224), np.uint8)
    rows = np.sort(random.permutation(len(read_part(subject.folder, "part1").vertices))[:20])
    measured = random.normal(size=(3, 20)).astype(np.float32)
    measured[random.random(measured.shape) < 0.2] = np.nan
    vertex_weights = random.uniform(0.5, 1.5, 20).astype(np.float32)
    return images, rows, measured, vertex_weights


def _by_torch(subject: Golden, images: Any, rows: Any, measured: Any, vertex_weights: Any) -> tuple[dict, float]:
    """Gradients by plain PyTorch as a tree like ours, and the loss without regularizers and vertex weights."""
    import torch

    from berg_jax.convert.torch_reference import load_reference

    model = load_reference(subject.berg_dir, subject.subject, num_heads=subject.num_heads)
    part = model.part1
    for parameter in part.parameters():
        parameter.requires_grad_(True)
    maps, vectors = part.features(model.normalize(torch.tensor(images)))[1:]
    layer_weights, centers = (table[torch.tensor(rows)] for table in part.tables())
    responses = part.readout(maps, vectors, layer_weights, centers, torch.tensor(rows))
    target, there = torch.tensor(measured).nan_to_num(), ~torch.tensor(measured).isnan()
    losses = torch.nn.functional.smooth_l1_loss(responses, target, beta=0.01, reduction="none")
    loss = (losses * torch.tensor(vertex_weights))[there].mean()
    regular = ENTROPY * (layer_weights * layer_weights.log()).sum(dim=1).mean()
    (loss + regular).backward()

    name = f"subj{subject.subject:02d}"
    state = {
        f"model.{key}": np.zeros(value.shape, np.float32) if value.grad is None else value.grad.numpy()
        for key, value in part.named_parameters()
    }
    state[f"coord_dict.{name}"] = part.coordinates.numpy()
    return convert_part(state, check_part(state, name, "gradients"), name, "gradients"), losses.detach()[
        there
    ].mean().item()


@pytest.mark.parametrize("remat", [True, False])
def test_gradients_of_every_trained_tensor(complement: Golden, remat: bool) -> None:
    images, rows, measured, vertex_weights = _made(complement)
    part = read_part(complement.folder, "part1")
    weights = part.weights()
    selectors = coordinates(read_coordinate_networks(complement.berg_dir, complement.subject))
    params = {
        "vit": weights["vit"],
        "heads": weights["heads"],
        "selectors": selectors.params,
        "readout": {name: weights["readout"][name] for name in ("weight", "bias")},
    }
    predict = predict_with(part, selectors, "float32", ComputePlan(rematerialize=remat), 0.0)
    state = init(params, optax.identity(), is_trained)
    regularizer = jax.tree_util.Partial(entropy, weight=ENTROPY)

    ours, loss = jax.jit(lambda state, batch: gradient_of(predict, smooth_l1, [regularizer], state, batch))(
        state, Batch(images, measured, rows, vertex_weights)
    )

    theirs, expected_loss = _by_torch(complement, images, rows, measured, vertex_weights)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    theirs["selectors"] = {name: theirs.pop(name) for name in ("layer_selector", "retina_mapper")}
    compared = 0
    for path, gradient in jax.tree_util.tree_leaves_with_path(ours):
        expected = theirs
        for key in path:
            expected = expected[key.key]
        size = np.linalg.norm(expected)
        assert size > 0, path
        assert np.linalg.norm(np.asarray(gradient) - expected) < 1e-4 * size, jax.tree_util.keystr(path)
        compared += 1
    layers = len(part.config.layers)
    # Adapters of four linear layers; three convolutions with two norms, and two linear layers, a layer; two networks
    # of three linear layers; the readout.
    assert compared == 8 + layers * (7 + 4) + 2 * 6 + 2


def test_adamw_is_pytorch_s() -> None:
    import torch

    recipe = Recipe(learning_rate=0.03, start_rate=0.01, warmup_epochs=2, weight_decay=0.1, clip_norm=0.5)
    random = np.random.default_rng(0)
    start = {"kernel": random.normal(size=(3, 4)), "bias": random.normal(size=4)}
    gradients = [{name: random.normal(size=value.shape) for name, value in start.items()} for _ in range(12)]

    optimizer = adamw(recipe, epoch_steps=4)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(
            jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradient), state, params
        )
        params = optax.apply_updates(params, updates)

    tensors = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    groups = [
        {"params": [tensors["kernel"]], "weight_decay": recipe.weight_decay},
        {"params": [tensors["bias"]], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, lr=1.0)
    for step, gradient in enumerate(gradients):
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(gradient[name])
        torch.nn.utils.clip_grad_norm_(list(tensors.values()), recipe.clip_norm)
        for group in theirs.param_groups:
            group["lr"] = min(0.01 + 0.02 * step / 8, 0.03)
        theirs.step()
    for name, tensor in tensors.items():
        np.testing.assert_allclose(params[name], tensor.detach().numpy(), rtol=0, atol=5e-6)
