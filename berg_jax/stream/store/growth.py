"""Growth of an output by new images: names, digests and shape, rewritten such that a kill at any moment is survived.

growing/images.json  names and digests of all images, written before anything else is changed
attribute growing    true while coordinates are rewritten; whoever comes next rewrites them from the file

Rows of responses are not touched: new ones begin after the last one, in its shard where that has room.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
import zarr
from jaxtyping import UInt64
from zarr.storage import MemoryStore

from ...errors import ResourceError
from ...files import disk as files
from .changes import DIGEST
from .layout import GROWING, RESPONSES, ROOT, lay_out
from .output import Output
from .places import explained, read, write
from .remote_zarr import zarr_store


def recorded_images(output: Output) -> tuple[list[str], UInt64[np.ndarray, " images"] | None]:
    """Return the names and digests of an output's images; no digests of an output of version 0.1.0."""
    if output.attributes.get(GROWING):
        record = _record(output)
        return record["names"], _digests(record)
    with explained("read", output.path):
        group = zarr.open_group(zarr_store(output.path), mode="r", use_consolidated=False)
        names = group["image"][:].tolist()
        known = group[DIGEST][:] if DIGEST in group else None
    for image, digest in output.attributes.get("changed", {}).items():
        known[int(image)] = int(digest, 16)
    return names, known


def grow(
    output: Output,
    names: Sequence[str],
    digests: UInt64[np.ndarray, " images"],
    fingerprint: str,
    found: dict[str, Any] | None,
) -> None:
    """Add images to a complete output, which is incomplete afterwards.

    Parameters
    ----------
    output
        The output.
    names, digests
        Names of all images, those before first, and digests of their contents.
    fingerprint
        Fingerprint of all images.
    found
        Account of all images, if there is one.

    Raises
    ------
    ResourceError
        The output is not complete, or cannot be written.
    """
    if not output.complete:
        raise ResourceError(
            f"{output.path} is not complete, so nothing can be appended to it yet. Finish it first: run the command "
            "that it was begun with, or the last one with --append, whose images are still missing."
        )
    responses = output.array(RESPONSES)
    if isinstance(output.path, Path):
        row = responses.shape[1] * responses.dtype.numpy_dtype.itemsize
        files.require_space(output.path, (len(names) - responses.shape[0]) * row, "Storing the responses")
    record = {
        "names": list(names),
        "digests": [f"{int(digest):x}" for digest in digests],
        "fingerprint": fingerprint,
        "found": found,
    }
    write(output.path / GROWING / "images.json", json.dumps(record).encode())
    output.set_attributes(complete=False, **{GROWING: True})
    finish_growing(output)


def finish_growing(output: Output) -> None:
    """Rewrite the coordinates of an output that is growing; done twice, it changes nothing more."""
    record, path = _record(output), output.path
    count = len(record["names"])
    coordinates = {
        "image": ("image", np.array(record["names"], dtype=np.dtypes.StringDType())),
        DIGEST: ("image", _digests(record)),
    }
    objects: dict[str, Any] = {}
    dataset = xarray.Dataset(coords=xarray.Coordinates(coordinates, indexes={}))
    lay_out(MemoryStore(objects), dataset, None, 1)
    for key in sorted(objects):
        if key.split("/")[0] in coordinates:
            write(path / key, objects[key].to_bytes())
    arrays = json.loads(objects[ROOT].to_bytes())["consolidated_metadata"]["metadata"]
    responses = json.loads(read(path / RESPONSES / ROOT))
    responses["shape"][0] = count
    write(path / RESPONSES / ROOT, json.dumps(responses).encode())
    root = json.loads(read(path / ROOT))
    root["consolidated_metadata"]["metadata"] |= {**arrays, RESPONSES: responses}
    attributes = root["attributes"]
    attributes |= {"images": count, "run": {**attributes["run"], "images": record["fingerprint"]}, GROWING: False}
    attributes["changed"] = {}  # which the digests hold now
    if record["found"] is not None:
        attributes["found"] = record["found"]
    write(path / ROOT, json.dumps(root).encode())


def write_digests(output: Output) -> None:
    """Write the digests of changed images, which were accepted, into the coordinate."""
    changed = output.attributes.get("changed", {})
    if changed:
        _, digests = recorded_images(output)
        output.array(DIGEST).write(digests).result()


def _record(output: Output) -> dict[str, Any]:
    return json.loads(read(output.path / GROWING / "images.json"))


def _digests(record: dict[str, Any]) -> UInt64[np.ndarray, " images"]:
    return np.array([int(digest, 16) for digest in record["digests"]], np.uint64)
