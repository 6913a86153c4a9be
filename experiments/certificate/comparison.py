"""What both models are shown, what they make of it, and whether that is the same: the certificate's measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from ...errors import ValidationError
from ...model.batches import filled_batches
from ...model.nn.config import IMAGE
from ...vertices import Vertices
from .record import Check

if TYPE_CHECKING:
    from ...model.encoding_model import EncodingModel

Stimuli = dict[str, UInt8[np.ndarray, "3 side side"]]

RESPONSE_LIMIT = 1e-4  # z units, of any vertex and image
TOKEN_LIMIT = 2e-6  # relative norm, of any image at any tapped block: a LayerNorm eps of 1e-5 shows only here
HEAD_LIMIT = 2e-5  # relative norm, of any image's maps and vectors: fast convolutions may cost 6e-6
GRADIENT_LIMIT = 1e-3  # relative norm
SELECTION_LIMIT = 1e-5  # z units
RECORDED = 4096  # vertices whose responses a certificate holds
GRADIENT_STIMULI = ("flower.jpg", "natural-like")  # one that is resized and one that is not
_SELECTED = 64  # vertices of a selection that is checked
_SEED = 8128


@dataclass(frozen=True)
class Observation:
    """What a model makes of the stimuli, in their order.

    ``inside`` holds tokens after the tapped blocks, feature maps and global vectors, by part, kind and layer, of the
    stimuli that need no resize (PyTorch's own float32 resize is up to 1e-4 off); ``gradients`` those of a weighted
    sum, of ``GRADIENT_STIMULI``.
    """

    responses: Float[np.ndarray, "stimuli vertices"]
    inside: dict[tuple[str, str, int], Float[np.ndarray, "n ..."]] = field(default_factory=dict)
    gradients: dict[str, Float[np.ndarray, "3 side side"]] = field(default_factory=dict)


# What is shown to both models.


def all_stimuli() -> Stimuli:
    """Photographs at their own size, a natural-like image, a grey screen, small noise, and the recorded ones.

    On the grey screen tokens vary least, so that the epsilon of the layer norms matters most.
    """
    from PIL import Image

    from ...convert.synthetic import natural_like_images
    from ...demo import photographs
    from ...stream.sources.image_files import fit_square

    pixels = {name: np.asarray(Image.open(path).convert("RGB")) for name, path in photographs().items()}
    stimuli = {name: fit_square(image, "crop").transpose(2, 0, 1) for name, image in pixels.items()}
    stimuli["natural-like"] = natural_like_images(1, _SEED)[0]
    stimuli["grey"] = np.full((3, IMAGE, IMAGE), 128, np.uint8)
    stimuli["noise"] = np.random.default_rng(_SEED).integers(0, 256, (3, 96, 96), np.uint8)
    return stimuli | recorded_stimuli()


def recorded_stimuli() -> Stimuli:
    """Four images with the same pixels on every machine: blocks with noise, half of them to be resized.

    Only the raw bits of PCG64, which NumPy promises not to change, and integer arithmetic go into them.
    """
    stimuli = {}
    for index, side in enumerate((IMAGE, IMAGE, 280, 280)):
        bits = np.random.PCG64(_SEED + index).random_raw(3 * (64 + side * side)).astype("<u8")
        levels = (bits >> np.uint64(56)).astype(np.uint16)  # the upper eight bits
        blocks = levels[: 3 * 64].reshape(3, 8, 8).repeat(side // 8, axis=1).repeat(side // 8, axis=2)
        noise = levels[3 * 64 :].reshape(3, side, side)
        stimuli[f"recorded {index + 1}"] = ((3 * blocks + noise) // 4).astype(np.uint8)
    return stimuli


def recorded_vertices(total: int) -> Int[np.ndarray, " n"]:
    """4,096 global vertices, ascending, or all if there are fewer; the same on every machine."""
    keys = np.random.PCG64(_SEED).random_raw(total)
    return np.sort(np.argsort(keys, kind="stable")[:RECORDED])


def weighted_sum(total: int) -> Float[np.ndarray, " vertices"]:
    """Weights of the sum whose gradients are compared: normal at the recorded vertices, zero elsewhere."""
    vertices = recorded_vertices(total)
    weights = np.zeros(total, np.float32)
    weights[vertices] = np.random.default_rng(_SEED).normal(size=len(vertices))
    return weights


# What each model makes of it.


def observe(
    model: EncodingModel,
    stimuli: Stimuli,
    images_per_batch: int = 2,
    *,
    deep: bool = True,
    advance: Callable[[int], Any] = lambda count: None,
) -> Observation:
    """What our model, of all vertices, makes of the stimuli; ``deep``: not the responses alone."""
    import jax

    from ...model.encoding_model import features_of, pixels_of

    precision = model.config.precision
    seen = Observation(np.empty((len(stimuli), len(model.vertices)), np.float32))
    inside: dict[tuple[str, str, int], list[np.ndarray]] = {}
    for rows, images in _batches(stimuli, images_per_batch):
        seen.responses[rows] = np.asarray(model(images))[: len(rows)]
        advance(len(rows))
        for name, part in model.config.parts if deep and images.shape[-1] == IMAGE else ():
            network, pixels = model.params[name], pixels_of(images, precision)
            plan = model.config.compute_plan
            tokens, maps, vectors = features_of(network["vit"], network["heads"], part, precision, pixels, plan)
            for index, layer in enumerate(part.layers):
                found = {"tokens": tokens[layer], "map": maps[index].transpose(0, 3, 1, 2), "vector": vectors[index]}
                for kind, values in found.items():
                    inside.setdefault((name, kind, layer), []).append(np.asarray(values)[: len(rows)])
    seen.inside.update({key: np.concatenate(batches) for key, batches in inside.items()})
    weights = weighted_sum(len(model.vertices))
    gradient = jax.grad(lambda images: (model(images) * weights[None]).sum())  # not jitted: the model is no constant
    for name in GRADIENT_STIMULI if deep else ():
        if name in stimuli:
            seen.gradients[name] = np.asarray(gradient(jax.numpy.asarray(stimuli[name][None], "float32")))[0]
    return seen


def observe_reference(
    model: Any, stimuli: Stimuli, advance: Callable[[int], Any] = lambda count: None
) -> tuple[Observation, Float[np.ndarray, "stimuli rows"]]:
    """What the PyTorch reference makes of the stimuli, one by one; and its part 2's own responses."""
    from ...convert.torch_reference import pixel_gradient, run

    responses, second, gradients = [], [], {}
    inside: dict[tuple[str, str, int], list[np.ndarray]] = {}
    for name, image in stimuli.items():
        answer, found, rows = run(model, image[None])
        responses.append(answer[0])
        second.append(rows[0])
        for key, values in found.items() if image.shape[-1] == IMAGE else ():
            inside.setdefault(key, []).append(values[0])
        if name in GRADIENT_STIMULI:
            gradients[name] = pixel_gradient(model, image[None], weighted_sum(len(answer[0])))[0]
        advance(1)
    stacked = {key: np.stack(values) for key, values in inside.items()}
    return Observation(np.stack(responses), stacked, gradients), np.stack(second)


def observe_berg(
    berg_class: Any,
    berg_dir: Path,
    subject: int,
    stimuli: Stimuli,
    selection: dict[str, Any] | None = None,
    images_per_batch: int = 1,
) -> Float[np.ndarray, "stimuli vertices"]:
    """Responses of a class with the published package's interface, left hemisphere first."""
    from ...published.card import MODEL_ID

    berg = berg_class(berg_dir=str(berg_dir))
    model = berg.get_encoding_model(MODEL_ID, subject=subject, device="cpu", selection=selection)
    responses = {}
    for rows, images in _batches(stimuli, images_per_batch):
        answers = np.concatenate(berg.encode(model, images), axis=1)
        responses |= dict(zip(rows, answers, strict=False))
    return np.stack([responses[row] for row in range(len(stimuli))])


def compare(ours: Observation, theirs: Observation) -> list[Check]:
    """The checks of our model in float32 on CPU against the reference.

    Raises
    ------
    ValidationError
        They do not answer for as many vertices.
    """
    if ours.responses.shape != theirs.responses.shape:
        raise ValidationError(
            f"The converted model answers for {ours.responses.shape[1]} vertices, the reference for "
            f"{theirs.responses.shape[1]}. Convert the subject again, with its metadata."
        )
    # A norm for each image: one that differs must not hide among larger ones.
    inside = {
        key: np.max(
            [
                _relative(*pair)
                for pair in zip(ours.inside.get(key, np.full_like(expected, np.inf)), expected, strict=True)
            ]
        )
        for key, expected in theirs.inside.items()
    }
    found = {
        ("tokens after each tapped block", TOKEN_LIMIT): [v for key, v in inside.items() if key[1] == "tokens"],
        ("feature maps and global vectors", HEAD_LIMIT): [v for key, v in inside.items() if key[1] != "tokens"],
        ("gradient with respect to the pixels", GRADIENT_LIMIT): [
            _relative(ours.gradients[name], expected) for name, expected in theirs.gradients.items()
        ],
    }
    return [
        response_check("cpu", ours.responses, theirs.responses),
        *(
            Check(f"{name}, relative norm of the difference", float(np.max(values)), limit)
            for (name, limit), values in found.items()
            if values
        ),
    ]


def check_consistency(
    model: EncodingModel, images: UInt8[np.ndarray, "batch 3 side side"], part1_vertices: Int[np.ndarray, " n"]
) -> list[Check]:
    """That selections of a model of all vertices are slices of its answer, and that it answers the same twice."""
    full, again = (np.asarray(model(images)) for _ in range(2))
    random = np.random.default_rng(_SEED)
    inside = np.isin(np.arange(full.shape[1]), part1_vertices)
    first, second = (random.permutation(np.flatnonzero(part))[:_SELECTED] for part in (inside, ~inside))
    both = random.permutation(np.concatenate([first[::2], second[::2]]))
    checks = []
    for name, chosen in (("part 1", first), ("part 2", second), ("both parts", both)):
        if len(chosen) == 0:
            continue
        vertices = Vertices.from_global(chosen, int(model.hemisphere_size))
        selected = np.asarray(model.select(vertices)(images))
        difference = np.abs(selected - full[:, vertices.global_indices]).max()
        name = f"selection of {len(chosen)} vertices of {name}, largest difference from the full answer"
        checks.append(Check(name, float(difference), SELECTION_LIMIT))
    differing = np.count_nonzero(full.view(np.uint32) != again.view(np.uint32))
    return [*checks, Check("same images twice, responses whose bits differ", float(differing), 0.0)]


def error_table(
    ours: Mapping[tuple[str, str], Float[np.ndarray, "stimuli vertices"]],
    theirs: Float[np.ndarray, "stimuli vertices"],
    places: Mapping[str, Int[np.ndarray, " n"]],
) -> list[dict[str, Any]]:
    """By device, precision and region: the size of the error and the correlation, over images and vertices."""
    table = []
    for (device, precision), responses in ours.items():
        for region, vertices in places.items():
            a, b = (values[:, vertices].astype(np.float64).ravel() for values in (responses, theirs))
            difference = np.abs(a - b)
            with np.errstate(invalid="ignore", divide="ignore"):  # of constant responses there is none
                correlation = np.corrcoef(a, b)[0, 1]
            table.append(
                {
                    "device": device,
                    "precision": precision,
                    "region": region,
                    "vertices": len(vertices),
                    "largest": float(difference.max()),
                    "p999": float(np.percentile(difference, 99.9)),
                    "correlation": float(correlation),
                }
            )
    return table


def selection_path(
    second: Float[np.ndarray, "stimuli rows"], part1_vertices: Int[np.ndarray, " n"], layout: str
) -> dict[str, Any]:
    """What the published package's selection path would answer on these files, derived from how it looks rows up.

    It takes a vertex that is not in part 1 for part 2's row of its rank among such vertices. That is right for the
    complement layout; for overlay it is another vertex' row.

    Parameters
    ----------
    second
        Part 2's responses, one for each of its rows.
    part1_vertices, layout
        Of the subject.
    """
    rest = np.setdiff1d(np.arange(len(part1_vertices) + second.shape[1]), part1_vertices)
    if layout == "complement":
        text = (
            "Derived, not run: these files are complement, as the published package's selection path assumes. Its "
            f"full path assumes overlay: it would take part 2's {second.shape[1]:,} rows for all of the "
            f"{len(part1_vertices) + len(rest):,} vertices."
        )
        return _selection_facts("derived", np.zeros(len(rest)), text)
    rest = rest[rest < second.shape[1]]
    difference = np.abs(second[:, : len(rest)] - second[:, rest]).max(axis=0)  # the row of its rank, its own row
    moved = int((rest != np.arange(len(rest))).sum())
    text = (
        "Derived, from the files' layout and the reference's part-2 responses: the published package's selection "
        "path takes a vertex that is not in part 1 for part 2's row of its rank among such vertices, as if part 2 "
        "had no others. Here part 2 has a row for every vertex (overlay), so that "
        f"{moved:,} of the {len(rest):,} vertices outside part 1 get another vertex' response when they are "
        "selected: {differing:,} of them by more than {limit:g} z on these images, {median:.2g} z in the median, "
        "{largest:.2g} z at most."
    )
    return _selection_facts("derived", difference, text)


def measured_selection_path(
    berg_class: Any,
    name: str,
    berg_dir: Path,
    subject: int,
    stimuli: Stimuli,
    full: Float[np.ndarray, "n vertices"],
    images_per_batch: int = 1,
) -> dict[str, Any]:
    """What an installed package answers when the recorded vertices are selected, against its own full answer."""
    total = full.shape[1]
    vertices = recorded_vertices(total)
    masks = np.isin(np.arange(total), vertices).astype(int).reshape(2, -1)
    selection = {"lh_vertices": masks[0], "rh_vertices": masks[1]}
    selected = observe_berg(berg_class, berg_dir, subject, stimuli, selection, images_per_batch)
    difference = np.abs(selected - full[:, vertices]).max(axis=0)
    text = (
        f"Measured with {name}: of {len(vertices):,} vertices selected by masks, "
        "{differing:,} differ from its own full answer by more than {limit:g} z on these images, {median:.2g} z in "
        "the median, {largest:.2g} z at most."
    )
    return _selection_facts("measured", difference, text)


def _selection_facts(how: str, difference: Float[np.ndarray, " n"], text: str) -> dict[str, Any]:
    """Of each vertex how far a selection's answer is from the full one, summed up; ``text`` with the numbers."""
    numbers = {
        "differing": int((difference > RESPONSE_LIMIT).sum()),
        "median": float(np.median(difference)) if len(difference) else 0.0,
        "largest": float(difference.max(initial=0)),
    }
    ours = " berg_jax answers a selection with the columns of its full answer."
    return {"how": how, "of": len(difference), **numbers, "text": text.format(limit=RESPONSE_LIMIT, **numbers) + ours}


def _batches(stimuli: Stimuli, size: int) -> Iterator[tuple[list[int], UInt8[np.ndarray, "size 3 side side"]]]:
    """Rows and images of one side length at a time; images are filled up."""
    images = list(stimuli.values())
    for side in dict.fromkeys(image.shape[-1] for image in images):
        rows = [row for row, image in enumerate(images) if image.shape[-1] == side]
        for numbers, new in filled_batches(len(rows), size):
            some = [rows[number] for number in numbers]
            yield some[:new], np.stack([images[row] for row in some])


def response_check(device: str, ours: np.ndarray, theirs: np.ndarray) -> Check:
    """That every response is as near as it must be."""
    difference = float(np.abs(ours - theirs).max())
    return Check(f"responses in float32 on {device}, largest difference (z)", difference, RESPONSE_LIMIT)


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
