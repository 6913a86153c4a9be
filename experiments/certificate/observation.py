"""Responses, inner activations and gradients of our model, of the PyTorch reference and of the published package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from ...model.batches import filled_batches
from ...model.nn.config import IMAGE
from .stimuli import GRADIENT_STIMULI, Stimuli, gradient_weights

if TYPE_CHECKING:
    from ...model.encoding_model import EncodingModel


@dataclass(frozen=True)
class Observation:
    """Responses, inner activations and gradients of one model to the stimuli, in their order.

    Attributes
    ----------
    responses
        Responses at all vertices, in z units.
    inside
        Tokens after the tapped blocks, feature maps and global vectors, by part, kind and layer; only of the stimuli
        that need no resize (PyTorch's own float32 resize is up to 1e-4 off).
    gradients
        Gradients of a weighted sum of the responses with respect to the pixels of ``GRADIENT_STIMULI``.
    """

    responses: Float[np.ndarray, "stimuli vertices"]
    inside: dict[tuple[str, str, int], Float[np.ndarray, "n ..."]] = field(default_factory=dict)
    gradients: dict[str, Float[np.ndarray, "3 side side"]] = field(default_factory=dict)


def observe(
    model: EncodingModel,
    stimuli: Stimuli,
    images_per_batch: int = 2,
    *,
    deep: bool = True,
    advance: Callable[[int], Any] = lambda count: None,
) -> Observation:
    """Return the observation of our model.

    Parameters
    ----------
    model
        A model of all vertices.
    stimuli
        Images by name.
    images_per_batch
        Images that the model takes at once.
    deep
        Whether to observe activations and gradients too, and not the responses alone.
    advance
        Called with the number of images that are done since the last call.
    """
    import jax

    from ...model.encoding_model import features_of, pixels_of

    precision, plan = model.config.precision, model.config.compute_plan
    seen = Observation(np.empty((len(stimuli), len(model.vertices)), np.float32))
    inside: dict[tuple[str, str, int], list[np.ndarray]] = {}
    for rows, images in _batches(stimuli, images_per_batch):
        seen.responses[rows] = np.asarray(model(images))[: len(rows)]
        advance(len(rows))
        for name, part in model.config.parts if deep and images.shape[-1] == IMAGE else ():
            network, pixels = model.params[name], pixels_of(images, precision)
            tokens, maps, vectors = features_of(network["vit"], network["heads"], part, precision, pixels, plan)
            for index, layer in enumerate(part.layers):
                found = {"tokens": tokens[layer], "map": maps[index].transpose(0, 3, 1, 2), "vector": vectors[index]}
                for kind, values in found.items():
                    inside.setdefault((name, kind, layer), []).append(np.asarray(values)[: len(rows)])
    seen.inside.update({key: np.concatenate(batches) for key, batches in inside.items()})

    weights = gradient_weights(len(model.vertices))
    gradient = jax.grad(lambda images: (model(images) * weights[None]).sum())  # not jitted: the model is no constant
    for name in GRADIENT_STIMULI if deep else ():
        if name in stimuli:
            seen.gradients[name] = np.asarray(gradient(jax.numpy.asarray(stimuli[name][None], "float32")))[0]
    return seen


def observe_reference(
    model: Any, stimuli: Stimuli, advance: Callable[[int], Any] = lambda count: None
) -> tuple[Observation, Float[np.ndarray, "stimuli rows"]]:
    """Return the observation of the PyTorch reference, and the responses of each of its part 2's rows.

    Parameters
    ----------
    model
        The reference: see :func:`berg_jax.convert.torch_reference.load_reference`.
    stimuli
        Images by name; the reference takes them one by one.
    advance
        Called with 1 after each image.
    """
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
            gradients[name] = pixel_gradient(model, image[None], gradient_weights(len(answer[0])))[0]
        advance(1)
    stacked = {key: np.stack(values) for key, values in inside.items()}
    return Observation(np.stack(responses), stacked, gradients), np.stack(second)


def observe_berg(
    berg_class: Any,
    berg_dir: Path,
    subject_id: int,
    stimuli: Stimuli,
    selection: dict[str, Any] | None = None,
    images_per_batch: int = 1,
) -> Float[np.ndarray, "stimuli vertices"]:
    """Return responses of a class with the published package's interface, left hemisphere first.

    Parameters
    ----------
    berg_class
        The package's ``BERG``, or a class with its interface, such as :class:`berg_jax.BERG`.
    berg_dir, subject_id
        The BERG directory, and the subject's number.
    stimuli
        Images by name.
    selection
        Vertices, as the package takes them; all by default.
    images_per_batch
        Images that it takes at once.
    """
    from ...published.card import MODEL_ID

    berg = berg_class(berg_dir=str(berg_dir))
    model = berg.get_encoding_model(MODEL_ID, subject=subject_id, device="cpu", selection=selection)
    responses = {}
    for rows, images in _batches(stimuli, images_per_batch):
        answers = np.concatenate(berg.encode(model, images), axis=1)
        responses |= dict(zip(rows, answers, strict=False))
    return np.stack([responses[row] for row in range(len(stimuli))])


def _batches(stimuli: Stimuli, size: int) -> Iterator[tuple[list[int], UInt8[np.ndarray, "size 3 side side"]]]:
    """Yield rows and images of one side length at a time; the last batch is filled up with images again."""
    images = list(stimuli.values())
    for side in dict.fromkeys(image.shape[-1] for image in images):
        rows = [row for row, image in enumerate(images) if image.shape[-1] == side]
        for numbers, new in filled_batches(len(rows), size):
            some = [rows[number] for number in numbers]
            yield some[:new], np.stack([images[row] for row in some])
