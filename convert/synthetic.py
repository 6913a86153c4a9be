"""Synthetic subjects in the real file formats, to try everything without the published weights.

The networks are random but have the real structure: they respond to images, and differ between vertices, but are
unrelated to brains. Nothing computed from them is a finding.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from ..errors import InvalidParameterError, ResourceError
from ..files.disk import explained, require_space
from ..files.torch_archive import read_torch
from ..model.encoding_model import Part, build
from ..model.nn.config import IMAGE, PartConfig, ViTConfig
from ..published.berg_dir import SubjectFiles, check_subject_id
from ..published.metadata import noise_ceiling
from ..vertices import Vertices
from .constants import frequencies, resize_position_embedding, vertex_tables
from .keys import Sizes, convert_part, tensors
from .options import LORA_SCALE, RETINA_SIGMA
from .subject import SYNTHETIC_RECORD
from .torch_file import write_object, write_state_dict

VERSION = 2  # version of the generator, which changes whenever a seed makes something else
RESPONSE_STD = 0.5  # standard deviation of every vertex's response over natural images, in z units
CENTER_STD = 0.35  # standard deviation of a part's receptive-field centers, in halves of the image's width
CALIBRATION_IMAGES = 12
_BATCH = 4
_SMOOTHNESS = 0.05  # highest frequency with full weight in the encoding of coordinates, in radians per step
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SyntheticSize:
    """Sizes of a synthetic subject.

    Attributes
    ----------
    embed_dim, depth, num_heads
        Width, blocks and attention heads of the vision transformers. ``num_heads`` None means embed_dim / 64.
    layers
        0-based blocks whose outputs the heads read, ascending.
    width
        Number of features that a vertex weighs.
    hemisphere_size
        Number of vertices of one hemisphere.
    part1_rows
        Number of vertices of part 1.
    lora_rank
        Rank of the low-rank adapters.
    condition, hidden
        Widths of the adaptive norm's condition and of the coordinate networks.
    position_side
        Side of the square grid of position embeddings.
    layout
        ``"overlay"`` or ``"complement"``.
    """

    embed_dim: int
    depth: int
    layers: tuple[int, ...]
    width: int
    hemisphere_size: int
    part1_rows: int
    lora_rank: int = 4
    condition: int = 256
    hidden: int = 128
    position_side: int = 37
    layout: str = "overlay"
    num_heads: int | None = None

    @property
    def heads(self) -> int:
        """Number of attention heads, by default embed_dim / 64."""
        return self.num_heads or self.embed_dim // 64


SIZES = {
    "published": SyntheticSize(768, 12, (2, 5, 8, 11), 192, 163_842, 52_948),
    "tiny": SyntheticSize(64, 4, (1, 2, 3), 16, 642, 400, condition=16, hidden=32),
}

# Names of the ROIs in the published metadata.
ROIS = (
    *(
        "V1v",
        "V1d",
        "V2v",
        "V2d",
        "V3v",
        "V3d",
        "hV4",
        "EBA",
        "FBA-1",
        "FBA-2",
        "mTL-bodies",
        "OFA",
        "FFA-1",
        "FFA-2",
    ),
    *("mTL-faces", "aTL-faces", "OPA", "PPA", "RSC", "OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
)
STREAMS = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")


def make_synthetic_subject(
    output: str | Path, *, size: str | SyntheticSize = "tiny", seed: int = 0, subject_id: int = 1
) -> Path:
    """Write a synthetic subject as a BERG directory: ``.pth``, ``.pt`` and metadata, without PyTorch.

    Readouts are scaled so that each vertex's response has a mean of about 0 and a standard deviation of about 0.5
    over natural-looking images.

    Parameters
    ----------
    output
        The berg_dir to write into. Other subjects in it are kept.
    size
        ``"published"`` (ViT-B/14, 327,684 vertices, 2.2 GB), ``"tiny"``, or sizes of your own.
    seed
        Seed of the random numbers. The same seed makes the same subject on the same machine.
    subject_id
        ID of the subject.

    Returns
    -------
    The berg_dir.

    Raises
    ------
    InvalidParameterError
        The size is unknown, or sizes do not fit each other.
    ResourceError
        The subject exists already, or the disk is too full or cannot be written.

    See Also
    --------
    berg_jax.convert.subject.convert_subject : Convert a subject's PyTorch files.
    berg_jax.demo.images : Drawings for the demo subjects, whose preferences are planted.

    Examples
    --------
    ::

        berg_dir = make_synthetic_subject("berg_dir", size="tiny")
        model = berg_jax.load(berg_dir, 1)
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise InvalidParameterError(f"size must be one of {sorted(SIZES)}, got {size!r}.")
        size = SIZES[size]
    files = SubjectFiles(Path(output), check_subject_id(subject_id))
    if files.is_demo:
        raise InvalidParameterError(f"{str(output)!r} stands for the demo subjects. Choose another output folder.")
    for path in (files.part1, files.part2, files.metadata):
        if path.exists():
            raise ResourceError(f"{path} exists. Choose another output folder or another subject.")
    random = np.random.default_rng((VERSION, seed, subject_id))
    coordinates = _surface(size.hemisphere_size)
    part1, part2 = _parts_of_surface(size, coordinates, random)
    needed = sum(4 * len(v) * size.width + _network_bytes(size) for v in (part1, part2))
    require_space(files.berg_dir, needed, "A synthetic subject")
    with explained("write", files.berg_dir):
        for path in (files.part1, files.metadata):
            path.parent.mkdir(parents=True, exist_ok=True)
    images = natural_like_images(CALIBRATION_IMAGES, seed)
    note = f"berg_jax synthetic subject, generator {VERSION}, seed {seed}\n".encode()
    for path, vertices in ((files.part1, part1), (files.part2, part2)):
        _log.info("Making %s …", path)
        state = _state_dict(size, files.name, coordinates[vertices], vertices, images, random)
        with explained("write", path):
            write_state_dict(path, state, {SYNTHETIC_RECORD: note})
    indices = _other_indices(files) | {files.name: part1}
    with explained("write", files.berg_dir):
        write_object(files.indices, dict(sorted(indices.items())))
        np.save(files.metadata, _metadata(size, coordinates, random), allow_pickle=True)
        (files.berg_dir / "SYNTHETIC.txt").write_text(
            "The subjects in this folder were made up by berg_jax synthesize-subject. They predict nothing.\n"
        )
    return files.berg_dir


def natural_like_images(n: int, seed: int, size: int = IMAGE) -> UInt8[np.ndarray, "n 3 size size"]:
    """Draw images with natural statistics: textured discs that occlude each other, with 1/f spectra.

    They follow the dead leaves model [1]_.

    Parameters
    ----------
    n
        Number of images.
    seed
        Seed of the random numbers.
    size
        Width and height in pixels.

    Returns
    -------
    (n, 3, size, size), RGB in 0–255.

    See Also
    --------
    berg_jax.demo.images : Drawings of faces, bodies, places, words and objects.

    References
    ----------
    .. [1] A. B. Lee, D. Mumford & J. Huang (2001). Occlusion models for natural images: a statistical study of a
       scale-invariant dead leaves model. International Journal of Computer Vision 41, 35–59,
       doi:10.1023/A:1011109015675.

    Examples
    --------
    >>> natural_like_images(2, seed=0, size=64).shape
    (2, 3, 64, 64)
    """
    random = np.random.default_rng((VERSION, seed, 77))
    y, x = np.mgrid[:size, :size] / size
    images = np.empty((n, 3, size, size), np.uint8)
    for image in images:
        light, texture = random.normal(112, 35), _texture(size, random)
        canvas = light + 40 * texture + random.normal(0, 20, (3, 1, 1))
        for radius in np.sort(0.03 * random.pareto(1.3, 50).clip(0, 15) + 0.02)[::-1]:
            center_x, center_y = random.uniform(-0.1, 1.1, 2)
            disc = (x - center_x) ** 2 + (y - center_y) ** 2 < radius**2
            # Luminance varies more than color, as in photographs.
            color = random.normal(light, 65) + random.normal(0, 28, (3, 1))
            canvas[:, disc] = color + 15 * np.roll(texture, random.integers(size, size=2), (1, 2))[0][disc]
        image[:] = canvas.clip(0, 255)
    return images


def _texture(size: int, random: np.random.Generator) -> Float[np.ndarray, "1 size size"]:
    """Draw noise of unit variance with a 1/f amplitude spectrum."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.standard_normal((size, size))) / frequency
    noise = np.fft.irfft2(spectrum, (size, size))
    return (noise / noise.std())[None]


def _surface(hemisphere_size: int) -> Float[np.ndarray, "vertices 3"]:
    """Return points spread evenly over a left and a right sphere, in mm: x right, y front, z up."""
    index = np.arange(hemisphere_size) + 0.5
    z = 1 - 2 * index / hemisphere_size
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z**2)
    sphere = 70 * np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
    left, right = sphere - [40, 0, 0], sphere * [-1, 1, 1] + [40, 0, 0]
    return np.concatenate([left, right]).astype(np.float32)


def _parts_of_surface(
    size: SyntheticSize, coordinates: np.ndarray, random: np.random.Generator
) -> tuple[Int[np.ndarray, " part1"], Int[np.ndarray, " part2"]]:
    """Return the vertices of part 1, the rearmost in random order, and those of part 2: all, or the rest."""
    total = len(coordinates)
    if not 0 < size.part1_rows < total or size.layout not in ("overlay", "complement"):
        raise InvalidParameterError(f"part1_rows and layout do not fit {total} vertices: {size}.")
    part1 = random.permutation(np.argsort(coordinates[:, 1], kind="stable")[: size.part1_rows])
    all_vertices = np.arange(total)
    return part1, all_vertices if size.layout == "overlay" else np.setdiff1d(all_vertices, part1)


def _sizes(size: SyntheticSize, rows: int) -> Sizes:
    e = size.embed_dim
    letters = {"E": e, "P": 1 + size.position_side**2, "R": size.lora_rank, "M": 4 * e, "A": size.condition}
    letters |= {"D": size.width, "S": size.hidden, "T": size.hidden, "N": rows}
    return Sizes(size.depth, size.layers, letters)


def _network_bytes(size: SyntheticSize) -> int:
    shapes = (shape for _, shape in tensors(_sizes(size, 0), "subj01").values())
    return 4 * sum(int(np.prod(shape)) for shape in shapes)


def _state_dict(
    size: SyntheticSize,
    subject_name: str,
    coordinates: Float[np.ndarray, "rows 3"],
    vertices: Int[np.ndarray, " rows"],
    images: UInt8[np.ndarray, "n 3 224 224"],
    random: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return a part's random tensors, with spread receptive-field centers and scaled readouts."""
    sizes = _sizes(size, len(vertices))
    table = tensors(sizes, subject_name)
    state = {name: _initial(name, shape, random).astype(np.float32) for name, (_, shape) in table.items()}
    state[f"coord_dict.{subject_name}"] = coordinates
    state[f"model.voxel_outs_weight.{subject_name}.bias"][:] = 0
    tree = convert_part(state, sizes, subject_name, "synthetic")
    vit = ViTConfig(size.embed_dim, size.depth, size.heads, 4 * size.embed_dim, size.lora_rank, LORA_SCALE)
    config = PartConfig(vit, size.layers, size.width)
    tree["vit"]["pos_embed"] = resize_position_embedding(tree.pop("pos_embed"))
    layer_weights, rf_center = vertex_tables(
        tree.pop("coordinates"), tree.pop("layer_selector"), tree.pop("retina_mapper"), RETINA_SIGMA, "synthetic"
    )
    rf_center = _centered(state, f"model.retina_mapper.{subject_name}.mlp.5", rf_center)
    tree["readout"] |= {"layer_weights": layer_weights, "rf_center": rf_center}
    mean, std = _response_statistics(Part(config, tree, vertices), size.hemisphere_size, images)
    scale = RESPONSE_STD / std
    state[f"model.voxel_outs_weight.{subject_name}.weight"] *= scale[:, None]
    state[f"model.voxel_outs_weight.{subject_name}.bias"] = -mean * scale
    return state


def _centered(
    state: dict[str, np.ndarray], last_layer: str, rf_center: Float[np.ndarray, "rows 2"]
) -> Float[np.ndarray, "rows 2"]:
    """Change the last layer so that the centers spread around the image's middle, and return these centers."""
    argument = np.arctanh(rf_center.astype(np.float64) / (1 - RETINA_SIGMA))
    mean, scale = argument.mean(axis=0), CENTER_STD / argument.std(axis=0)
    weight, bias = state[f"{last_layer}.weight"], state[f"{last_layer}.bias"]
    weight[:], bias[:] = weight * scale[:, None], (bias - mean) * scale
    return (np.tanh((argument - mean) * scale) * (1 - RETINA_SIGMA)).astype(np.float32)


def _response_statistics(
    part: Part, hemisphere_size: int, images: UInt8[np.ndarray, "n 3 224 224"]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return the mean and standard deviation over images of each row's response."""
    order = np.argsort(part.vertices)
    chosen = Vertices.from_global(part.vertices[order], hemisphere_size)
    model = build({"part": part}, hemisphere_size, chosen, winograd=False)
    batches = [np.asarray(model(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
    responses = np.concatenate(batches)
    mean, std = np.empty(responses.shape[1], np.float32), np.empty(responses.shape[1], np.float32)
    mean[order], std[order] = responses.mean(0), responses.std(0, ddof=1)
    return mean, std


def _initial(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Draw initial values that keep signals of order one from pixels to features."""
    normal = random.standard_normal(shape, dtype=np.float32)
    if name.endswith("gamma"):
        return 0.3 + 0.05 * normal
    if name.endswith(("cls_token", "pos_embed", "bias")):
        return 0.3 * normal
    if len(shape) == 1:  # norms
        return 1 + 0.1 * normal
    if name.endswith(".mlp.1.weight"):  # coordinate networks: neighbors on the surface should be alike
        normal *= np.tile(np.repeat(np.minimum(1, _SMOOTHNESS / frequencies()), 2), 3)
        return 2 * normal / np.linalg.norm(normal, axis=1, keepdims=True)
    if ".layer_selector." in name or ".retina_mapper." in name:  # and vertices far apart should differ
        return 1.5 * normal / np.sqrt(shape[-1])
    return normal / np.sqrt(np.prod(shape[1:]))


def _other_indices(files: SubjectFiles) -> dict[str, Any]:
    """Return the part-1 indices of the subjects that the folder already has."""
    return dict(read_torch(files.indices)) if files.indices.is_file() else {}


def _metadata(size: SyntheticSize, coordinates: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    """Return metadata as BERG's: ROIs are random patches in the rear, accuracies are random numbers."""
    n = size.hemisphere_size
    fmri: dict[str, Any] = {}
    accuracy: dict[str, Any] = {
        "train_img_num": np.sort(random.choice(73_000, 9_000, replace=False)),
        "val_img_num": np.sort(random.choice(73_000, 485, replace=False)),
        "test_img_num": np.sort(random.choice(73_000, 515, replace=False)),
    }
    for hemisphere, offset in (("lh", 0), ("rh", n)):
        positions = coordinates[offset : offset + n]
        rear = np.argsort(positions[:, 1], kind="stable")[: max(n // 5, 1)]
        rois = {name: _patch(positions, random.choice(rear), max(n // 200, 2)) for name in ROIS}
        rois |= {name: _patch(positions, random.choice(rear), max(n // 50, 4)) for name in STREAMS}
        rois["nsdgeneral"] = np.unique(np.concatenate(list(rois.values())))
        fmri[f"{hemisphere}_fsaverage_rois"] = rois
        for suffix in ("nsdcore", "nsdsynthetic"):
            ncsnr = random.gamma(2, 0.25, n).astype(np.float32)
            ceiling = noise_ceiling(ncsnr)
            explained = random.uniform(0, 1, n).astype(np.float32)
            fmri[f"{hemisphere}_ncsnr" + ("" if suffix == "nsdcore" else f"_{suffix}")] = ncsnr
            accuracy[f"{hemisphere}_noise_ceiling_{suffix}"] = ceiling
            accuracy[f"{hemisphere}_r2_{suffix}"] = ceiling * explained
            accuracy[f"{hemisphere}_correlation_{suffix}"] = np.sqrt(ceiling * explained)
            accuracy[f"{hemisphere}_explained_variance_{suffix}"] = 100 * explained
    return {"fmri": fmri, "encoding_models": accuracy, "synthetic": f"berg_jax generator {VERSION}"}


def _patch(positions: np.ndarray, center: int, count: int) -> np.ndarray:
    distance = ((positions - positions[center]) ** 2).sum(axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:count])
