"""Output of a stream: responses written block by block, or results of reducers, and the ledger of what is done."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import xarray
import zarr
from jaxtyping import Float, UInt64

from ...errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ResourceError
from ...files import disk as files
from .changes import DIGEST, Changes, run_differences
from .layout import GROWING, LEDGER, RESPONSES, ROOT, Columns, block_size, coordinates_of, lay_out, no_output, put
from .ledger import Ledger
from .places import Place, exists, explained, find_place, read, write
from .remote_zarr import zarr_store

_REDUCERS = "reducers"
_LARGEST_BATCH = 4096  # a larger number in an output is none that was chosen
_log = logging.getLogger(__name__)


def is_there(path: Place) -> bool:
    """Return whether there is an output at this path, or anything else.

    Raises
    ------
    ResourceError
        The object store cannot be reached, or refuses access; the message says why.
    """
    return path.exists() if isinstance(path, Path) else exists(path / ROOT)


def is_complete(path: Place) -> bool:
    """Return whether there is an output at this path that a run has finished.

    Raises
    ------
    ResourceError
        The object store cannot be reached, or refuses access; the message says why.
    """
    if not is_there(path):
        return False
    try:
        return bool(zarr.open_group(zarr_store(path), mode="r", use_consolidated=False).attrs["complete"])
    except Exception:  # zarr raises many kinds of exceptions if there is no store
        return False


def recorded_batch_size(path: Place) -> int | None:
    """Return the batch size that an output was begun with; None if there is no output, or it does not say.

    Raises
    ------
    ResourceError
        The object store cannot be reached, or refuses access; the message says why.
    """
    recorded = (recorded_run(path) or {}).get("batch_size")
    return recorded if type(recorded) is int and 1 <= recorded <= _LARGEST_BATCH else None


def recorded_run(path: Place) -> dict[str, Any] | None:
    """Return the description of the run that began an output; None if there is no output, or it does not say.

    Raises
    ------
    ResourceError
        The object store cannot be reached, or refuses access; the message says why.
    """
    if not is_there(path):
        return None
    try:
        run = json.loads(read(path / ROOT))["attributes"]["run"]
    except Exception:  # it is no output; who opens it says so, and why
        return None
    return run if isinstance(run, dict) else None


class Output:
    """Output of a stream, which is written block by block. A block is one file or object of the responses: a shard.

    A shard is divided into chunks of vertices, so that one vertex is read without all others. A small block is one
    chunk, as every block was in earlier versions.

    Use :meth:`create`, :meth:`reopen` or :meth:`existing` to get one.

    Attributes
    ----------
    path
        Folder of the store, or its place in an object store.
    ledger
        Ledger of the finished blocks.
    """

    def __init__(self, path: str | Place) -> None:
        self.path = path = find_place(path)
        try:
            if isinstance(path, Path):
                files.read_small(path / ROOT)  # raises an error at a pipe, for which zarr would wait
            group = zarr.open_group(zarr_store(path), mode="r", use_consolidated=False)
            self.attributes = dict(group.attrs)
            images, block = self.attributes["images"], self.attributes["block"]
            if not (type(images) is int and type(block) is int and images > 0 and block > 0):
                raise ValueError(f"{images!r:.20} images in blocks of {block!r:.20}")
            if not isinstance(self.attributes.get("run", {}), dict):
                raise ValueError("its run is not described")
            stores = RESPONSES in group
        except Exception as error:  # zarr raises many kinds of exceptions if there is no store
            raise ResourceError(no_output(path, error)) from error
        self.ledger = Ledger(path / LEDGER, images, block)
        self.reducers = path / _REDUCERS
        self._responses = self.array(RESPONSES) if stores else None

    @classmethod
    def existing(cls, path: str | Place) -> Output:
        """Open an existing output of any run.

        Raises
        ------
        ModelNotFoundError, ResourceError
            There is nothing at this path, or something else than an output.
        """
        place = find_place(path)
        if not is_there(place):
            raise ModelNotFoundError(f"There is no output {place}. Give the output of a run.")
        return cls(place)

    @classmethod
    def create(
        cls,
        path: Place,
        ids: list[str],
        run: Mapping[str, Any],
        multiple: int,
        columns: Columns | None,
        attributes: Mapping[str, Any],
        digests: UInt64[np.ndarray, " images"] | None = None,
    ) -> Output:
        """Create an output, which appears complete with all its coordinates.

        Parameters
        ----------
        path
            Folder of the output, by convention ``….zarr``, or place in an object store. It must not exist.
        ids
            Names of the images.
        run
            JSON values that a resumed run must have, too.
        multiple
            Number of images of which the number of images in a block is a multiple.
        columns
            Columns of the responses, or None if they are not stored.
        attributes
            Further JSON values, for readers of the output.
        digests
            Digests of the images' contents, 0 for those that were not looked at.

        Raises
        ------
        ResourceError
            The path exists or cannot be written, or its disk is too full.
        """
        if is_there(path):
            raise ResourceError(f"{path} exists. Choose another output, or remove it first.")
        vertices = len(columns.vertices) if columns else 0
        row = vertices * np.dtype(columns.dtype).itemsize if columns else 0
        if isinstance(path, Path):
            files.require_space(path, len(ids) * row, "Storing the responses")
        block = block_size(multiple, len(ids), row)
        coordinates: dict[str, Any] = {"image": ("image", np.array(ids, dtype=np.dtypes.StringDType()))}
        if digests is not None:
            coordinates[DIGEST] = ("image", digests)
        if columns:
            coordinates |= coordinates_of(columns)
        everything = {**attributes, "run": dict(run), "images": len(ids), "block": block, "complete": False}
        # Without indexes, because nothing is looked up by name here, and an index of a million names takes 100 MB.
        dataset = xarray.Dataset(coords=xarray.Coordinates(coordinates, indexes={}), attrs=everything)
        if isinstance(path, Path):
            with files.explained("write", path), files.atomic_folder(path, replace=False) as folder:
                lay_out(folder, dataset, columns, block)
        else:
            put(path, dataset, columns, block)
        return cls(path)

    @classmethod
    def reopen(
        cls,
        path: Place,
        run: Mapping[str, Any],
        versions: Mapping[str, str],
        names: Sequence[str] = (),
        digests: UInt64[np.ndarray, " images"] | None = None,
        earlier: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        skipped_may_change: bool = False,
    ) -> Output:
        """Open an output that an earlier run with the same description has begun.

        Other versions of libraries only cause a warning.

        Parameters
        ----------
        path
            Folder of the output, or place in an object store.
        run
            Description of this run.
        versions
            Versions of libraries.
        names, digests
            Names of the images, and digests of their contents, by which the message says which have changed. Images
            may change as long as they have not been encoded, such as one that could not be read.
        earlier
            Fingerprint of the images in outputs of version 0.1.0, which did not know their contents. Such an output
            is given today's, with a warning.
        attributes
            Attributes that this run would give the output. The message compares them where hashes differ.
        skipped_may_change
            Whether images that were skipped may have changed, too, because they are encoded now.

        Raises
        ------
        ResourceError
            There is no such output, or it belongs to another run; the message says what differs.
        """
        output = cls(path)
        recorded = output.attributes.get("run", {})
        if earlier is not None and recorded.get("images") == earlier:
            _log.warning(
                "%s was begun by version 0.1.0, which did not record the contents of images: whether they have "
                "changed since cannot be told. From now on it can.",
                path,
            )
            recorded = {**recorded, "images": run["images"]}
            output.set_attributes(run=recorded)
        same_images = {**run, "images": recorded.get("images")}
        differences = run_differences(recorded, same_images, output.attributes, attributes or {})
        if output.attributes.get(GROWING):
            raise ResourceError(
                f"{path} is being appended to. Run the command with --append again, which finishes that."
            )
        if recorded.get("images") != run["images"]:
            before = output.attributes.get("changed", {})
            changes = Changes.of(path, output.ledger, before, names, digests, skipped_may_change)
            if changes.accepted and not differences:
                _log.warning("%s: %s. None of them had been encoded, so it goes on.", path, changes)
                output.set_attributes(run={**recorded, "images": run["images"]}, changed=changes.accepted)
            else:
                differences.insert(0, str(changes))
        if differences:
            raise ResourceError(
                f"{path} exists and belongs to another run: {'; '.join(differences)}. Choose another output, or "
                "remove it first."
            )
        if output.attributes.get("versions") != dict(versions):
            _log.warning("%s was begun with other versions: %s.", path, output.attributes.get("versions"))
        return output

    @property
    def stores_responses(self) -> bool:
        """Whether responses are stored, and not only reduced."""
        return self._responses is not None

    @property
    def dtype(self) -> np.dtype | None:
        """The type of the stored responses; None if they are only reduced."""
        return None if self._responses is None else self._responses.dtype.numpy_dtype

    @property
    def complete(self) -> bool:
        """Whether all images are done and the output is finished."""
        return is_complete(self.path)

    def write(self, start: int, responses: Float[np.ndarray, "images vertices"]) -> None:
        """Write the responses to images ``start``, ``start`` + 1, … durably.

        Raises
        ------
        InvalidParameterError
            A response is too large for the store's type.
        ResourceError
            The responses cannot be written.
        """
        stored = _narrowed(responses, start, self._responses.dtype.numpy_dtype)
        with explained("write", self.path):
            self._responses[start : start + len(responses)].write(stored).result()

    def write_rows(self, images: Sequence[int], responses: Float[np.ndarray, "images vertices"]) -> None:
        """Write the responses to these images of one block durably; all other rows stay as they are.

        Raises
        ------
        InvalidParameterError, ResourceError
            As :meth:`write` does.
        """
        stored = _narrowed(responses, images[0], self._responses.dtype.numpy_dtype)
        with explained("write", self.path):
            self._responses[np.asarray(images)].write(stored).result()

    def finish(self) -> None:
        """Mark the output as complete, in a single write.

        Raises
        ------
        ResourceError
            The output's description cannot be read or written, such as while another process writes it into a store
            whose writes are not atomic.
        """
        self.set_attributes(complete=True)

    def set_attributes(self, **values: Any) -> None:
        """Set attributes of the output, in a single write.

        Raises
        ------
        ResourceError
            As :meth:`finish` does.
        """
        path = self.path / ROOT
        try:
            root = json.loads(read(path))
            root["attributes"] |= values
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ResourceError(
                f"{path} cannot be read now ({type(error).__name__}: {str(error)[:200]}): another process may be "
                "writing it. What is encoded is safe; run the same command again, or, if all images are done, "
                "berg-jax merge, which marks the output as complete."
            ) from error
        write(path, json.dumps(root, indent=2 if isinstance(path, Path) else None).encode())
        self.attributes |= values

    def names(self, images: Sequence[int]) -> list[str]:
        """Return the names of these images."""
        if not images:
            return []
        with explained("read", self.path):
            every = zarr.open_group(zarr_store(self.path), mode="r", use_consolidated=False)["image"][:]
        return [str(every[image]) for image in images]

    def array(self, name: str) -> Any:
        """Open one of the output's arrays, to read and write it with tensorstore.

        Raises
        ------
        IntegrityError, ResourceError
            The array cannot be opened.
        """
        spec: dict[str, Any] = {"driver": "zarr3", "recheck_cached_data": "open"}
        if not isinstance(self.path, Path):
            # A block of NaN must not be deleted instead of written, because object stores do not order deletes and
            # writes.
            spec["store_data_equal_to_fill_value"] = True
            with explained("open", self.path):
                return tensorstore.open(spec, kvstore=self.path.store() / f"{name}/").result()
        # Resolved, because tensorstore does not accept "..".
        spec["kvstore"] = {"driver": "file", "path": str((self.path / name).resolve())}
        with files.explained("open", self.path):
            try:
                return tensorstore.open(spec).result()
            except ValueError as error:
                raise IntegrityError(f"{self.path} cannot be opened: {error}. Choose another output.") from error


def _narrowed(
    responses: Float[np.ndarray, "images vertices"], start: int, dtype: np.dtype
) -> Float[np.ndarray, "images vertices"]:
    """Return the responses in the store's type, or raise an error if a finite one would become infinite."""
    with np.errstate(over="ignore"):
        stored = responses.astype(dtype, copy=False)
    over = np.isinf(stored) & np.isfinite(responses)
    if over.any():
        image, column = np.argwhere(over)[0]
        raise InvalidParameterError(
            f"The response {responses[image, column]:g} to image {start + image}, column {column}, is more than "
            f"{dtype} holds ({np.finfo(dtype).max:g}). Store it as float32, in another output."
        )
    return stored
