"""Planted features and responses: maps that are smooth noise, and vertices that look at known places."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from berg_jax.experiments.fitting import VertexTables

LAYERS, WIDTH = 2, 8


class Planted(NamedTuple):
    features: SimpleNamespace
    responses: np.ndarray
    split: SimpleNamespace
    truth: VertexTables
    donor: VertexTables


def planted(images: int = 300, vertices: int = 60, seed: int = 0, signal: float = 0.7) -> Planted:
    """Responses of vertices that look elsewhere than the donor's, half of them at another layer, and noise."""
    random = np.random.default_rng(seed)
    maps = random.normal(size=(images, LAYERS, 16, 16, WIDTH))
    maps = scipy.ndimage.gaussian_filter(maps, (0, 0, 1.2, 1.2, 0))
    maps = (maps / maps.std()).astype(np.float16)
    vectors = (0.3 * random.normal(size=(images, LAYERS, WIDTH))).astype(np.float16)
    truth = tables(random, vertices)
    donor = tables(random, vertices)
    features = SimpleNamespace(maps=maps, vectors=vectors)
    noiseless = responses_of(features, truth)
    noiseless = (noiseless - noiseless.mean(axis=0)) / noiseless.std(axis=0)
    noise = random.normal(size=noiseless.shape)
    responses = np.sqrt(signal) * noiseless + np.sqrt(1 - signal) * noise
    split = SimpleNamespace(train=np.arange(images * 8 // 10), validation=np.arange(images * 8 // 10, images))
    return Planted(features, responses.astype(np.float32), split, truth, donor)


def tables(random: np.random.Generator, vertices: int) -> VertexTables:
    preferred = random.integers(0, LAYERS, vertices)
    layer_weights = np.where(np.arange(LAYERS) == preferred[:, None], 0.9, 0.1 / (LAYERS - 1))
    center = random.uniform(-0.85, 0.85, (vertices, 2))
    arrays = (random.normal(size=(vertices, WIDTH)), np.zeros(vertices), layer_weights, center)
    return VertexTables(*(array.astype(np.float32) for array in arrays))


def responses_of(features: SimpleNamespace, tables: VertexTables) -> np.ndarray:
    """Responses by SciPy's interpolation, vertex by vertex."""
    maps, vectors = (np.asarray(x, np.float64) for x in (features.maps, features.vectors))
    images, layers, _, _, width = maps.shape
    responses = np.empty((images, len(tables.bias)))
    for vertex, (weight, bias, mix, center) in enumerate(zip(*tables, strict=True)):
        x, y = ((center + 1) * 16 - 1) / 2
        grid = np.meshgrid(np.arange(images), np.arange(layers), [y], [x], np.arange(width), indexing="ij")
        sampled = scipy.ndimage.map_coordinates(maps, grid, order=1)[:, :, 0, 0] + vectors
        responses[:, vertex] = np.einsum("nld,l,d->n", sampled, mix, weight) / width + bias
    return responses
