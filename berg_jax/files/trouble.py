"""Trouble with the machine, such as a full memory or a missing permission, told from damage to a file."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator

_DISK = "the disk or the network file system fails ({}). Try again; if it goes on, the disk needs attention"
_SYSTEM = {
    errno.EACCES: "permission is denied. Check its permissions and those of its folders",
    errno.EPERM: "the operation is not permitted. Check its permissions and those of its folders",
    errno.EMFILE: "too many files are open. Raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine. Close other programs",
    errno.ENOMEM: "the machine's memory is full. Close other programs",
    errno.EIO: _DISK.format("input/output error"),
    errno.ESTALE: _DISK.format("stale file handle"),
    errno.ETIMEDOUT: _DISK.format("it took too long"),
}
_BACKEND = "jax._src.xla_bridge"  # the module in which JAX looks for devices
_NO_ROOM = ("RESOURCE_EXHAUSTED", "CUDA_ERROR_OUT_OF_MEMORY")
_FAILED = ("ABORTED", "DATA_LOSS", "FAILED_PRECONDITION", "INTERNAL", "UNAVAILABLE", "UNKNOWN")  # not by our fault


def machine_trouble(error: BaseException) -> str | None:
    """Return what is wrong with the machine and what to do, if that is what an exception reports, else None.

    Exceptions from which this one was raised count, too.

    Examples
    --------
    >>> machine_trouble(PermissionError(13, "Permission denied"))
    'permission is denied. Check its permissions and those of its folders.'
    >>> machine_trouble(ValueError("no zip file")) is None
    True
    """
    return device_trouble(error) or next(filter(None, map(_system_trouble, _chain(error))), None)


def device_trouble(error: BaseException) -> str | None:
    """Return what is wrong with JAX's devices and what to do, if that is what an exception reports, else None."""
    for one in _chain(error):
        reason = str(one).strip().partition("\n")[0][:300].removesuffix(".")
        ours = type(one).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
        searching = _raised_in_jax(one)
        if any(word in reason for word in _NO_ROOM) and (ours or searching or reason.startswith(_NO_ROOM)):
            return (
                f"the device's memory is full ({reason}). Close other programs on it, compute fewer images at a time "
                "(--batch-size) or fewer vertices (--roi), or set JAX_PLATFORMS=cpu."
            )
        if ours and reason.startswith(_FAILED):
            return f"JAX failed on its device ({reason}). berg-jax env prints versions and devices."
        if searching:
            wanted = os.environ.get("JAX_PLATFORMS")
            asked = f"JAX has no device of JAX_PLATFORMS={wanted}" if wanted else "JAX has no device"
            return (
                f"{asked}{f' ({reason})' if reason else ''}. Install JAX for it, such as pip install "
                "'berg_jax[cuda12]' for NVIDIA's GPUs, or set JAX_PLATFORMS=cpu."
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those from which it was raised."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _raised_in_jax(error: BaseException) -> bool:
    """Return whether JAX's search for devices raised an exception; one kind of it has no text."""
    frames = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1] == _BACKEND


def _system_trouble(error: BaseException) -> str | None:
    if isinstance(error, ImportError):
        return f"{error.name or error} is not installed, or does not work here ({error}). Install it again with pip."
    found = re.search(r"os_error_code='(\d+)'", str(error))  # the form in which tensorstore has errors of the system
    code = int(found[1]) if found else error.errno if isinstance(error, OSError) else None
    return f"{_SYSTEM[code]}." if code in _SYSTEM else None
