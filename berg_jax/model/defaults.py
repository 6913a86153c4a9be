"""Default batch size of a device: a table by platform, bounded by the device's memory.

The memory that an image takes is that of ``berg-jax compile-for``: encoding the whole brain of a subject of published
size in bfloat16 takes 2.8 to 3.8 GB for 64 images, weights included, on the GPUs and TPUs it knows
(``docs/performance/accelerators.md``), thus at most 60 MB an image, and float32 at most twice as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tuned import tuned_entry

if TYPE_CHECKING:
    import jax

CPU_BATCH = 8  # 16 is slower
FULL_BATCH = 64  # keeps a GPU or TPU busy: every product has 16,448 rows
UNKNOWN_BATCH = 32  # of an accelerator that does not tell its memory; takes at most 8 GB
_IMAGE_BYTES = 120_000_000
_WEIGHT_BYTES = 4_000_000_000  # of both networks in float32, in Winograd's form


def default_batch_size(device: jax.Device, precision: str = "float32") -> int:
    """Return the number of images that a device computes at a time unless another one is given.

    It is the one that ``berg-jax tune`` found for this kind of device and precision, if it was run. Else it is 8 on a
    CPU. On a GPU or TPU it is 64, or the largest power of two, but at least 8, for which the whole brain in float32
    fits the memory that JAX may use there. It depends on the kind of device alone, so that processes on devices of
    one kind agree about it.

    Parameters
    ----------
    device
        The device.
    precision
        Precision of the model.

    See Also
    --------
    berg_jax.model.tuned : What ``berg-jax tune`` found.

    Examples
    --------
    >>> import jax
    >>> default_batch_size(jax.devices("cpu")[0])
    8
    """
    if tuned := tuned_entry(precision, device).get("batch_size"):
        return tuned
    return table_batch_size(device)


def table_batch_size(device: jax.Device) -> int:
    """Return the batch size of a device that was not tuned."""
    return CPU_BATCH if device.platform == "cpu" else min(FULL_BATCH, fitting_images(device))


def fitting_images(device: jax.Device) -> int:
    """Return the largest power of two of images, at least 8, that fit a GPU or TPU; 32 if it does not tell."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if not limit:
        return UNKNOWN_BATCH
    fitting = max(int(limit) - _WEIGHT_BYTES, 0) // _IMAGE_BYTES
    return max(CPU_BATCH, 1 << max(fitting.bit_length() - 1, 0))
