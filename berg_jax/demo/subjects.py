"""Builder of the demo subjects: a random network whose readouts are fitted to planted responses.

The backbone of Gabor-like patch filters and random blocks is the same for all subjects; low-rank adapters and noise
on the readouts differ. Receptive-field centers are planted. Readouts are ridge regressions of planted responses to
drawings: an early vertex responds to the contrast in its receptive field, a vertex in a category's area to that
category. The planted values are in the metadata, under ``"planted"``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ..errors import ModelNotFoundError
from ..files.disk import explained, locked
from ..machine import tell
from ..model.checkpoint import Description, is_converted, write_converted
from ..model.encoding_model import Part, features_of, pixels_of
from ..model.images import FIELD
from ..model.nn.config import IMAGE
from ..model.nn.readout import map_position
from ..published.berg_dir import DEMO_SUBJECTS, DEMO_VERSION, SubjectFiles
from ..published.metadata import noise_ceiling
from ..vertices import HEMISPHERES
from .geography import EARLY, HEMISPHERE_SIZE, PREFERENCES, Geography, geography
from .network import CONFIG, random_network
from .stimuli import CATEGORIES, images

_EARLY_LAYERS, _LATE_LAYERS = (0.96, 0.02, 0.02), (0.1, 0.6, 0.3)  # weights of the layers in early and late areas
_NOISE = 0.1  # noise in a readout's weights, relative to their norm
_DEGREE = 1.3  # degree of a preference: mean response to the category minus that to the others, in z units
_BATCH = 20
_RIDGE = 1e-3  # ridge penalty, relative to the mean variance of a feature
_CONTRAST_SIGMA = 0.45  # standard deviation of an early vertex's receptive field in degrees
_log = logging.getLogger(__name__)


def build_demo_subject(files: SubjectFiles) -> Path:
    """Build one of the demo subjects in the cache folder, which takes about 20 seconds.

    Returns
    -------
    The folder, which has the format of a converted subject.

    Raises
    ------
    ModelNotFoundError
        There is no demo subject with this ID.
    ResourceError
        nilearn is not installed, or the cache folder cannot be written.
    """
    if files.subject_id not in DEMO_SUBJECTS:
        raise ModelNotFoundError(f"There is no demo subject {files.subject_id}. There are {list(DEMO_SUBJECTS)}.")
    lock = files.converted.parent / f".{files.name}.lock"
    with locked(lock, f"Another process is building demo subject {files.subject_id}: waiting for it."):
        if not is_converted(files.converted):
            message = "Building the synthetic demo subject %d once (about 20 s): %s"
            tell(_log, message, files.subject_id, files.converted)
            _build(files)
    return files.converted


def _build(files: SubjectFiles) -> None:
    sides = {hemisphere: geography(hemisphere) for hemisphere in HEMISPHERES}
    random = np.random.default_rng((DEMO_VERSION, files.subject_id))
    part1 = _global(sides, "nsdgeneral")
    part2 = np.arange(2 * HEMISPHERE_SIZE)
    degrees = {name: float(_DEGREE * random.lognormal(0, 0.12)) for name in PREFERENCES}
    stimuli, kinds = _fitting_images()
    networks = random_network(random), random_network(random)
    rf_center = _rf_centers(sides, random)
    planted = _planted(sides, degrees, stimuli, kinds, rf_center, random)
    weights1, explained_variance = _fitted(networks[0], stimuli, kinds, part1, planted, rf_center, random)
    weights2 = _unfitted(networks[1], part2, rf_center, random)
    metadata = _metadata(sides, part1, explained_variance, degrees, kinds, random)
    _write(files, [("part1", Part(CONFIG, weights1, part1)), ("part2", Part(CONFIG, weights2, part2))], metadata)


def _write(files: SubjectFiles, parts: list[tuple[str, Part]], metadata: dict[str, Any]) -> None:
    name = f"berg_jax demo generator {DEMO_VERSION}, subject {files.subject_id}"
    source = {"name": name, "size": 1, "sha256": hashlib.sha256(name.encode()).hexdigest(), "mtime_ns": 0}
    description = Description(
        subject=files.subject_id,
        hemisphere_size=HEMISPHERE_SIZE,
        parts={name: part.config for name, part in parts},
        rows={name: len(part.vertices) for name, part in parts},
        layout="overlay",
        layout_guessed=False,
        options={"lora_scale": CONFIG.vit.lora_scale, "retina_sigma": 0.01},
        sources={"demo": source},
        origin="synthetic",
        versions={name: importlib.metadata.version(name) for name in ("berg_jax", "jax", "orbax-checkpoint")},
    )
    metadata_file = files.converted.parent / f".metadata-{files.name}.npy"
    with explained("write", metadata_file):
        metadata_file.parent.mkdir(parents=True, exist_ok=True)
        np.save(metadata_file, metadata, allow_pickle=True)
    try:
        write_converted(files.converted, description, parts, metadata_file, replace=False)
    finally:
        metadata_file.unlink(missing_ok=True)


def _global(sides: dict[str, Geography], roi: str) -> Int[np.ndarray, " n"]:
    return np.concatenate([sides["lh"].rois[roi], HEMISPHERE_SIZE + sides["rh"].rois[roi]])


def _rf_centers(sides: dict[str, Geography], random: np.random.Generator) -> Float[np.ndarray, "vertices 2"]:
    """Return the center of every vertex, x right and y down in (−1, 1): planted, or near the contralateral fovea."""
    centers = []
    for hemisphere, side in sides.items():
        eccentricity = np.clip(random.gamma(3, 0.35, HEMISPHERE_SIZE), 0, 3.9)
        angle = random.normal(0, 0.7, HEMISPHERE_SIZE)
        toward = 1 if hemisphere == "lh" else -1
        degrees = np.stack([toward * eccentricity * np.cos(angle), eccentricity * np.sin(angle)], axis=1)
        planted = ~np.isnan(side.rf_center[:, 0])
        degrees[planted] = side.rf_center[planted]
        centers.append(degrees * (1, -1) / FIELD)
    return np.concatenate(centers).astype(np.float32)


def _fitting_images() -> tuple[UInt8[np.ndarray, "n 3 224 224"], np.ndarray]:
    """Draw the images to which readouts are fitted, and return the kind of each."""
    counts = {**dict.fromkeys(CATEGORIES, 40), "natural": 60, "probes": 120}
    stimuli = [images(kind, count, DEMO_VERSION) for kind, count in counts.items()]
    return np.concatenate(stimuli), np.repeat(list(counts), list(counts.values()))


def local_contrast(
    stimuli: UInt8[np.ndarray, "n 3 224 224"], rf_center: Float[np.ndarray, "vertices 2"]
) -> Float[np.ndarray, "n vertices"]:
    """Return the standard deviation of luminance (0–1) in a Gaussian window around each center.

    The standard deviation of the window is 0.45°. Luminance is the mean of the channels.
    """
    step = 4  # in pixels; the window is much wider
    luminance = stimuli.mean(axis=1, dtype=np.float32)[:, ::step, ::step] / 255
    n, side, _ = luminance.shape
    pixel = (np.arange(side) * step + 0.5) / (IMAGE / 2) - 1
    sigma = _CONTRAST_SIGMA / FIELD
    weights = [np.exp(-((pixel - center[:, None]) ** 2) / (2 * sigma**2)) for center in rf_center.T]
    columns, rows = (weight / weight.sum(axis=1, keepdims=True) for weight in weights)
    windows = (rows[:, :, None] * columns[:, None]).reshape(len(rf_center), -1).astype(np.float32)
    flat = luminance.reshape(n, -1)
    mean, square = flat @ windows.T, flat**2 @ windows.T
    return np.sqrt(np.maximum(square - mean**2, 0))


@dataclass(frozen=True)
class Planted:
    """Planted responses of the vertices of nsdgeneral to the fitting images, and their causes.

    Attributes
    ----------
    responses
        Responses in z units.
    category
        Preferred category, empty for vertices without a preference.
    degree
        Degree of the preference in z units, 0 for vertices without one.
    early
        Whether a vertex is in an early area.
    """

    responses: Float[np.ndarray, "n v"]
    category: np.ndarray
    degree: Float[np.ndarray, " v"]
    early: Bool[np.ndarray, " v"]


def _planted(
    sides: dict[str, Geography],
    degrees: dict[str, float],
    stimuli: UInt8[np.ndarray, "n 3 224 224"],
    kinds: np.ndarray,
    rf_center: Float[np.ndarray, "vertices 2"],
    random: np.random.Generator,
) -> Planted:
    """Return responses to contrast, mainly in early areas, plus responses to the areas' preferred categories."""
    vertices = _global(sides, "nsdgeneral")
    early = np.isin(vertices, np.concatenate([_global(sides, roi) for roi in EARLY]))
    category, degree = np.full(len(vertices), "", object), np.zeros(len(vertices))
    for roi, preferred in PREFERENCES.items():
        inside = np.isin(vertices, _global(sides, roi))
        category[inside] = preferred
        degree[inside] = degrees[roi] * random.lognormal(0, 0.1, inside.sum())
    contrast = local_contrast(stimuli, rf_center[vertices])
    contrast /= contrast.std(axis=0)
    responses = np.where(early, 0.8, 0.25) * contrast + degree * (kinds[:, None] == category)
    return Planted((responses - responses.mean(axis=0)).astype(np.float32), category, degree, early)


def _fitted(
    network: dict[str, Any],
    stimuli: UInt8[np.ndarray, "n 3 224 224"],
    kinds: np.ndarray,
    vertices: Int[np.ndarray, " v"],
    planted: Planted,
    rf_center: Float[np.ndarray, "vertices 2"],
    random: np.random.Generator,
) -> tuple[dict[str, Any], Float[np.ndarray, " v"]]:
    """Return part 1 with fitted readouts, and the share of planted variance that they explain on held-out images."""
    maps, vectors = _features(network, stimuli)
    layer_weights = _layer_weights(planted.early, random)
    held_out = np.arange(len(stimuli)) % 4 == 3
    weight, bias = np.empty((len(vertices), CONFIG.width), np.float32), np.empty(len(vertices), np.float32)
    score = np.empty(len(vertices), np.float32)
    for start in range(0, len(vertices), 256):
        chunk = slice(start, start + 256)
        h = _read(maps, vectors, layer_weights[chunk], rf_center[vertices[chunk]])  # (vertices, images, features)
        target = planted.responses[:, chunk].T
        w, b = _ridge(h[:, ~held_out], target[:, ~held_out])
        w += _NOISE * random.standard_normal(w.shape) * np.linalg.norm(w, axis=1, keepdims=True) / CONFIG.width**0.5
        scale = _to_degree((h @ w[..., None])[..., 0], kinds, planted.category[chunk], planted.degree[chunk])
        weight[chunk], bias[chunk] = CONFIG.width * scale[:, None] * w, scale * b
        predicted = (h[:, held_out] @ w[..., None])[..., 0]
        score[chunk] = _correlation(predicted, target[:, held_out]).clip(0) ** 2
    tables = {"weight": weight, "bias": bias, "layer_weights": layer_weights, "rf_center": rf_center[vertices]}
    return {**network, "readout": tables}, score


def _to_degree(
    responses: Float[np.ndarray, "v n"], kinds: np.ndarray, category: np.ndarray, degree: Float[np.ndarray, " v"]
) -> Float[np.ndarray, " v"]:
    """Return the factors that give preferences the planted degree, 1 for vertices without a preference."""
    is_drawing = np.isin(kinds, CATEGORIES)
    is_preferred = kinds == category[:, None]
    is_other = is_drawing & ~is_preferred
    mean_preferred = (responses * is_preferred).sum(1) / np.maximum(is_preferred.sum(1), 1)
    mean_other = (responses * is_other).sum(1) / is_other.sum(1)
    return np.where(degree > 0, degree / (mean_preferred - mean_other), 1)


def _correlation(a: Float[np.ndarray, "v n"], b: Float[np.ndarray, "v n"]) -> Float[np.ndarray, " v"]:
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def _unfitted(
    network: dict[str, Any],
    vertices: Int[np.ndarray, " v"],
    rf_center: Float[np.ndarray, "vertices 2"],
    random: np.random.Generator,
) -> dict[str, Any]:
    """Return part 2 with weak random readouts, which are used only for vertices that part 1 lacks."""
    shape = (len(vertices), CONFIG.width)
    tables = {
        "weight": 0.5 * random.standard_normal(shape).astype(np.float32),
        "bias": np.zeros(len(vertices), np.float32),
        "layer_weights": _layer_weights(np.zeros(len(vertices), bool), random),
        "rf_center": rf_center[vertices],
    }
    return {**network, "readout": tables}


def _layer_weights(early: Bool[np.ndarray, " v"], random: np.random.Generator) -> Float[np.ndarray, "v l"]:
    """Draw layer weights: early vertices read mainly the first layer, others the later ones."""
    weights = np.where(early[:, None], _EARLY_LAYERS, _LATE_LAYERS) * random.lognormal(0, 0.1, (len(early), 3))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _features(
    network: dict[str, Any], stimuli: UInt8[np.ndarray, "n 3 224 224"]
) -> tuple[Float[np.ndarray, "l n 16 16 d"], Float[np.ndarray, "l n d"]]:
    maps, vectors = [], []
    for start in range(0, len(stimuli), _BATCH):
        pixels = pixels_of(stimuli[start : start + _BATCH], "float32")
        _, batch_maps, batch_vectors = features_of(network["vit"], network["heads"], CONFIG, "float32", pixels)
        maps.append(np.asarray(batch_maps))
        vectors.append(np.asarray(batch_vectors))
    return np.concatenate(maps, axis=1), np.concatenate(vectors, axis=1)


def _read(
    maps: Float[np.ndarray, "l n 16 16 d"],
    vectors: Float[np.ndarray, "l n d"],
    layer_weights: Float[np.ndarray, "v l"],
    rf_center: Float[np.ndarray, "v 2"],
) -> Float[np.ndarray, "v n d"]:
    """Return the features that vertices weigh: sampled maps plus vectors, with their layers mixed."""
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    position = map_position(rf_center)
    cell = np.floor(position).astype(int)
    dx, dy = (position - cell).T
    mixed = np.einsum("vl,lnd->vnd", layer_weights, vectors)
    for row in (0, 1):
        for column in (0, 1):
            share = (dx if column else 1 - dx) * (dy if row else 1 - dy)
            for layer in range(len(maps)):
                corner = padded[layer][:, cell[:, 1] + row, cell[:, 0] + column]  # (n, v, d)
                mixed += corner.transpose(1, 0, 2) * (share * layer_weights[:, layer])[:, None, None]
    return mixed


def _ridge(
    h: Float[np.ndarray, "v n d"], target: Float[np.ndarray, "v n"]
) -> tuple[Float[np.ndarray, "v d"], Float[np.ndarray, " v"]]:
    """Return the weights and the bias of each vertex's ridge regression."""
    mean, target_mean = h.mean(axis=1, keepdims=True), target.mean(axis=1)
    centered = (h - mean).astype(np.float64)
    gram = centered.transpose(0, 2, 1) @ centered
    scale = np.trace(gram, axis1=1, axis2=2) / h.shape[2]
    gram += _RIDGE * scale[:, None, None] * np.eye(h.shape[2])
    moment = centered.transpose(0, 2, 1) @ (target - target_mean[:, None])[..., None].astype(np.float64)
    w = np.linalg.solve(gram, moment)[..., 0]
    return w, target_mean - (w * mean[:, 0]).sum(-1)


def _metadata(
    sides: dict[str, Geography],
    part1: Int[np.ndarray, " v"],
    explained_variance: Float[np.ndarray, " v"],
    degrees: dict[str, float],
    kinds: np.ndarray,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Return metadata like BERG's, and the planted values. Image numbers count the fitting images."""
    total = 2 * HEMISPHERE_SIZE
    ncsnr = random.gamma(2, 0.03, total).astype(np.float32)
    ncsnr[part1] = random.gamma(12, 0.07, len(part1))
    share = np.zeros(total, np.float32)
    share[part1] = explained_variance
    ceiling = noise_ceiling(ncsnr)
    number = np.arange(len(kinds))
    fmri: dict[str, Any] = {}
    accuracy: dict[str, Any] = {
        "train_img_num": number[number % 4 < 3],
        "val_img_num": np.array([], np.int64),
        "test_img_num": number[number % 4 == 3],
    }
    for hemisphere, rows in (("lh", slice(HEMISPHERE_SIZE)), ("rh", slice(HEMISPHERE_SIZE, None))):
        fmri[f"{hemisphere}_ncsnr"] = ncsnr[rows]
        fmri[f"{hemisphere}_fsaverage_rois"] = sides[hemisphere].rois
        accuracy[f"{hemisphere}_noise_ceiling_nsdcore"] = ceiling[rows]
        accuracy[f"{hemisphere}_r2_nsdcore"] = (ceiling * share)[rows]
        accuracy[f"{hemisphere}_correlation_nsdcore"] = np.sqrt(ceiling * share)[rows]
        accuracy[f"{hemisphere}_explained_variance_nsdcore"] = 100 * share[rows]
    planted = {
        "preferences": dict(PREFERENCES),
        "degrees": degrees,
        **{f"{hemisphere}_rf_center": side.rf_center for hemisphere, side in sides.items()},
    }
    return {"fmri": fmri, "encoding_models": accuracy, "synthetic": "berg_jax demo", "planted": planted}
