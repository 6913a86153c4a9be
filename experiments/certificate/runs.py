"""Runs of a certificate: our model on each device in each precision, then the reference, one in memory at a time."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...model.nn.config import IMAGE
from .comparison import check_consistency
from .facts import part1_vertices, reference_options
from .observation import Observation, observe, observe_berg, observe_reference
from .record import Check
from .selections import measured_selection_path, selection_path
from .stimuli import Stimuli

if TYPE_CHECKING:
    from ...convert.subject import Options
    from ...subject import Subject

_log = logging.getLogger(__name__)


def run_ours(
    subject: Subject,
    stimuli: Stimuli,
    devices: Sequence[Any],
    precisions: Sequence[str],
    images_per_batch: int,
    progress: Any,
    deep: bool = True,
) -> tuple[dict[tuple[str, str], Observation], list[Check]]:
    """Return our model's observations by device and precision, and the checks that need our model alone.

    Activations and gradients are observed in float32 on the CPU alone, and only if ``deep``. ``progress`` is a tqdm
    bar, which each image advances.
    """
    import jax

    from ...model.checkpoint import load_model

    seen, checks = {}, []
    for device in devices:
        for precision in precisions:
            key = (device.platform if device.platform == "cpu" else device.device_kind, precision)
            _announce(progress, f"berg_jax, {', '.join(key)}")
            exact = key == ("cpu", "float32")
            with jax.default_device(device):
                model = load_model(subject.folder, precision=precision, check=not seen)
                seen[key] = observe(model, stimuli, images_per_batch, deep=deep and exact, advance=progress.update)
                if exact and deep:
                    images = np.stack([image for image in stimuli.values() if image.shape[-1] == IMAGE][:2])
                    checks += check_consistency(model, images, part1_vertices(subject))
            del model  # before the next one is loaded
    return seen, checks


def run_reference(
    subject: Subject, berg_dir: Path, options: Options, stimuli: Stimuli, progress: Any
) -> tuple[Observation, dict[str, Any]]:
    """Return the reference's observation, and the certificate's fields ``reference`` and ``selection_path``."""
    from ...convert.torch_reference import load_reference

    _announce(progress, "the reference, PyTorch")
    subject_id, layout = subject.description.subject, subject.description.layout
    given = reference_options(subject, options)
    theirs, second = observe_reference(load_reference(berg_dir, subject_id, **given), stimuli, progress.update)
    found = selection_path(second, part1_vertices(subject), layout)
    name, published = "convert/torch_reference.py", published_package()
    if published and layout == "overlay":  # its full path knows no other
        berg_class, name = published
        responses = observe_berg(berg_class, berg_dir, subject_id, stimuli)
        theirs = replace(theirs, responses=responses)
        found = measured_selection_path(berg_class, name, berg_dir, subject_id, stimuli, responses)
    return theirs, {"reference": {"name": name, **given}, "selection_path": found}


def published_package() -> tuple[Any, str] | None:
    """Return the published package's class and its name with version, where it is installed."""
    try:
        from berg import BERG
    except ImportError:
        return None
    distributions = importlib.metadata.packages_distributions().get("berg", [])
    version = importlib.metadata.version(distributions[0]) if distributions else "of unknown version"
    return BERG, f"berg package {version}"


def _announce(progress: Any, what: str) -> None:
    """Show what is computed next before the bar or, where there is no terminal, in the log."""
    progress.set_description(what)
    if progress.disable:
        _log.info("Computing the answers of %s …", what)
