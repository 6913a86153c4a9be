"""The machine in use: versions and devices for a bug report, cached compiled programs, notices of long work."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import sys
from typing import TYPE_CHECKING

from .errors import ResourceError
from .files.trouble import device_trouble
from .published.berg_dir import cache_folder

if TYPE_CHECKING:
    import jax

_PACKAGES = (
    *(
        "berg_jax",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax-checkpoint",
        "tensorstore",
        "zarr",
        "xarray",
        "numpy",
        "scipy",
    ),
    *("h5py", "pillow", "nilearn", "nibabel", "matplotlib", "obstore", "torch"),
)
_VARIABLES = ("BERG_JAX_CACHE", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS")
_PREFIXES = ("JAX_", "XLA_PYTHON_")


def environment() -> str:
    """Return versions, machine, devices and settings as text, one per line, as a bug report needs them.

    Examples
    --------
    >>> environment().startswith("python ")
    True
    """
    lines = [
        f"python {sys.version.split()[0]} ({platform.python_implementation()})",
        f"system {platform.platform()}",
        f"processor {processor()}, {os.cpu_count()} cores",
        f"memory {_memory()}",
        f"cache {_cache()}",
        f"devices {_devices()}",
    ]
    lines += [f"{name} {_version(name)}" for name in _PACKAGES]
    settings = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES) or name in _VARIABLES}
    return "\n".join(lines + [f"{name}={value}" for name, value in sorted(settings.items())])


def processor() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or an ARM processor
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cache() -> str:
    try:
        return str(cache_folder())
    except ResourceError as error:
        return f"none: {error}"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return "unknown"
    return f"{size / 1e9:.0f} GB"


def _devices() -> str:
    """Return the devices that JAX computes on, or why it has none."""
    try:
        import jax

        return ", ".join(f"{device.platform} {device.device_kind}" for device in jax.devices())
    except Exception as error:  # the report must also describe a broken installation
        return f"none: {device_trouble(error) or f'{type(error).__name__}: {error}'}"


def find_devices(name: str, count: int | None = 1) -> list[jax.Device]:
    """Return local devices by their name.

    Parameters
    ----------
    name
        ``"auto"`` for JAX's first kind; ``"cpu"``, ``"gpu"`` or ``"cuda"``, or ``"tpu"``; with a number, such as
        ``"cuda:1"``, for another one than the first, counted from 0.
    count
        Number of devices from that one on; None for all.

    Raises
    ------
    ResourceError
        JAX sees no such device, or not so many; the message says which it sees.
    """
    import jax

    kind, _, number = name.partition(":")
    try:
        found = jax.local_devices(backend={"auto": None, "cuda": "gpu"}.get(kind, kind))[int(number or 0) :]
        if not found:
            raise RuntimeError("no device has this number")
    except RuntimeError as error:
        devices = jax.devices()
        platforms = sorted({f"{one.platform}:{one.id}" if number else one.platform for one in devices})
        raise ResourceError(
            f"There is no device {name!r}; JAX sees {platforms}. Install berg_jax[cuda12], [cuda13] or [tpu], or use "
            "device='auto'."
        ) from error
    if count is not None and not 1 <= count <= len(found):
        raise ResourceError(f"devices must be from 1 to {len(found)}, which are here, or None for all; got {count}.")
    return found[:count]


def keep_compiled() -> None:
    """Make JAX keep its compiled programs for GPUs and TPUs in the cache folder.

    A compilation cache that the user has set up is left as it is. Programs for CPUs are not kept: they are compiled
    for one type of processor, which machines that share a home folder need not have in common, and even a processor's
    own programs are often rejected (JAX issue 38445).
    """
    import jax

    if jax.default_backend() != "cpu" and jax.config.jax_compilation_cache_dir is None:
        with contextlib.suppress(ResourceError):  # without a cache folder, they are compiled anew
            jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))


def tell(log: logging.Logger, message: str, *arguments: object) -> None:
    """Log a message at level INFO, or print it to stderr if logging is not set up, to explain a long wait."""
    if log.hasHandlers():
        log.info(message, *arguments)
    elif log.isEnabledFor(logging.WARNING):  # unless the user wants less output than Python's default
        print(message % arguments, file=sys.stderr, flush=True)
