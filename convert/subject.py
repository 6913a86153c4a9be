"""Conversion of a subject's PyTorch files to a folder that berg_jax loads."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ..errors import InvalidParameterError, ModelLoadError, ResourceError
from ..files.disk import locked, require_space, sha256_many
from ..files.torch_archive import read_pickled_npy, read_torch, torch_record
from ..model.checkpoint import Description, is_converted, read_description, verify, write_converted
from ..model.encoding_model import Part
from ..model.nn.config import PartConfig, ViTConfig
from ..published.berg_dir import PUBLISHED, SubjectFiles, check_subject_id
from .constants import resize_position_embedding, vertex_tables
from .keys import Sizes, check_part, convert_part
from .options import Options, read_options

_log = logging.getLogger(__name__)

SYNTHETIC_RECORD = "berg_jax_synthetic"  # record in the archive of weights that a generator made


def convert_subject(
    berg_dir: str | Path,
    subject_id: int,
    *,
    num_heads: int | None = None,
    lora_scale: float | None = None,
    retina_sigma: float | None = None,
    config: str | Path | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Convert one subject's two PyTorch checkpoints to a folder that berg_jax loads.

    Parameters
    ----------
    berg_dir
        The folder that contains ``encoding_models/…``, in BERG's layout.
    subject_id
        ID of the subject.
    num_heads
        Number of attention heads. The default is embed_dim / 64, as in every published DINOv2.
    lora_scale, retina_sigma
        Factor of the low-rank adapters, and distance that receptive-field centers keep from the image's border as a
        fraction of half its width. The defaults are 0.2 and 0.01, as in every published configuration of the model
        family.
    config
        The model's ``config.yaml``, from which these two numbers are taken. Its layers are compared with the
        weights'.
    output
        The folder to write. The default is ``…/model-huze/berg_jax/subjNN`` in ``berg_dir``.
    overwrite
        Whether an existing converted subject is replaced.

    Returns
    -------
    The folder of the converted subject. If it exists already, is intact, and has the same sources and options,
    nothing is done.

    Raises
    ------
    ModelNotFoundError
        A folder or file is missing.
    ModelLoadError
        A file is damaged or does not fit the model. The message lists every tensor that does not fit.
    InvalidParameterError
        An option is invalid, or contradicts the configuration file or the weights.
    ResourceError
        The output exists and differs, or cannot be written, or the disk is too full.

    See Also
    --------
    berg_jax.load : Load a subject, and convert it if necessary.
    berg_jax.convert.synthetic.make_synthetic_subject : Make PyTorch files without the published ones.
    """
    files = SubjectFiles(Path(berg_dir), check_subject_id(subject_id))
    files.require()
    options = read_options(config, num_heads, lora_scale, retina_sigma)
    destination = Path(output).expanduser() if output is not None else files.converted
    if destination.is_symlink() or (destination.exists() and destination.samefile(Path.cwd())):
        raise ResourceError(f"{destination} is a link or the current folder. Choose another output folder.")
    if destination.exists() and not is_converted(destination) and not _is_empty_folder(destination):
        raise ResourceError(f"{destination} exists and is not a converted subject. Choose another output folder.")

    if is_converted(destination) and not overwrite:
        _require_same(destination, _Conversion(files, options).describe())
        return destination
    lock = destination.parent / f".{destination.name}.lock"
    with locked(lock, f"Another process is making {destination}: waiting for it."):
        conversion = _Conversion(files, options)
        description = conversion.describe()
        if is_converted(destination) and not overwrite:
            _require_same(destination, description)
            return destination
        needed = sum(source["size"] for source in description.sources.values())
        _log.info("Converting subject %d, %.0f MB, to %s …", subject_id, needed / 1e6, destination)
        require_space(destination, needed, f"Converting subject {subject_id}")
        metadata = files.metadata if files.metadata.is_file() else None
        write_converted(destination, description, conversion.parts(), metadata, replace=overwrite)
    return destination


class _Conversion:
    """The sources of one subject, read and checked. Parts are converted one at a time to limit the memory."""

    def __init__(self, files: SubjectFiles, options: Options):
        self.files, self.options = files, options
        self.paths = {"part1": files.part1, "part2": files.part2, "part1_voxel_indices": files.indices}
        self.states = {name: read_torch(self.paths[name]) for name in ("part1", "part2")}
        self.sizes = {
            name: check_part(state, files.name, str(self.paths[name])) for name, state in self.states.items()
        }
        self.configs = {name: self._part_config(name, sizes) for name, sizes in self.sizes.items()}
        rows = {name: sizes.values["N"] for name, sizes in self.sizes.items()}
        indices = _part1_indices(files, rows["part1"])
        metadata_total = _total_vertices(files)
        self.layout_guessed = metadata_total is None
        self.layout, total = _layout(files, rows, indices, metadata_total)
        if total % 2:
            raise ModelLoadError(f"{files.part2}: {total} vertices in all, expected two hemispheres of one size.")
        _check_indices(files, indices, total)
        self.hemisphere_size = total // 2
        part2 = np.arange(total, dtype=np.int32)
        if self.layout == "complement":
            part2 = np.setdiff1d(part2, indices)
        self.vertices = {"part1": indices.astype(np.int32), "part2": part2.astype(np.int32)}

    def _part_config(self, name: str, sizes: Sizes) -> PartConfig:
        values = sizes.values
        if self.options.layers is not None and self.options.layers != sizes.layers:
            raise InvalidParameterError(
                f"The configuration file has layers {list(self.options.layers)}, {self.paths[name]} has "
                f"{list(sizes.layers)}. Is it this model's configuration?"
            )
        heads = self.options.num_heads
        if heads is None:
            if values["E"] % 64:
                raise InvalidParameterError(
                    f"{self.paths[name]} has embed_dim {values['E']}, which is no multiple of 64, so the number of "
                    "attention heads cannot be told. Give num_heads (--num-heads)."
                )
            heads = values["E"] // 64
        try:
            vit = ViTConfig(values["E"], sizes.depth, heads, values["M"], values["R"], self.options.lora_scale)
            return PartConfig(vit, sizes.layers, values["D"])
        except ValueError as error:
            raise InvalidParameterError(f"{self.paths[name]}: {error}. Check num_heads (--num-heads).") from error

    def describe(self) -> Description:
        paths = {**self.paths, **({} if self.layout_guessed else {"metadata": self.files.metadata})}
        hashes = dict(zip(paths, sha256_many(paths.values()), strict=True))
        sources = {
            name: {
                "name": path.name,
                "size": path.stat().st_size,
                "sha256": hashes[name],
                "mtime_ns": path.stat().st_mtime_ns,
            }
            for name, path in paths.items()
        }
        options = {"lora_scale": self.options.lora_scale, "retina_sigma": self.options.retina_sigma}
        return Description(
            subject=self.files.subject_id,
            hemisphere_size=self.hemisphere_size,
            parts=self.configs,
            rows={name: len(vertices) for name, vertices in self.vertices.items()},
            layout=self.layout,
            layout_guessed=self.layout_guessed,
            options=options,
            sources=sources,
            origin=self._origin(hashes),
            versions={name: importlib.metadata.version(name) for name in ("berg_jax", "jax", "orbax-checkpoint")},
        )

    def _origin(self, hashes: dict[str, str]) -> str:
        if any(torch_record(self.paths[name], SYNTHETIC_RECORD) is not None for name in self.states):
            return "synthetic"
        published = all(PUBLISHED.get(path.name) == hashes[name] for name, path in self.paths.items())
        return "published" if published else "unrecognized"

    def parts(self) -> Iterator[tuple[str, Part]]:
        for name, config in self.configs.items():
            source = str(self.paths[name])
            _log.info("Converting %s …", source)
            # Popped, so that the file's pages are released before the part is written.
            tree = convert_part(self.states.pop(name), self.sizes[name], self.files.name, source)
            layer_weights, rf_center = vertex_tables(
                tree.pop("coordinates"),
                tree.pop("layer_selector"),
                tree.pop("retina_mapper"),
                self.options.retina_sigma,
                source,
            )
            tree["vit"]["pos_embed"] = positions = resize_position_embedding(tree.pop("pos_embed"))
            if not np.isfinite(positions).all():
                raise ModelLoadError(
                    f"{source}: the position embedding, resized to 16 × 16, is too large for float32. The file is "
                    "damaged; get it again."
                )
            tree["readout"] |= {"layer_weights": layer_weights, "rf_center": rf_center}
            yield name, Part(config, tree, self.vertices[name])


def _part1_indices(files: SubjectFiles, rows: int) -> Int[np.ndarray, " rows"]:
    indices_by_name = read_torch(files.indices)
    if not isinstance(indices_by_name, dict) or files.name not in indices_by_name:
        is_dict = isinstance(indices_by_name, dict)
        found = sorted(map(str, indices_by_name)) if is_dict else type(indices_by_name).__name__
        raise ModelLoadError(f"{files.indices} has no entry {files.name}; it holds {found}.")
    try:
        indices = np.asarray(indices_by_name[files.name])
    except ValueError as error:  # a ragged list
        raise ModelLoadError(f"{files.indices}: {files.name} is no list of integers: {error}.") from error
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ModelLoadError(
            f"{files.indices}: {files.name} is {indices.dtype} of shape {indices.shape}, expected a list of integers."
        )
    if len(indices) != rows:
        raise ModelLoadError(
            f"{files.indices} has {len(indices)} vertices for {files.name}, but {files.part1} has {rows} rows. "
            "The files belong to different versions of the model: get them again."
        )
    return indices


def _check_indices(files: SubjectFiles, indices: Int[np.ndarray, " rows"], total: int) -> None:
    values, counts = np.unique(indices, return_counts=True)
    problem = None
    if (counts > 1).any():
        problem = f"{int((counts > 1).sum())} vertices stand twice, such as {values[counts > 1][0]}"
    elif values[0] < 0 or values[-1] >= total:
        wrong = values[(values < 0) | (values >= total)]
        problem = f"{len(wrong)} vertices are outside 0 to {total - 1}, such as {wrong[0]}"
    if problem:
        raise ModelLoadError(f"{files.indices}, {files.name}: {problem}. Get the file again.")


def _total_vertices(files: SubjectFiles) -> int | None:
    """Return the number of vertices that the metadata imply, or None without metadata."""
    if not files.metadata.is_file():
        return None
    metadata = read_pickled_npy(files.metadata)
    lengths = []
    for key in ("lh_ncsnr", "rh_ncsnr"):
        try:
            lengths.append(len(metadata["fmri"][key]))
        except (KeyError, TypeError, IndexError) as error:
            raise ModelLoadError(f"{files.metadata} lacks fmri/{key}. Is it the subject's metadata?") from error
    if lengths[0] != lengths[1]:
        raise ModelLoadError(
            f"{files.metadata}: {lengths[0]} left and {lengths[1]} right vertices, expected as many on both sides."
        )
    return sum(lengths)


def _layout(
    files: SubjectFiles, rows: dict[str, int], indices: Int[np.ndarray, " rows"], total: int | None
) -> tuple[str, int]:
    """Return the layout, overlay or complement, and the total number of vertices."""
    part1, part2 = rows["part1"], rows["part2"]
    if min(part1, part2) < 1:
        raise ModelLoadError(f"Subject {files.subject_id} has a part without vertices: {part1} and {part2} rows.")
    if total is None:
        return ("overlay", part2) if (indices < part2).all() else ("complement", part1 + part2)
    if part2 == total:
        return "overlay", total
    if part1 + part2 == total:
        return "complement", total
    raise ModelLoadError(
        f"The parts of subject {files.subject_id} fit no layout: the metadata have {total} vertices, part 1 has "
        f"{part1} rows and part 2 has {part2}. Expected part 2 to have all vertices, or both parts together. "
        "The files belong to different versions of the model: get them again."
    )


def _require_same(destination: Path, description: Description) -> None:
    existing = read_description(destination)
    different_sources = [
        name
        for name, source in description.sources.items()
        if existing.sources.get(name, {}).get("sha256") != source["sha256"]
    ]
    if existing.subject != description.subject:
        difference = f"is subject {existing.subject}"
    elif different_sources:
        difference = f"was made from another {', '.join(different_sources)}"
    elif (existing.options, existing.parts) != (description.options, description.parts):
        difference = f"was made with {_settings(existing)}, not {_settings(description)}"
    else:
        verify(destination)
        return
    raise ResourceError(f"{destination} {difference}. Pass --overwrite to replace it, or choose another output.")


def _settings(description: Description) -> str:
    heads = {name: part.vit.num_heads for name, part in description.parts.items()}
    return f"{description.options} and {heads} heads"


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
