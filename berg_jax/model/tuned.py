"""Winners of ``berg-jax tune`` on this machine: how to compute, by kind of device, precision and version of JAX."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ResourceError
from ..files.disk import explained, read_small, write_whole
from ..files.trouble import device_trouble
from ..machine import processor
from ..published.berg_dir import cache_folder
from .nn.config import plan_of

if TYPE_CHECKING:
    import jax

FILE = "tuned.json"
_MOST = 4096  # images at a time that are believed
_UNTUNED = {"gpu": {"attention": "plain", "unroll": True, "tiles_per_step": 256}}
_log = logging.getLogger(__name__)


def device_name(device: jax.Device) -> str:
    """Return the kind of a device; of a CPU the processor, as machines that share a home folder may have others."""
    if device.platform == "cpu":
        return f"cpu {processor()}, {os.cpu_count()} cores"
    return f"{device.platform} {device.device_kind}"


def tuned_entry(precision: str, device: jax.Device | None = None) -> dict[str, Any]:
    """Return what was found for a precision on a device, by default JAX's own: ``variant`` and ``batch_size``.

    Empty if nothing was found with this version of JAX, or what is kept makes no sense, which is logged.
    """
    import jax

    device = device or jax.config.jax_default_device or _first_device()
    entry = all_tuned().get(_key(device, precision, jax.__version__), {})
    try:
        plan_of(entry.get("variant", {}), winograd=False)
        size = entry.get("batch_size")
        if size is not None and not (type(size) is int and 1 <= size <= _MOST):
            raise ValueError(f"batch_size is {size!r:.40}")
    except (AttributeError, TypeError, ValueError) as error:
        _log.warning("What berg-jax tune has kept makes no sense (%s): run it again.", error)
        return {}
    return entry


def tuned_variant(precision: str) -> dict[str, Any]:
    """Return the fields of the compute plan that won on this device, as far as they are not as by default.

    On a device that was not tuned they are those of :func:`untuned_variant`.
    """
    import jax

    device = jax.config.jax_default_device or _first_device()
    entry = tuned_entry(precision, device)
    return entry["variant"] if "variant" in entry else untuned_variant(device.platform, precision)


def untuned_variant(platform: str, precision: str) -> dict[str, Any]:
    """Return how to compute on a kind of device (``cpu``, ``gpu`` or ``tpu``) that was not tuned.

    It is the default on a CPU. On others it is what takes least time by the estimates of ``berg-jax compile-for``, of
    what every such device has.
    """
    variant = _UNTUNED.get(platform, {})
    return variant | ({"narrow_products": True} if variant and precision == "bfloat16" else {})


def keep_tuned(device: jax.Device, precision: str, entry: Mapping[str, Any]) -> None:
    """Keep what was found for a precision on a device.

    Raises
    ------
    ResourceError
        The cache folder cannot be written.
    """
    import jax

    path = cache_folder() / FILE
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {**all_tuned(), _key(device, precision, jax.__version__): dict(entry)}
        write_whole(path, (json.dumps(known, indent=1) + "\n").encode())


def all_tuned() -> dict[str, dict[str, Any]]:
    """Return all that was found, by device, precision and version; empty if there is no file, or it is damaged."""
    try:
        known = json.loads(read_small(cache_folder() / FILE))
    except (FileNotFoundError, ResourceError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s cannot be read (%s): run berg-jax tune again.", cache_folder() / FILE, error)
        return {}
    return {key: entry for key, entry in known.items() if isinstance(entry, dict)} if isinstance(known, dict) else {}


def _first_device() -> jax.Device:
    import jax

    try:
        return jax.devices()[0]
    except Exception as error:  # of several types
        if trouble := device_trouble(error):
            raise ResourceError(f"{trouble[0].upper()}{trouble[1:]}") from error
        raise


def _key(device: jax.Device, precision: str, version: str) -> str:
    return f"{device_name(device)}; {precision}; jax {version}"
