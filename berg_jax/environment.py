"""What a bug report needs to know of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

from .berg_dir import cache_folder

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
    """Versions, machine, devices and settings, one a line."""
    lines = [
        f"python {sys.version.split()[0]} ({platform.python_implementation()})",
        f"system {platform.platform()}",
        f"processor {processor()}, {os.cpu_count()} cores",
        f"memory {_memory()}",
        f"cache {cache_folder()}",
        f"devices {_devices()}",
    ]
    lines += [f"{name} {_version(name)}" for name in _PACKAGES]
    settings = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES) or name in _VARIABLES}
    return "\n".join(lines + [f"{name}={value}" for name, value in sorted(settings.items())])


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # no Linux, or an ARM processor
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return "unknown"
    return f"{size / 1e9:.0f} GB"


def _devices() -> str:
    """What JAX computes on, or why it cannot."""
    try:
        import jax

        return ", ".join(f"{device.platform} {device.device_kind}" for device in jax.devices())
    except Exception as error:  # a broken installation is just what is reported here
        return f"none: {type(error).__name__}: {error}"
