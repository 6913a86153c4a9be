"""The one loop: images from a source, in blocks, through a model, to a store and through reducers.

A block of images is the unit of work, of ownership and of resuming. Every device computes blocks of its own, a
batch at a time, so what is computed does not depend on how many devices or processes there are.
"""

from __future__ import annotations

import collections
import importlib.metadata
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, get_args

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Num

from ..errors import Interrupted, InvalidParameterError, ResourceError, StimulusError
from ..model.encoding_model import EncodingModel, ModelConfig
from ..model.nn.config import IMAGE
from ..model.stacking import StackedModel
from .blocks import BlockRecorder, Share, Slot, Step, in_type
from .devices import Devices
from .execution import Execution, Process, with_batch_size
from .merge import finish, missing_blocks
from .progress import progress, stop_requests
from .reducers import Reducer, check_names, check_reducers, states
from .reducers import saved as settings
from .sources.contents import content_digests
from .sources.image_files import OnError, Source
from .store.growth import grow, write_digests
from .store.layout import Columns
from .store.output import Output, is_there, recorded_run
from .store.places import Place, find_place
from .store.recovery import Recover
from .store.skipped import fill_blocks

Model = Callable[[Num[Array, "batch 3 h w"]], Float[Array, "batch vertices"]]
_AHEAD = 2  # steps that are read while one is computed
_log = logging.getLogger(__name__)


def stream(
    model: Model,
    source: Source,
    sinks: Sequence[Columns | Reducer],
    *,
    output: str | Place,
    identity: str,
    execution: Execution = Execution(),
    on_error: OnError = "error",
    run: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    recover: Recover | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Carry all images of a source through a model, and keep its responses, or what reducers make of them.

    Called again with the same arguments after whatever interruption, it goes on with what is missing; called when
    all is done, it returns the results. Several processes with the same output share the work.

    Parameters
    ----------
    model
        images (batch, 3, height, width) → responses (batch, vertices): an :class:`~berg_jax.EncodingModel`, or any
        pure function that JAX can compile.
    source
        The images.
    sinks
        :class:`~berg_jax.stream.store.layout.Columns`, to store the responses at these vertices, and any number of
        reducers (:mod:`berg_jax.stream.reducers`).
    output
        The run's folder, or its URL in an object store (:mod:`berg_jax.stream.store.places`): ledger, responses,
        reducers' states and results (``reducers/<name>.npz``).
    identity
        What tells the model from others, such as ``Subject.identity(vertices)``.
    execution
        Batch size, devices, time limit, and this process among those that share the output.
    run, attributes
        JSON values for the output's attributes: ``run`` are such that a resumed run must have the same; the others
        say in words what differs, where a resumed run is of another model.
    on_error
        What to do with an image that cannot be read: ``"error"``, or ``"skip"``, which stores NaN, notes it and why
        in the ledger, and leaves it out of every reducer.
    recover
        ``"skipped"`` computes the images of an output that were skipped; ``"appended"`` lets an output grow by images
        that follow its own. Both need responses that are stored, and a source in the order of the output's images
        (:mod:`berg_jax.stream.store.recovery`). No other row changes.

    Returns
    -------
    Each reducer's results by name. Empty while other processes still have work to do.

    Raises
    ------
    Interrupted
        Ctrl-C, SIGTERM or the time limit came: the batch at hand was finished, and what can be kept is recorded.
    StimulusError
        An image cannot be read. What was computed before is recorded.
    ResourceError
        The output cannot be written, or belongs to another run; the message says which part differs.
    InvalidParameterError
        An argument makes no sense, or a response is too large for the type that it is to be stored as.
    """
    columns, reducers = _sorted_sinks(sinks)
    if on_error not in get_args(OnError):
        raise InvalidParameterError(f"on_error must be one of {list(get_args(OnError))}, got {on_error!r}.")
    config = _config(model)
    execution = with_batch_size(execution, output, precision=config.precision if config else "float32")
    variant = config.variant if config else None
    if model is None:  # the output is complete, and says how it was computed
        variant = (recorded_run(find_place(output)) or {}).get("variant")
    description = {
        **(run or {}),
        **({"variant": variant} if variant else {}),
        "batch_size": execution.batch_size,
        "images": source.fingerprint,
        "identity": identity,
        "reducers": {reducer.name: reducer.fingerprint for reducer in reducers},
        "dtype": columns.dtype if columns else None,
    }
    # A block holds whole batches, and whole probes where a reducer needs them.
    multiple = math.lcm(execution.batch_size, *(reducer.whole for reducer in reducers))
    vertices = len(columns.vertices if columns else getattr(model, "vertices", ()))
    if vertices:  # else a function of one's own, which does not say
        check_reducers(reducers, len(source), vertices, multiple)
    account = getattr(source, "account", None)
    facts = {**(attributes or {}), **({} if account is None else {"found": account.as_json()})}
    place = open_output(find_place(output), source, description, multiple, columns, facts, recover)
    if recover == "skipped" and model is not None:
        _fill(place, model, source, execution, on_error)
    if not place.complete:
        settings.save(place.reducers, reducers)
        share = Share(place, reducers, execution.process or Process())
        _compute(share, model, source, execution, on_error)
        if missing_blocks(place, bool(reducers)):
            return {}
        finish(place, reducers)
    return {reducer.name: states.read_results(place.reducers, reducer.name) for reducer in reducers}


def _config(model: Model | None) -> ModelConfig | None:
    """Return a model's configuration; None for a function of the user's own."""
    network = model.models if isinstance(model, StackedModel) else model
    return network.config if isinstance(network, EncodingModel) else None


def open_output(
    path: Place,
    source: Source,
    run: Mapping[str, Any],
    multiple: int,
    columns: Columns | None,
    attributes: Mapping[str, Any],
    recover: Recover | None = None,
) -> Output:
    """The output of this run, made if it is not there; another process may make it at the same time."""
    digests = content_digests(source)
    versions = {name: importlib.metadata.version(name) for name in ("berg_jax", "jax", "flax")}
    if not is_there(path):
        try:
            facts = {**attributes, "versions": versions}
            return Output.create(path, source.ids, run, multiple, columns, facts, digests)
        except ResourceError:
            if not is_there(path):
                raise
    if recover == "appended" and len(source) > Output(path).ledger.images:
        same = {**run, "images": (recorded_run(path) or {}).get("images")}  # all but the images must be as it was
        output = Output.reopen(path, same, versions, attributes=attributes)
        grow(output, source.ids, digests, run["images"], attributes.get("found"))
        return Output(path)
    earlier = getattr(source, "earlier_fingerprint", None)
    mended = recover == "skipped"
    return Output.reopen(path, run, versions, source.ids, digests, earlier, attributes, mended)


def _sorted_sinks(sinks: Sequence[Columns | Reducer]) -> tuple[Columns | None, list[Reducer]]:
    columns = [sink for sink in sinks if isinstance(sink, Columns)]
    reducers = [sink for sink in sinks if not isinstance(sink, Columns)]
    if not sinks or len(columns) > 1:
        raise InvalidParameterError(
            f"sinks must be at most one Columns and any number of reducers, and not empty; got {len(columns)} "
            f"Columns and {len(reducers)} reducers."
        )
    check_names(reducers)
    return (columns[0] if columns else None), reducers


def _compute(share: Share, model: Model, source: Source, execution: Execution, on_error: str) -> None:
    """Compute what is left of this process' share.

    Raises
    ------
    Interrupted
        It was told to stop before the end.
    """
    todo = [block for block in share.own if share.remaining(block)]
    devices = Devices(execution.local_devices()[: max(len(todo), 1)])
    batch_size = execution.batch_size
    total = sum(stop - start for start, stop in map(share.ledger.range, share.own))
    left = sum(map(share.remaining, todo))
    model = devices.replicate(model)
    if isinstance(model, EncodingModel | StackedModel):
        model = partial(model, check=False)  # sources have checked the values, and a check waits for the device
    kept = BlockRecorder(share, devices)
    with (
        stop_requests(execution.time_limit) as stopped,
        progress(total, total - left, execution.show_progress) as advance,
    ):
        plan = _plan(share, todo, batch_size, devices.count)
        steps = _read_ahead(source, plan, batch_size, on_error, devices)
        try:
            for step, responses, stored in _computed(model, steps, share.output.dtype):
                kept.add(step, responses, stored)
                advance(int(sum(slot.stop - slot.start for slot in step.slots)))
                if stopped():
                    break
        finally:
            kept.close()
    share.refresh()
    if left := sum(map(share.remaining, share.own)):
        raise Interrupted(
            f"Interrupted: {total - left} of {total} images are done. Run the same command again to go on."
        )


def _fill(output: Output, model: Model, source: Source, execution: Execution, on_error: str) -> None:
    """Compute the skipped images of this process' share.

    Raises
    ------
    Interrupted
        It was told to stop before the end.
    """
    devices = Devices(execution.local_devices()[:1])
    model = devices.replicate(model)
    if isinstance(model, EncodingModel | StackedModel):
        model = partial(model, check=False)

    def compute(places: dict[int, int]) -> tuple[np.ndarray, dict[int, str]]:
        images, reasons = _read(source, np.array(list(places)), on_error)
        batch = np.zeros((execution.batch_size, *images.shape[1:]), images.dtype)
        batch[list(places.values())] = images
        return np.asarray(model(batch), np.float32), reasons

    process = execution.process or Process()
    own = [block for block in range(output.ledger.blocks) if block % process.count == process.index]
    with stop_requests(execution.time_limit) as stopped:
        for _ in fill_blocks(output, own, execution.batch_size, compute):
            if stopped():
                raise Interrupted("Interrupted: skipped images are left. Run the same command again to go on.")
    write_digests(output)
    account = getattr(source, "account", None)
    if account is not None:
        output.set_attributes(found=account.as_json())


def _plan(share: Share, todo: list[int], batch_size: int, devices: int) -> Iterator[list[Slot]]:
    """Step by step, the slots of all devices. Each device has a block of its own."""
    for first in range(0, len(todo), devices):
        group = todo[first : first + devices]
        ranges = []
        for block in group:
            stop = share.ledger.range(block)[1]
            ranges.append((block, stop - share.remaining(block), stop))
        ranges += [(-1, 0, 0)] * (devices - len(group))
        longest = max(stop - start for _, start, stop in ranges)
        for offset in range(0, longest, batch_size):
            yield [
                Slot(block, min(start + offset, stop), min(start + offset + batch_size, stop))
                for block, start, stop in ranges
            ]


def _read_ahead(
    source: Source, plan: Iterator[list[Slot]], batch_size: int, on_error: str, devices: Devices
) -> Iterator[Step]:
    """Each step with its images, read by threads while earlier ones are computed."""

    def read(slots: list[Slot]) -> Step:
        rows = [np.arange(slot.start, slot.start + batch_size) for slot in slots]
        valid = np.concatenate([row < slot.stop for row, slot in zip(rows, slots, strict=True)])
        # What is not valid is filled up with images that are, so that one compiled program serves all.
        indices = np.concatenate(rows)
        indices = np.where(valid, indices, indices[valid][-1])
        images, reasons = _read(source, indices, on_error)
        readable = np.array([int(index) not in reasons for index in indices])
        images = devices.split(images) if devices.count > 1 else images
        return Step(slots, images, indices, valid & readable, reasons)

    waiting = collections.deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        try:
            for slots in plan:
                waiting.append(pool.submit(read, slots))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for step in waiting:
                step.cancel()


def _read(source: Source, indices: Int[np.ndarray, " n"], on_error: str) -> tuple[Any, dict[int, str]]:
    """Images, and why some could not be read, by index; black stands for those."""
    try:
        return source.read(indices), {}
    except StimulusError as error:
        if on_error == "error":
            raise StimulusError(
                f"{error} What was finished is kept: run the same command again when this is mended. "
                "encode's --on-error skip leaves such images out."
            ) from error
    account = getattr(source, "account", None)
    told = set(account.skipped.values()) if account else set()
    found: dict[int, Any] = {}
    reasons: dict[int, str] = {}
    for index in map(int, indices):
        if index in found or index in reasons:
            continue
        try:
            found[index] = np.asarray(source.read([index])[0])
        except StimulusError as error:
            if str(error) not in told:
                _log.warning("Skipped: %s", error)
            reasons[index] = str(error)
    like = next(iter(found.values()), np.zeros((3, IMAGE, IMAGE), np.float32))
    return np.stack([found.get(int(index), np.zeros_like(like)) for index in indices]), reasons


def _computed(
    model: Model, steps: Iterator[Step], dtype: np.dtype | None
) -> Iterator[tuple[Step, Float[Array, "n vertices"], Float[Array, "n vertices"] | None]]:
    """Each step with its responses, also in the store's type, handed on while the devices compute the next one."""
    waiting = None
    for step in steps:
        responses = model(step.images)  # asynchronous
        stored = None if dtype is None else in_type(responses, dtype)
        if stored is not None:
            stored.copy_to_host_async()
        if waiting is not None:
            jax.block_until_ready(waiting[1])  # so that no more than two steps are under way
            yield waiting
        waiting = step, responses, stored
    if waiting is not None:
        yield waiting
