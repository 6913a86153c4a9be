"""EncodingModel: images → responses of chosen vertices, a pure function with its weights inside.

A model is a pytree. Pass it to your own jitted functions as an argument; closed over, its weights would be
baked into the program as constants:

    grad = jax.jit(jax.grad(lambda images, model: model(images).mean()))
    grad(images, model)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from ..errors import InvalidParameterError, ModelLoadError
from ..vertices import Vertices, check_vertices, places_in
from .images import check_shape
from .nn.config import PLAIN, Execution, PartConfig, Window, window_around
from .nn.heads import Heads
from .nn.precision import PRECISIONS, Precision, x64_enabled
from .nn.preprocess import preprocess
from .nn.readout import PADDED, TILE, assign_tiles, readout
from .nn.vit import ViT
from .nn.winograd import transform_kernel

_PRODUCT_WEIGHTS = ("kernel", "patch_kernel", "conv_0", "conv_1", "conv_2", "weight", "lora_down", "lora_up")


@dataclass(frozen=True)
class ModelConfig:
    """What a compiled program depends on besides shapes: the parts' sizes, the precision's name, the way."""

    parts: tuple[tuple[str, PartConfig], ...]
    precision: str
    execution: Execution


class Part(NamedTuple):
    """One network on the host: sizes, weights as nested dicts of NumPy arrays, global vertex of each row.

    ``weights`` has ``vit`` and ``heads``, Flax params, and ``readout``: ``weight`` (rows, width), ``bias``
    (rows,), ``layer_weights`` (rows, layers), ``rf_center`` (rows, 2). Or it is a function that reads them, so
    that one part at a time is held twice.
    """

    config: PartConfig
    weights: dict[str, Any] | Callable[[], dict[str, Any]]
    vertices: Int[np.ndarray, " rows"]


@flax.struct.dataclass
class EncodingModel:
    """The encoding model of one subject, or of chosen vertices of one.

    Attributes
    ----------
    params
        Per part (``part1``, ``part2``; those that the vertices need) the weights: ``vit`` and ``heads``,
        Flax params, and ``readout``, whose vertices lie in tiles of 128.
    corners
        Per part the grid cell that each tile looks at.
    order
        (vertices,) slot of each column among all parts' slots.
    vertices
        (vertices,) global index of each column: the right hemisphere counted on after the left one.
    hemisphere_size
        () number of vertices of one hemisphere.
    config
        Static: sizes, precision and the way it is computed.
    """

    params: dict[str, Any]
    corners: dict[str, Int[Array, " tiles"]]
    order: Int[Array, " vertices"]
    vertices: Int[Array, " vertices"]
    hemisphere_size: Int[Array, ""]
    config: ModelConfig = flax.struct.field(pytree_node=False)

    def __call__(self, images: Num[Array, "batch 3 height width"]) -> Float[Array, "batch vertices"]:
        """Predicted responses.

        Parameters
        ----------
        images
            (batch, 3, height, width), square, RGB, integers or floats in 0–255. NumPy or JAX.

        Returns
        -------
        (batch, vertices) responses in z units (of each NSD session), in the order of ``vertices``; float32,
        or float64 for precision ``"float64"``.

        Raises
        ------
        StimulusError
            The shape or type of the images is wrong. Values are not looked at here.
        """
        check_shape(images)
        _check_x64(self.config.precision)
        if isinstance(images, np.ndarray):
            images = images.astype(images.dtype.newbyteorder("="), copy=False)  # JAX would take the bytes as they are
        precision, execution = self.config.precision, self.config.execution
        pixels = pixels_of(images, precision)
        slots = []
        for name, part in self.config.parts:
            params = self.params[name]
            _, maps, vectors = features_of(params["vit"], params["heads"], part, precision, pixels, execution)
            slots.append(slots_of(params["readout"], self.corners[name], maps, vectors, precision))
        return jnp.concatenate(slots, axis=1)[:, self.order]

    def select(self, vertices: Vertices) -> EncodingModel:
        """The model of chosen vertices alone: columns are ``vertices.lh``, then ``vertices.rh``, in that order.

        It holds their readouts and the parts that they need; its answers are the same columns of this
        model's. Not for use inside ``jit``.

        Raises
        ------
        InvalidParameterError
            No vertex is chosen, this model lacks one, or the hemisphere's size is another.
        """
        check_vertices(vertices, int(self.hemisphere_size))
        columns = _positions(np.asarray(self.vertices), vertices, what="model")
        slots = np.asarray(self.order)[columns]
        counts = [TILE * len(self.corners[name]) for name, _ in self.config.parts]
        part_of = np.searchsorted(np.cumsum(counts), slots, side="right")
        rows = slots - np.concatenate([[0], np.cumsum(counts)])[part_of]
        tables = {
            name: {key: np.asarray(table).reshape(-1, *table.shape[2:]) for key, table in part["readout"].items()}
            for name, part in self.params.items()
        }
        networks = {name: {k: self.params[name][k] for k in ("vit", "heads")} for name, _ in self.config.parts}
        whole = replace(self.config, execution=replace(self.config.execution, window=Window()))
        return _arrange(whole, networks, tables, part_of, rows, vertices)

    def crop(self) -> EncodingModel:
        """The same model, which computes only the part of the feature maps that its vertices look at.

        Its answers are the same but for rounding (about 1e-6). Faster for vertices whose receptive fields lie
        together; but what is compiled then serves only models that look at the same part. Not for use inside
        ``jit``.
        """
        tiles = np.unique(np.asarray(self.order) // TILE)  # those that hold vertices
        corners = np.concatenate([np.asarray(self.corners[name]) for name, _ in self.config.parts])[tiles]
        # A cell's corners are two rows and two columns of the padded map, whose ring is no part of the map.
        top, left = (np.clip(x.min() - 1, 0, None) for x in (corners // PADDED, corners % PADDED))
        bottom, right = (x.max() + 1 for x in (corners // PADDED, corners % PADDED))
        return self._executed(window=window_around(int(top), int(bottom), int(left), int(right)))

    def rematerialized(self) -> EncodingModel:
        """The same model, whose gradients take less memory and more time (a sixth more for ViT-B on a CPU).

        Each block of the network is computed again where the gradient passes it; of the other models' blocks the
        results of two matrix products and the attended tokens are remembered.
        """
        return self._executed(rematerialize=True)

    def _executed(self, **how: Any) -> EncodingModel:
        return self.replace(config=replace(self.config, execution=replace(self.config.execution, **how)))


def build(
    parts: Mapping[str, Part],
    hemisphere_size: int,
    vertices: Vertices | None = None,
    *,
    precision: str = "float32",
    fuse_lora: bool = True,
    winograd: bool | None = None,
) -> EncodingModel:
    """A model from its networks' weights.

    Parameters
    ----------
    parts
        ``part1``, ``part2`` or both. Where both have a vertex, part 1 answers.
    hemisphere_size
        Number of vertices of one hemisphere.
    vertices
        The vertices to answer; by default all, ascending.
    precision
        ``"float32"``, ``"tensorfloat32"``, ``"bfloat16"`` or ``"float64"`` (needs jax_enable_x64).
    fuse_lora
        Add the low-rank adapters to the weights they adapt (in float64, rounded once). Without it they stay
        parameters of their own.
    winograd
        Give the heads' convolutions in Winograd's form (:mod:`berg_jax.model.nn.winograd`), 1.8 times as large and
        several times as fast. By default for fused float32 models: on tensor cores, which the lower precisions
        have, direct ones are as fast, and the form would cost them digits.

    Raises
    ------
    InvalidParameterError
        An unknown precision, no vertices, or vertices that no part has.
    ModelLoadError
        An adapted weight is too large for the precision.
    """
    kind = check_precision(precision)
    vertices = Vertices.all(hemisphere_size) if vertices is None else vertices
    check_vertices(vertices, hemisphere_size)
    names = sorted(parts)
    owner = np.full(2 * hemisphere_size, -1)
    row = np.zeros(2 * hemisphere_size, np.int64)
    for index in reversed(range(len(names))):
        part = parts[names[index]]
        owner[part.vertices] = index
        row[part.vertices] = np.arange(len(part.vertices))
    known = np.flatnonzero(owner >= 0)
    columns = known[_positions(known, vertices, what="subject")]

    if winograd is None:
        winograd = fuse_lora and precision == "float32"
    networks, tables, configs = {}, {}, []
    for index, name in enumerate(names):
        if (owner[columns] == index).any():
            config, networks[name], tables[name] = _prepared(parts[name], kind, fuse_lora, winograd)
            configs.append((name, config))
    used = {name: position for position, (name, _) in enumerate(configs)}
    part_of = np.array([used.get(name, -1) for name in names])[owner[columns]]
    config = ModelConfig(tuple(configs), precision, Execution(winograd=winograd))
    return _arrange(config, networks, tables, part_of, row[columns], vertices)


# Three programs, compiled apart: the first knows the images' size, the second the networks (one for both parts,
# where they are of one size, and for every selection), the third how many tiles there are. None knows which columns
# are asked for. Inside a user's own jit they are traced into it.


@partial(jax.jit, static_argnames="precision")
def pixels_of(images: Num[Array, "b 3 h w"], precision: str) -> Float[Array, "b 3 224 224"]:
    """Normalized images."""
    return preprocess(images, PRECISIONS[precision].accumulate)


@partial(jax.jit, static_argnames=("config", "precision", "execution"))
def features_of(
    vit: dict[str, Any],
    heads: dict[str, Any],
    config: PartConfig,
    precision: str,
    pixels: Float[Array, "b 3 224 224"],
    execution: Execution = PLAIN,
) -> tuple[dict[int, Float[Array, "b 257 c"]], Float[Array, "l b 16 16 d"], Float[Array, "l b d"]]:
    """One part's tapped tokens, feature maps and global vectors: all that its vertices read."""
    kind = PRECISIONS[precision]
    _, taps = ViT(config.vit, kind, config.layers, execution.rematerialize).apply({"params": vit}, pixels)
    maps, vectors = Heads(config, kind, execution).apply({"params": heads}, taps)
    return taps, maps, vectors


@partial(jax.jit, static_argnames="precision")
def slots_of(
    params: dict[str, Float[Array, "tiles 128 ..."]],
    corners: Int[Array, " tiles"],
    maps: Float[Array, "l b 16 16 d"],
    vectors: Float[Array, "l b d"],
    precision: str,
) -> Float[Array, "b slots"]:
    """One part's responses, slot after slot."""
    return readout(params, corners, maps, vectors, PRECISIONS[precision])


def check_precision(name: str) -> Precision:
    """The precision of that name, or InvalidParameterError if there is none or it needs x64."""
    if name not in PRECISIONS:
        raise InvalidParameterError(f"precision must be one of {sorted(PRECISIONS)}, got {name!r}.")
    _check_x64(name)
    return PRECISIONS[name]


def _check_x64(precision: str) -> None:
    if precision == "float64" and not x64_enabled():
        raise InvalidParameterError(
            "precision 'float64' needs 64-bit types in JAX: set JAX_ENABLE_X64=1 or "
            "jax.config.update('jax_enable_x64', True) before the model is loaded."
        )


def _positions(known: Int[np.ndarray, " k"], vertices: Vertices, what: str) -> Int[np.ndarray, " n"]:
    """Where each of the vertices stands in ``known`` (global indices in any order)."""
    wanted = vertices.global_indices
    if len(wanted) == 0:
        raise InvalidParameterError("No vertex is selected: give at least one.")
    positions, lacking = places_in(known, wanted)
    missing = np.flatnonzero(lacking)
    if len(missing):
        first = missing[:3]
        named = [f"{h} {i}" for h, i in zip(vertices.hemispheres[first], vertices.indices[first], strict=True)]
        raise InvalidParameterError(
            f"This {what} lacks {len(missing)} of the selected vertices, such as {', '.join(named)}. "
            "Select from a model that has them."
        )
    return positions


def _prepared(
    part: Part, precision: Precision, fuse_lora: bool, winograd: bool
) -> tuple[PartConfig, dict[str, Any], dict[str, np.ndarray]]:
    """A part's sizes, its network on the device in the form that is computed with, and its tables."""
    weights = dict(part.weights() if callable(part.weights) else part.weights)
    network, config = {key: weights.pop(key) for key in ("vit", "heads")}, part.config
    if fuse_lora:
        network["vit"] = _fused(network["vit"], config.vit.lora_scale, precision)
        config = _without_lora(config)
    if winograd:
        network["heads"] = _transformed(network.pop("heads"))
    return config, _on_device(network, precision), weights["readout"]


def _arrange(
    config: ModelConfig,
    networks: dict[str, Any],
    tables: dict[str, dict[str, np.ndarray]],
    part: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " n"],
    vertices: Vertices,
) -> EncodingModel:
    """A model whose column i is row ``rows[i]`` of the tables of the ``part[i]``-th part of ``config``."""
    precision = PRECISIONS[config.precision]
    params, corners, kept = {}, {}, []
    order = np.zeros(len(rows), np.int32)
    offset = 0
    for index, (name, part_config) in enumerate(config.parts):
        columns = np.flatnonzero(part == index)
        if len(columns) == 0:
            continue
        table = tables[name]
        chosen = rows[columns]
        tiled, corner = assign_tiles(np.asarray(table["rf_center"][chosen], np.float32))
        filled = np.flatnonzero(tiled.ravel() >= 0)
        order[columns[tiled.ravel()[filled]]] = offset + filled
        offset += tiled.size
        source = np.where(tiled >= 0, chosen[tiled], 0)
        readouts = {key: values[source] for key, values in table.items()}
        for values in readouts.values():
            values[tiled < 0] = 0  # the slots that hold no vertex
        params[name] = {**networks[name], "readout": _on_device(readouts, precision)}
        corners[name] = jnp.asarray(corner)
        kept.append((name, part_config))
    return EncodingModel(
        params=params,
        corners=corners,
        order=jnp.asarray(order),
        vertices=jnp.asarray(vertices.global_indices, jnp.int32),
        hemisphere_size=jnp.asarray(vertices.hemisphere_size, jnp.int32),
        config=replace(config, parts=tuple(kept)),
    )


def _on_device(tree: Any, precision: Precision) -> Any:
    """Arrays as JAX arrays: weights of products in the products' type, all else in the sums' type."""

    def place(path: tuple, value: Any) -> Array:
        is_weight = path[-1].key in _PRODUCT_WEIGHTS
        return jnp.asarray(value, precision.operands if is_weight else precision.accumulate)

    return jax.tree_util.tree_map_with_path(place, tree)


def _fused(tree: dict[str, Any], scale: float, precision: Precision) -> dict[str, Any]:
    """Low-rank adapters added to their kernels, in float64, rounded once to the type that the products take."""
    if "lora_down" in tree:
        down, up = (np.asarray(tree[key], np.float64) for key in ("lora_down", "lora_up"))
        with np.errstate(over="ignore"):
            kernel = np.asarray(tree["kernel"], np.float64) + scale * (down @ up)
            kernel = kernel.astype(precision.operands)
        if not np.isfinite(kernel).all():
            raise ModelLoadError(
                f"A low-rank adapter's product, times the LoRA scale {scale:g}, is too large for "
                f"{np.dtype(precision.operands)}. Check the scale (--lora-scale), and that the weights are whole."
            )
        return {"kernel": jnp.asarray(kernel), "bias": tree["bias"]}
    return {key: _fused(value, scale, precision) if isinstance(value, dict) else value for key, value in tree.items()}


def _transformed(heads: dict[str, Any]) -> dict[str, Any]:
    """The feature maps' convolutions in Winograd's form, on the device; one by one, so that few are held twice."""
    heads = {name: dict(module) for name, module in heads.items()}
    for module in heads.values():
        for key in module.keys() & {"conv_0", "conv_1", "conv_2"}:
            module[key] = jnp.asarray(transform_kernel(module[key]))
    return heads


def _without_lora(config: PartConfig) -> PartConfig:
    return replace(config, vit=replace(config.vit, lora_rank=0))
