"""Fastest variants of the network on this device, found by racing those that are equal but for rounding.

::

    berg-jax tune                          float32 on a CPU, all precisions elsewhere; a minute or two each
    berg-jax tune --precision bfloat16
    berg-jax tune --show                   the table of what was found

The pieces that are raced have the sizes of the published subjects, or of a given one, and random weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import InvalidParameterError
from ...model.defaults import fitting_images, table_batch_size
from ...model.nn.config import CONVOLUTIONS, GRID, IMAGE, ComputePlan, PartConfig, ViTConfig
from ...model.nn.heads import FeatureMap
from ...model.nn.precision import PRECISIONS, Precision
from ...model.nn.readout import PADDED, TILE, readout
from ...model.nn.vit import ViT
from ...model.tuned import all_tuned, device_name, keep_tuned
from ...model.weights import on_device, winograd_kernels
from ...subject import Subject
from .races import TOLERANCES, Entrant, Outcome, race, winner

PUBLISHED = PartConfig(ViTConfig.vit_b14(), (2, 5, 8, 11), 192)
BLOCKS = 3  # of the backbone that is raced
TILES = 1024  # of the readout that is raced
_TILES_PER_STEP = (16, 4, 64, 256, 1024)
_CPU_BATCHES, _BATCHES = (8, 4, 16), (64, 16, 32, 128, 256)


def tune(
    berg_dir: Path | None = None,
    subject_id: int = 1,
    *,
    precisions: Sequence[str] = (),
    config: PartConfig | None = None,
    batch_size: int | None = None,
    repeats: int = 3,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Race the variants of every piece of the network on this device, and keep the winners in the cache folder.

    :func:`berg_jax.load`, :class:`berg_jax.BERG`, encoding and the experiments compute so from then on. A run that
    was begun otherwise goes on as it was begun.

    Parameters
    ----------
    berg_dir, subject_id
        A subject whose network's sizes are raced. By default they are those of the published subjects.
    precisions
        Precisions to tune; by default float32 on a CPU, and float32, tensorfloat32 and bfloat16 elsewhere.
    config
        Sizes instead of a subject's.
    batch_size
        Images in the races of all but batch sizes; gradients take half as many. By default the device's default.
    repeats
        Number of times that each variant is timed.
    say
        Function that takes each line of the table as soon as it is measured.

    Returns
    -------
    What was kept for each precision: ``variant``, ``batch_size`` and the ``races``.

    Raises
    ------
    InvalidParameterError
        A precision cannot be tuned, or a number is below 1.
    BERGError
        The subject cannot be loaded, or the cache folder cannot be written.

    See Also
    --------
    berg_jax.model.tuned : What is kept, and where.
    berg_jax.experiments.benchmarks.speed.benchmark : Measure the whole network, beside PyTorch.
    """
    device = jax.devices()[0]
    precisions = list(precisions) or (["float32"] if device.platform == "cpu" else list(TOLERANCES))
    if unknown := set(precisions) - set(TOLERANCES):
        raise InvalidParameterError(f"Precisions to tune are {list(TOLERANCES)}, got {sorted(unknown)}.")
    if repeats < 1 or (batch_size is not None and batch_size < 1):
        raise InvalidParameterError(f"Give a batch and repeats of at least 1, got {batch_size} and {repeats}.")
    if config is None:
        config = PUBLISHED if berg_dir is None else _sizes(Subject(berg_dir, subject_id))
    kept = {}
    for precision in precisions:
        start = time.perf_counter()
        say(f"{device_name(device)}, {precision}: racing variants that are equal but for rounding …")
        variant, races = {}, {}
        count = batch_size or table_batch_size(device)
        plan = ComputePlan(winograd=precision == "float32")
        for title, entrants in _races(config, PRECISIONS[precision], plan, count, device.platform):
            outcomes = race(entrants, TOLERANCES[precision], repeats)
            best = winner(outcomes)
            variant |= best.fields if best is not outcomes[0] else {}
            races[title] = [outcome._asdict() for outcome in outcomes]
            for line in _table(title, outcomes, best):
                say(line)
        batches = _batch_sizes(device)
        outcomes = [_timed_batch(config, PRECISIONS[precision], size, repeats) for size in batches]
        best = winner(outcomes)
        races["batch size"] = [outcome._asdict() for outcome in outcomes]
        for line in _table("batch size", outcomes, best, "per image"):
            say(line)
        size = None if best is outcomes[0] else best.fields["batch_size"]
        kept[precision] = {"variant": variant, "batch_size": size, "races": races, "date": time.strftime("%Y-%m-%d")}
        keep_tuned(device, precision, kept[precision])
        say(f"{_words(variant, size)}; kept for this kind of device ({time.perf_counter() - start:.0f} s).")
    return kept


def shown() -> str:
    """Return the table of everything that was found on this machine, as text."""
    lines = []
    for key, entry in all_tuned().items():
        words = _words(entry.get("variant", {}), entry.get("batch_size"))
        lines.append(f"{key} ({entry.get('date', 'no date')}): {words}")
        for title, outcomes in entry.get("races", {}).items():
            found = [Outcome(**outcome) for outcome in outcomes]
            lines += _table(title, found, winner(found), "per image" if title == "batch size" else "")
    return "\n".join(lines) or "Nothing was tuned yet on this machine: run berg-jax tune."


def _words(variant: dict[str, Any], size: int | None) -> str:
    chosen = [f"{name} {value}" for name, value in variant.items()] + ([f"batch size {size}"] if size else [])
    return ", ".join(chosen) or "the defaults win"


def _table(title: str, outcomes: Sequence[Outcome], best: Outcome, unit: str = "") -> Iterator[str]:
    """Yield a line for each variant: its time, how many times the winner's that is, and its difference."""
    for outcome in outcomes:
        if outcome.seconds is None:
            text = f"not timed: {outcome.note}"
        else:
            text = f"{1000 * outcome.seconds:,.1f} ms {unit}".rstrip()
            ratio = outcome.seconds / best.seconds
            text += ", wins" if outcome.name == best.name else f", {ratio:.2f} times the winner's"
            text += f"; off by {outcome.difference:.0e}" if outcome.difference else ""
            text += f" ({outcome.note})" if outcome.note else ""
        yield f"  {title:<15}{outcome.name:<12}{text}"


def _sizes(subject: Subject) -> PartConfig:
    return next(iter(subject.description.parts.values()))


def _races(
    config: PartConfig, precision: Precision, plan: ComputePlan, count: int, platform: str
) -> Iterator[tuple[str, list[Entrant]]]:
    """Yield the title and the entrants of each race, the default first."""
    yield "convolution", _convolutions(config, precision, plan, count)
    attentions = ["halves", "plain", "xla"]
    if platform == "gpu" and precision.operands == jnp.bfloat16:  # the only types that cuDNN's attention takes
        attentions.append("cudnn")
    yield "attention", [_backbone(config, precision, {"attention": form}, count, form) for form in attentions]
    loops = {"scanned": {"unroll": False}, "unrolled": {"unroll": True}}
    yield "blocks", [_backbone(config, precision, fields, count, name) for name, fields in loops.items()]
    if precision.operands != precision.accumulate:
        types = {"wide": {"narrow_products": False}, "narrow": {"narrow_products": True}}
        yield "products", [_backbone(config, precision, fields, count, name) for name, fields in types.items()]
    yield "readout tiles", [_read_out(config, precision, tiles, count) for tiles in _TILES_PER_STEP]


def _entrant(name: str, fields: dict[str, Any], forward: Callable, params: Any, images: jax.Array) -> Entrant:
    """Return an entrant that computes a batch, and the gradient of half a batch."""
    half = images[: max(len(images) // 2, 1)]
    run = jax.jit(forward)
    outer = jax.random.normal(jax.random.key(9), jax.eval_shape(forward, params, half).shape)
    gradient = jax.jit(jax.grad(lambda x, params, outer: (forward(params, x) * outer).sum()))
    return Entrant(name, fields, (lambda: run(params, images), lambda: gradient(half, params, outer)))


def _convolutions(config: PartConfig, precision: Precision, plan: ComputePlan, count: int) -> list[Entrant]:
    """Return the heads of one layer, with convolutions in every form."""
    grid = jax.random.normal(jax.random.key(0), (count, GRID, GRID, config.vit.embed_dim))
    direct = jax.jit(FeatureMap(config.width, PRECISIONS["float32"], ComputePlan()).init)(jax.random.key(1), grid[:1])
    heads = {"map": jax.tree.map(np.asarray, direct["params"])}
    plans = {name: ComputePlan(convolution=name) for name in CONVOLUTIONS}
    plans["Winograd"] = ComputePlan(winograd=True)
    if precision.name == "bfloat16":  # Winograd's form would lose digits
        del plans["Winograd"]
    entrants = []
    default = "Winograd" if plan.winograd else "NHWC"
    for name in sorted(plans, key=lambda name: name != default):
        params = winograd_kernels(heads) if name == "Winograd" else heads
        params = on_device(params["map"], precision)
        fields = {"winograd": plans[name].winograd, "convolution": plans[name].convolution}
        module = FeatureMap(config.width, precision, plans[name])
        forward = lambda params, grid, module=module: module.apply({"params": params}, grid)  # noqa: E731
        entrants.append(_entrant(name, fields, forward, params, grid))
    return entrants


def _backbone(config: PartConfig, precision: Precision, fields: dict[str, Any], count: int, name: str) -> Entrant:
    """Return a few blocks of the backbone, computed so."""
    sizes = config.vit
    blocks = ViTConfig(sizes.embed_dim, BLOCKS, sizes.num_heads, sizes.mlp_dim)
    pixels = jax.random.normal(jax.random.key(0), (count, 3, IMAGE, IMAGE))
    start = jax.jit(ViT(blocks, PRECISIONS["float32"]).init)(jax.random.key(1), pixels[:1])["params"]
    module = ViT(blocks, precision, compute_plan=ComputePlan(**fields))
    params = on_device(start, precision)
    return _entrant(name, fields, lambda params, pixels: module.apply({"params": params}, pixels)[0], params, pixels)


def _read_out(config: PartConfig, precision: Precision, tiles: int, count: int) -> Entrant:
    """Return the readout of many vertices, so many tiles at once."""
    layers, width = len(config.layers), config.width
    keys = jax.random.split(jax.random.key(0), 5)
    tables = {
        "weight": jax.random.normal(keys[0], (TILES, TILE, width)).astype(precision.operands),
        "bias": jnp.zeros((TILES, TILE)),
        "layer_weights": jnp.full((TILES, TILE, layers), 1 / layers),
        "rf_center": jax.random.uniform(keys[1], (TILES, TILE, 2), minval=-0.9, maxval=0.9),
    }
    corners = jax.random.randint(keys[2], (TILES,), 0, PADDED * GRID)
    maps = jax.random.normal(keys[3], (count, layers, GRID, GRID, width))
    vectors = jax.random.normal(keys[4], (layers, count, width))

    def forward(params: Any, maps: jax.Array) -> jax.Array:
        tables, corners, vectors = params
        own = vectors[:, : len(maps)]
        return readout(tables, corners, maps.swapaxes(0, 1), own, precision, tiles)

    return _entrant(str(tiles), {"tiles_per_step": tiles}, forward, (tables, corners, vectors), maps)


def _batch_sizes(device: jax.Device) -> list[int]:
    """Return the batch sizes that are raced, the default first."""
    default, most = table_batch_size(device), fitting_images(device)
    sizes = _CPU_BATCHES if device.platform == "cpu" else [size for size in _BATCHES if size <= most]
    return [default, *(size for size in sizes if size != default)]


def _timed_batch(config: PartConfig, precision: Precision, size: int, repeats: int) -> Outcome:
    """Return the time for an image in a batch of this size."""
    entrant = _backbone(config, precision, {}, size, str(size))
    (outcome,) = race([entrant._replace(computations=entrant.computations[:1])], np.inf, repeats)
    return outcome._replace(fields={"batch_size": size}, seconds=outcome.seconds / size, difference=None)
