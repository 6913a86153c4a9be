"""The loop: images from a source, in batches, through a model, to a store."""

from __future__ import annotations

import numpy as np
from tqdm.auto import tqdm

from ..model import EncodingModel
from .sources import Source
from .stores import ResponseStore


def encode(
    model: EncodingModel, source: Source, store: ResponseStore, batch_size: int, *, show_progress: bool = True
) -> None:
    """Write the model's responses to every image of the source into the store.

    The last batch is filled up with its own last image, so that one compiled program serves all.

    Raises
    ------
    StimulusError, ResourceError
        An image cannot be decoded; the store cannot be written.
    """
    with tqdm(total=len(source), unit="image", disable=None if show_progress else True) as progress:
        for start in range(0, len(source), batch_size):
            indices = np.arange(start, min(start + batch_size, len(source)))
            padded = np.pad(indices, (0, batch_size - len(indices)), mode="edge")
            responses = np.asarray(model(source.read(padded)))
            store.write(start, responses[: len(indices)].astype(np.float32))
            progress.update(len(indices))
    store.finish()
