"""What a certificate says besides numbers: whose model it is, on what machine, with what it was made."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from ...errors import ModelNotFoundError, ResourceError
from .comparison import Stimuli
from .record import pixel_hash

if TYPE_CHECKING:
    from ...convert.subject import Options
    from ...subject import Subject


def provenance(person: Subject, stimuli: Stimuli, *libraries: str) -> dict[str, Any]:
    """What a certificate says of the subject, the stimuli and this machine, by its fields' names.

    Parameters
    ----------
    person
        The converted subject.
    stimuli
        What was shown.
    libraries
        Whose versions it says besides our own and JAX's.
    """
    from ...model.checkpoint import read_manifest

    d = person.description
    part = d.parts["part1"]
    names = ("berg_jax", "jax", "jaxlib", "flax", "numpy", *libraries)
    devices = [{"platform": device.platform, "kind": device.device_kind} for device in find_devices()]
    return {
        "subject": d.subject,
        "origin": d.origin,
        "layout": d.layout,
        "rows": d.rows,
        "options": {
            **d.options,
            "num_heads": part.vit.num_heads,
            "network": asdict(part) | {"layers": list(part.layers)},
        },
        "sources": {name: source["sha256"] for name, source in d.sources.items()},
        "converted": read_manifest(person.folder),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in names},
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "devices": devices},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "stimuli": {name: {"side": image.shape[-1], "sha256": pixel_hash(image)} for name, image in stimuli.items()},
    }


def find_devices() -> list[Any]:
    """The CPU, and the default device where that is another.

    Raises
    ------
    ResourceError
        JAX has been told to see no CPU.
    """
    import jax

    default = jax.devices()[0]
    try:
        cpu = jax.devices("cpu")[0]
    except RuntimeError as error:
        raise ResourceError(
            f"JAX sees no CPU here, only {default.platform}. Unset JAX_PLATFORMS, or add cpu to it."
        ) from error
    return [cpu] if default.platform == "cpu" else [cpu, default]


def regions(person: Subject) -> dict[str, Int[np.ndarray, " n"]]:
    """Global vertices of all, of each hemisphere and part, and of each ROI where there are metadata."""
    size = person.hemisphere_size
    every, first = np.arange(2 * size), part1_vertices(person)
    found = {"all vertices": every, "left hemisphere": every[:size], "right hemisphere": every[size:]}
    found |= {"part 1": first, "part 2": np.setdiff1d(every, first)}
    with contextlib.suppress(ModelNotFoundError):  # of metadata
        for name in person.rois:
            left, right = person.metadata.roi(name)
            found[name] = np.concatenate([left, right + size])
    return {name: vertices for name, vertices in found.items() if len(vertices)}


def part1_vertices(person: Subject) -> Int[np.ndarray, " n"]:
    """Global vertices of part 1's rows, in their order."""
    from ...model.checkpoint import read_part

    return read_part(person.folder, "part1").vertices


def reference_options(person: Subject, options: Options) -> dict[str, Any]:
    """What the reference is told: nothing from the conversion, which may be wrong, unless nothing else tells."""
    vit = person.description.parts["part1"].vit
    heads = vit.num_heads if vit.embed_dim % 64 else vit.embed_dim // 64
    return {
        "num_heads": options.num_heads or heads,
        "lora_scale": options.lora_scale,
        "retina_sigma": options.retina_sigma,
    }


def notes(person: Subject, given: Mapping[str, Any]) -> list[str]:
    """What the subject was converted with and the reference was not given, a sentence each."""
    d = person.description
    converted = {**d.options, "num_heads": d.parts["part1"].vit.num_heads}
    return [
        f"The subject was converted with {name} {value}, and the reference was given {given[name]}."
        for name, value in converted.items()
        if value != given[name]
    ]
