"""EncodingModel: images → responses of selected vertices, a pure function that holds its weights.

A model is a pytree. Pass it to your own jitted functions as an argument; if a function closes over it, its weights
become constants of the compiled program:

    grad = jax.jit(jax.grad(lambda images, model: model(images).mean()))
    grad(images, model)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from ..errors import InvalidParameterError
from ..vertices import Vertices, check_vertices, places_in
from .images import check_shape, check_values
from .nn.config import ComputePlan, PartConfig, Window, plan_of, variant_of, window_around
from .nn.precision import PRECISIONS, Precision, x64_enabled
from .nn.readout import PADDED, TILE, assign_tiles
from .programs import features_of, pixels_of, slots_of
from .replicas import placed_like, without_filling
from .weights import on_device, prepared


@dataclass(frozen=True)
class ModelConfig:
    """All that a compiled program depends on besides shapes: sizes of the parts, precision, compute plan."""

    parts: tuple[tuple[str, PartConfig], ...]
    precision: str
    compute_plan: ComputePlan

    @property
    def variant(self) -> dict[str, Any]:
        """The compute plan's fields that change rounding, as far as they are not as by default."""
        fused = not any(part.vit.lora_rank for _, part in self.parts)
        return variant_of(self.compute_plan, ComputePlan(winograd=fused and self.precision == "float32"))


class Part(NamedTuple):
    """One network on the host: sizes, weights as nested dicts of NumPy arrays, and the global vertex of each row.

    ``weights`` has ``vit`` and ``heads``, which are Flax params, and ``readout``: ``weight`` (rows, width), ``bias``
    (rows,), ``layer_weights`` (rows, layers), ``rf_center`` (rows, 2). It may also be a function that reads them, so
    that only one part at a time is in memory twice.
    """

    config: PartConfig
    weights: dict[str, Any] | Callable[[], dict[str, Any]]
    vertices: Int[np.ndarray, " rows"]


@flax.struct.dataclass
class EncodingModel:
    """The encoding model of all or of selected vertices of one subject.

    Attributes
    ----------
    params
        Weights of each part (``part1``, ``part2``) that the vertices need: ``vit`` and ``heads``, which are Flax
        params, and ``readout``, whose vertices lie in tiles of 128.
    corners
        Grid cell that each tile looks at, for each part.
    order
        (vertices,) slot of each column among all parts' slots.
    global_indices
        (vertices,) global index of each column, in which the right hemisphere follows the left one.
    hemisphere_size
        () number of vertices of one hemisphere.
    config
        Static configuration: sizes, precision and compute plan.

    See Also
    --------
    berg_jax.load : Load a model.
    berg_jax.value_and_pixel_gradient : Gradients of functions of its responses.
    berg_jax.stack : Several subjects' models in one program.

    Examples
    --------
    >>> from berg_jax import load
    >>> from berg_jax.demo import images
    >>> model = load("demo", 1, roi="FFA-1")
    >>> responses = model(images("faces", 2))
    >>> responses.shape == (2, len(model.vertices))
    True
    """

    params: dict[str, Any]
    corners: dict[str, Int[Array, " tiles"]]
    order: Int[Array, " vertices"]
    global_indices: Int[Array, " vertices"]
    hemisphere_size: Int[Array, ""]
    config: ModelConfig = flax.struct.field(pytree_node=False)
    # Words of the repr, which belong to one object and not to the pytree, so that no program depends on them.
    _subject: ClassVar[str] = ""
    _roi: ClassVar[str] = ""

    @property
    def vertices(self) -> Vertices:
        """Vertices of the columns, as every function takes them. Inside ``jit`` use ``global_indices``."""
        return Vertices.from_global(np.asarray(self.global_indices), int(self.hemisphere_size))

    def __repr__(self) -> str:
        """Return one line: subject, ROI, vertices, parts and precision."""
        columns = np.shape(self.order)
        try:
            count = f"{self.vertices!r}"
        except Exception:  # arrays of a trace or of a stack, or no arrays, such as shapes alone
            count = f"{columns[-1] if columns else '?'} vertices"
        parts = " + ".join(name for name, _ in self.config.parts)
        words = (self._subject, self._roi, count, parts, self.config.precision)
        return f"EncodingModel({', '.join(filter(None, words))})"

    def labeled(self, subject: str, roi: str = "") -> EncodingModel:
        """Return the same model, whose repr begins with these words on the subject and the ROI."""
        model = self.replace()
        object.__setattr__(model, "_subject", subject)
        object.__setattr__(model, "_roi", roi)
        return model

    def __call__(
        self, images: Num[Array, "batch 3 height width"], *, check: bool = True
    ) -> Float[Array, "batch vertices"]:
        """Return the predicted responses to images.

        Parameters
        ----------
        images
            NumPy or JAX array (batch, 3, height, width), square, RGB, integers or floats in 0–255.
        check
            Whether to check the values, too, which waits for a JAX array to be computed. Under a trace, such as of
            ``jit`` or ``grad``, they are not known and not checked.

        Returns
        -------
        (batch, vertices) responses in z units (of each NSD session), in the order of ``vertices``; float32, or
        float64 for precision ``"float64"``.

        Raises
        ------
        StimulusError
            The shape or type of the images is wrong, or values are not in 0–255 or look like 0–1.
        """
        (check_values if check else check_shape)(images)
        _check_x64(self.config.precision)
        precision, plan = self.config.precision, self.config.compute_plan
        pixels = pixels_of(placed_like(self.order, images), precision)
        slots = []
        for name, part in self.config.parts:
            params = self.params[name]
            _, maps, vectors = features_of(params["vit"], params["heads"], part, precision, pixels, plan)
            tables, corners = params["readout"], self.corners[name]
            slots.append(slots_of(tables, corners, maps, vectors, precision, plan.tiles_per_step))
        responses = jnp.concatenate(slots, axis=1)[:, self.order]
        return without_filling(responses, len(images))

    def select(self, vertices: Vertices) -> EncodingModel:
        """Return a model of selected vertices only, whose columns are ``vertices.lh``, then ``vertices.rh``.

        The new model holds the readouts of these vertices and the parts that they need, and its responses equal the
        corresponding columns of this model's. Do not call this method inside ``jit``.

        Parameters
        ----------
        vertices
            Vertices of the new model, in the order of its columns.

        Raises
        ------
        InvalidParameterError
            No vertex is selected, this model lacks one of them, or the size of the hemispheres differs.

        See Also
        --------
        crop : Compute only the region of the feature maps that the vertices look at.
        """
        check_vertices(vertices, int(self.hemisphere_size))
        columns = _positions(np.asarray(self.global_indices), vertices, what="model")
        slots = np.asarray(self.order)[columns]
        counts = [TILE * len(self.corners[name]) for name, _ in self.config.parts]
        part_of = np.searchsorted(np.cumsum(counts), slots, side="right")
        rows = slots - np.concatenate([[0], np.cumsum(counts)])[part_of]
        tables = {
            name: {key: np.asarray(table).reshape(-1, *table.shape[2:]) for key, table in part["readout"].items()}
            for name, part in self.params.items()
        }
        networks = {name: {k: self.params[name][k] for k in ("vit", "heads")} for name, _ in self.config.parts}
        whole = replace(self.config, compute_plan=replace(self.config.compute_plan, window=Window()))
        return _arrange(whole, networks, tables, part_of, rows, vertices).labeled(self._subject)

    def crop(self) -> EncodingModel:
        """Return the same model, computing only the region of the feature maps that its vertices look at.

        Its responses are the same except for rounding (about 1e-6). It is faster if the vertices' receptive fields
        lie close together, but the compiled programs serve only models that look at the same region. Do not call this
        method inside ``jit``.

        See Also
        --------
        select : A model of fewer vertices.
        """
        tiles = np.unique(np.asarray(self.order) // TILE)  # tiles that hold vertices
        corners = np.concatenate([np.asarray(self.corners[name]) for name, _ in self.config.parts])[tiles]
        # A cell's corners are in two rows and two columns of the padded map, whose ring is not part of the map.
        top, left = (np.clip(x.min() - 1, 0, None) for x in (corners // PADDED, corners % PADDED))
        bottom, right = (x.max() + 1 for x in (corners // PADDED, corners % PADDED))
        return self._with_plan(window=window_around(int(top), int(bottom), int(left), int(right)))

    def rematerialized(self) -> EncodingModel:
        """Return the same model, whose gradients take less memory and more time (a sixth more for ViT-B on a CPU).

        Each block of the network is computed again when the gradient passes it. Other models keep the results of two
        matrix products and the attended tokens of each block.

        See Also
        --------
        berg_jax.value_and_pixel_gradient : Gradients of a few images at a time, which also limits the memory.
        """
        return self._with_plan(rematerialize=True)

    def _with_plan(self, **changes: Any) -> EncodingModel:
        plan = replace(self.config.compute_plan, **changes)
        changed = self.replace(config=replace(self.config, compute_plan=plan))
        return changed.labeled(self._subject, self._roi)


def build(
    parts: Mapping[str, Part],
    hemisphere_size: int,
    vertices: Vertices | None = None,
    *,
    precision: str = "float32",
    fuse_lora: bool = True,
    winograd: bool | None = None,
    variant: Mapping[str, Any] | None = None,
) -> EncodingModel:
    """Build a model from its networks' weights.

    Parameters
    ----------
    parts
        ``part1``, ``part2`` or both. If both have a vertex, its response is part 1's.
    hemisphere_size
        Number of vertices of one hemisphere.
    vertices
        Vertices that the model answers for. The default is all that the parts have, ascending.
    precision
        ``"float32"``, ``"tensorfloat32"``, ``"bfloat16"`` or ``"float64"`` (needs jax_enable_x64).
    fuse_lora
        Whether the low-rank adapters are added to the weights they adapt (in float64, rounded once). Otherwise they
        stay parameters of their own.
    winograd
        Whether the heads' kernels are stored in Winograd's form (:mod:`berg_jax.model.nn.winograd`), 1.8 times as
        large and several times as fast. The default is True for fused float32 models. With tensor cores, which the
        lower precisions use, direct convolutions are as fast, and Winograd's form would lose digits.
    variant
        Other values of :class:`~berg_jax.model.nn.config.ComputePlan`'s fields than by default, which change only
        rounding, such as those that ``berg-jax tune`` has found (:mod:`berg_jax.model.tuned`).

    Raises
    ------
    InvalidParameterError
        The precision is unknown, there are no vertices, or no part has one of them.
    ModelLoadError
        An adapted weight is too large for the precision.

    See Also
    --------
    berg_jax.load : Load a subject's model from its files.
    """
    kind = check_precision(precision)
    names = sorted(parts)
    owner = np.full(2 * hemisphere_size, -1)
    row = np.zeros(2 * hemisphere_size, np.int64)
    for index in reversed(range(len(names))):
        part = parts[names[index]]
        owner[part.vertices] = index
        row[part.vertices] = np.arange(len(part.vertices))
    known = np.flatnonzero(owner >= 0)
    vertices = Vertices.from_global(known, hemisphere_size) if vertices is None else vertices
    check_vertices(vertices, hemisphere_size)
    columns = known[_positions(known, vertices, what="subject")]

    if winograd is None:
        winograd = fuse_lora and precision == "float32"
    plan = plan_of(variant or {}, winograd)
    networks, tables, configs = {}, {}, []
    for index, name in enumerate(names):
        if (owner[columns] == index).any():
            config, networks[name], tables[name] = _prepared(parts[name], kind, fuse_lora, plan)
            configs.append((name, config))
    used = {name: position for position, (name, _) in enumerate(configs)}
    part_of = np.array([used.get(name, -1) for name in names])[owner[columns]]
    config = ModelConfig(tuple(configs), precision, plan)
    return _arrange(config, networks, tables, part_of, row[columns], vertices)


def _prepared(
    part: Part, precision: Precision, fuse_lora: bool, plan: ComputePlan
) -> tuple[PartConfig, dict[str, Any], dict[str, np.ndarray]]:
    weights = dict(part.weights() if callable(part.weights) else part.weights)
    return prepared(part.config, weights, precision, fuse_lora, plan.winograd)


def check_precision(name: str) -> Precision:
    """Return the precision of this name, or raise InvalidParameterError if there is none or it needs x64."""
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
    """Return the position of each of the vertices in ``known`` (global indices in any order)."""
    wanted = vertices.global_indices
    if len(wanted) == 0:
        raise InvalidParameterError("No vertex is selected: give at least one.")
    positions, is_missing = places_in(known, wanted)
    missing = np.flatnonzero(is_missing)
    if len(missing):
        first = missing[:3]
        named = [f"{h} {i}" for h, i in zip(vertices.hemispheres[first], vertices.indices[first], strict=True)]
        raise InvalidParameterError(
            f"This {what} lacks {len(missing)} of the selected vertices, such as {', '.join(named)}. "
            "Select from a model that has them."
        )
    return positions


def _arrange(
    config: ModelConfig,
    networks: dict[str, Any],
    tables: dict[str, dict[str, np.ndarray]],
    part: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " n"],
    vertices: Vertices,
) -> EncodingModel:
    """Build a model whose column i is row ``rows[i]`` of the tables of the ``part[i]``-th part of ``config``."""
    precision = PRECISIONS[config.precision]
    params, corners, parts = {}, {}, []
    order = np.zeros(len(rows), np.int32)
    offset = 0
    for index, (name, part_config) in enumerate(config.parts):
        columns = np.flatnonzero(part == index)
        if len(columns) == 0:
            continue
        table = tables[name]
        part_rows = rows[columns]
        tiles, corner = assign_tiles(np.asarray(table["rf_center"][part_rows], np.float32))
        filled_slots = np.flatnonzero(tiles.ravel() >= 0)
        order[columns[tiles.ravel()[filled_slots]]] = offset + filled_slots
        offset += tiles.size
        row_of_slot = np.where(tiles >= 0, part_rows[tiles], 0)
        readouts = {key: values[row_of_slot] for key, values in table.items()}
        for values in readouts.values():
            values[tiles < 0] = 0  # slots without a vertex
        params[name] = {**networks[name], "readout": on_device(readouts, precision)}
        corners[name] = jnp.asarray(corner)
        parts.append((name, part_config))
    return EncodingModel(
        params=params,
        corners=corners,
        order=jnp.asarray(order),
        global_indices=jnp.asarray(vertices.global_indices, jnp.int32),
        hemisphere_size=jnp.asarray(vertices.hemisphere_size, jnp.int32),
        config=replace(config, parts=tuple(parts)),
    )
