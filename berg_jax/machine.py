"""The machine at hand: versions and devices for a bug report, cached compiled programs, notices of long work."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys

from .published.berg_dir import cache_folder

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


def keep_compiled() -> None:
    """Have JAX keep what it compiles for GPUs and TPUs in the cache folder, unless it has a place for it already.

    Not for CPUs: there the code is for one kind of processor, which the machines that share a home folder need not
    have, and a processor's own programs are often refused (JAX issue 38445).
    """
    import jax

    if jax.default_backend() != "cpu" and jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))


def tell(log: logging.Logger, message: str, *arguments: object) -> None:
    """Log at level INFO; where nobody has set up logging, say it on stderr, for whoever waits to know why."""
    if log.hasHandlers():
        log.info(message, *arguments)
    elif log.isEnabledFor(logging.WARNING):  # unless somebody wants it quieter than Python's default
        print(message % arguments, file=sys.stderr, flush=True)
