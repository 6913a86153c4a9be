"""Provenance of a certificate: subject, files, machine, versions, regions and notes."""

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
from .record import pixel_hash
from .stimuli import Stimuli

if TYPE_CHECKING:
    from ...convert.subject import Options
    from ...subject import Subject


def provenance(subject: Subject, stimuli: Stimuli, *libraries: str) -> dict[str, Any]:
    """Return the certificate's fields on the subject, the stimuli and this machine, by name.

    Parameters
    ----------
    subject
        The converted subject.
    stimuli
        Images by name.
    libraries
        Libraries whose versions are named besides our own and JAX's.
    """
    from ...model.checkpoint import read_manifest

    description = subject.description
    part = description.parts["part1"]
    names = ("berg_jax", "jax", "jaxlib", "flax", "numpy", *libraries)
    devices = [{"platform": device.platform, "kind": device.device_kind} for device in find_devices()]
    return {
        "subject": description.subject,
        "origin": description.origin,
        "layout": description.layout,
        "rows": description.rows,
        "options": {
            **description.options,
            "num_heads": part.vit.num_heads,
            "network": asdict(part) | {"layers": list(part.layers)},
        },
        "sources": {name: source["sha256"] for name, source in description.sources.items()},
        "converted": read_manifest(subject.folder),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in names},
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "devices": devices},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "stimuli": {name: {"side": image.shape[-1], "sha256": pixel_hash(image)} for name, image in stimuli.items()},
    }


def find_devices() -> list[Any]:
    """Return the CPU, and the default device where that is another.

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


def regions(subject: Subject) -> dict[str, Int[np.ndarray, " n"]]:
    """Return global vertices of the whole brain, each hemisphere, each part, and, with metadata, each ROI."""
    size = subject.hemisphere_size
    every, first = np.arange(2 * size), part1_vertices(subject)
    found = {"all vertices": every, "left hemisphere": every[:size], "right hemisphere": every[size:]}
    found |= {"part 1": first, "part 2": np.setdiff1d(every, first)}
    with contextlib.suppress(ModelNotFoundError):  # there are no metadata
        for name in subject.rois:
            left, right = subject.metadata.roi(name)
            found[name] = np.concatenate([left, right + size])
    return {name: vertices for name, vertices in found.items() if len(vertices)}


def part1_vertices(subject: Subject) -> Int[np.ndarray, " n"]:
    """Return global vertices of part 1's rows, in their order."""
    from ...model.checkpoint import read_part

    return read_part(subject.folder, "part1").vertices


def reference_options(subject: Subject, options: Options) -> dict[str, Any]:
    """Return the reference's options: those given or by default.

    The conversion, which may be wrong, gives only the number of heads, and only where embed_dim does not.
    """
    vit = subject.description.parts["part1"].vit
    heads = vit.num_heads if vit.embed_dim % 64 else vit.embed_dim // 64
    return {
        "num_heads": options.num_heads or heads,
        "lora_scale": options.lora_scale,
        "retina_sigma": options.retina_sigma,
    }


def notes(subject: Subject, given: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each option on which the conversion and the reference differ."""
    description = subject.description
    converted = {**description.options, "num_heads": description.parts["part1"].vit.num_heads}
    return [
        f"The subject was converted with {name} {value}, and the reference was given {given[name]}."
        for name, value in converted.items()
        if value != given[name]
    ]
