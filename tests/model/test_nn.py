"""The network's pieces against independent, naive ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from berg_jax.model.nn.config import PartConfig, ViTConfig
from berg_jax.model.nn.heads import Heads
from berg_jax.model.nn.precision import PRECISIONS
from berg_jax.model.nn.preprocess import MEAN, STD, preprocess
from berg_jax.model.nn.readout import TILE, assign_tiles, readout, tile_count
from berg_jax.model.nn.vit import ViT

FLOAT32 = PRECISIONS["float32"]


@pytest.mark.parametrize("size", [1, 37, 223, 225, 425])
def test_preprocess(size: int) -> None:
    images = np.random.default_rng(size).integers(0, 256, (1, 3, size, size)).astype(np.uint8)
    position = (np.arange(224) + 0.5) * size / 224 - 0.5
    y, x = np.meshgrid(position, position, indexing="ij")
    resized = np.stack([map_coordinates(c / 255, [y, x], order=1, mode="nearest") for c in images[0].astype(float)])
    expected = (resized - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(preprocess(jnp.asarray(images))[0], expected, atol=2e-6)


def naive_readout(params: dict, maps: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """One vertex and one layer at a time, sampling by scipy."""
    layers, batch, _, _, width = maps.shape
    out = np.zeros((batch, len(params["bias"])))
    for n, (x, y) in enumerate(params["rf_center"]):
        column, row = ((x + 1) * 16 - 1) / 2, ((y + 1) * 16 - 1) / 2
        for b in range(batch):
            h = np.zeros(width)
            for layer in range(layers):
                padded = np.pad(maps[layer, b], ((1, 1), (1, 1), (0, 0)))
                sampled = [
                    map_coordinates(padded[..., d], [[row + 1], [column + 1]], order=1)[0] for d in range(width)
                ]
                h += params["layer_weights"][n, layer] * (np.array(sampled) + vectors[layer, b])
            out[b, n] = (params["weight"][n] * h).mean() + params["bias"][n]
    return out


def test_readout_equals_a_naive_one() -> None:
    random = np.random.default_rng(0)
    n, width, layers, batch = 40, 5, 2, 3
    centers = random.uniform(-0.99, 0.99, (n, 2)).astype(np.float32)
    centers[:6] = [[-0.99, -0.99], [0.99, 0.99], [-0.99, 0.99], [0, 0], [-0.9375, 0.0625], [0.9375, 0.9375]]
    params = {
        "weight": random.normal(size=(n, width)).astype(np.float32),
        "bias": random.normal(size=n).astype(np.float32),
        "layer_weights": random.dirichlet(np.ones(layers), n).astype(np.float32),
        "rf_center": centers,
    }
    maps = random.normal(size=(layers, batch, 16, 16, width)).astype(np.float32)
    vectors = random.normal(size=(layers, batch, width)).astype(np.float32)
    rows, corners = assign_tiles(centers)
    tiled = {
        name: np.where((rows >= 0).reshape(rows.shape + (1,) * (t.ndim - 1)), t[rows], 0)
        for name, t in params.items()
    }
    slots = readout(jax.tree.map(jnp.asarray, tiled), jnp.asarray(corners), jnp.asarray(maps), vectors, FLOAT32)
    got = np.empty((batch, n))
    got[:, rows[rows >= 0]] = np.asarray(slots)[:, (rows >= 0).ravel()]
    np.testing.assert_allclose(got, naive_readout(params, maps, vectors), atol=1e-5)
    assert not np.asarray(slots)[:, (rows < 0).ravel()].any()


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 2000), spread=st.floats(0, 0.99), seed=st.integers(0, 1000))
def test_tiles_hold_every_vertex_once_and_look_at_one_cell(n: int, spread: float, seed: int) -> None:
    centers = np.random.default_rng(seed).uniform(-spread, spread, (n, 2)).astype(np.float32)
    rows, corners = assign_tiles(centers)
    assert rows.shape == (len(corners), TILE)
    np.testing.assert_array_equal(np.sort(rows[rows >= 0]), np.arange(n))
    position = ((centers + 1) * 16 - 1) / 2 + 1
    for tile, corner in zip(rows, corners, strict=True):
        x, y = position[tile[tile >= 0]].T
        left, top = corner % 18, corner // 18
        assert ((x >= left) & (x <= left + 1) & (y >= top) & (y <= top + 1)).all()


def test_tile_counts() -> None:
    assert [tile_count(n) for n in (1, 2, 3, 5, 100, 256, 257, 2700)] == [1, 2, 4, 8, 128, 256, 512, 2816]


@pytest.mark.parametrize("config", [ViTConfig.tiny(), ViTConfig.tiny(lora_rank=2), ViTConfig.vit_s14()])
def test_parameters_have_the_sizes_that_the_config_says(config: ViTConfig) -> None:
    images = jnp.zeros((1, 3, 224, 224))
    vit = ViT(config, FLOAT32, taps=(0, config.depth - 1))
    params = jax.eval_shape(vit.init, jax.random.key(0), images)["params"]
    part = PartConfig(config, (0, config.depth - 1), 6)
    tokens, taps = jax.eval_shape(vit.apply, {"params": params}, images)
    assert tokens.shape == (1, 257, config.embed_dim)
    heads = jax.eval_shape(Heads(part, FLOAT32).init, jax.random.key(0), taps)["params"]
    assert heads["map_0"]["conv_2"].shape == (5, 5, config.embed_dim, 6)
    assert heads["global_0_fc1"]["kernel"].shape == (2 * config.embed_dim,) * 2
    assert heads[f"global_{config.depth - 1}_fc1"]["kernel"].shape == (config.embed_dim,) * 2
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    if config == ViTConfig.vit_s14():
        # DINOv2 ViT-S/14's 22,056,576 parameters, less 1 + 37² position embeddings, the mask token and the last norm,
        # plus 1 + 16² position embeddings
        assert count == 22_056_576 - 384 * (1 + 37**2 + 1 + 2) + 384 * 257


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 1, 1, 1), "embed_dim must be at least 1"),
        ((32, 1, 5, 1), "does not divide into 5 heads"),
        ((32, 1, 4, 1, -1), "lora_rank"),
    ],
)
def test_impossible_sizes(arguments: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ViTConfig(*arguments)
    for layers, width in (((), 3), ((1, 0), 3), ((0, 4), 3), ((0,), 0), ((-1,), 3)):
        with pytest.raises(ValueError, match=r"layers|width"):
            PartConfig(ViTConfig.tiny(), layers, width)
