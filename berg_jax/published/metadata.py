"""A subject's metadata: noise ceilings, ROIs, image splits, accuracy per vertex. Needs neither weights nor JAX.

There are two generations of files. The newer one names the data set of each accuracy (``_nsdcore``,
``_nsdsynthetic``); the older one has only the former, without a suffix. Both are read alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ..files.torch_archive import read_pickled_npy
from ..vertices import HEMISPHERES, check_hemisphere

DATASETS = ("nsdcore", "nsdsynthetic")
ACCURACIES = ("correlation", "r2", "noise_ceiling", "explained_variance")
SPLITS = ("train", "val", "test")


def noise_ceiling(ncsnr: Float[np.ndarray, " vertices"], trials: float = 3) -> Float[np.ndarray, " vertices"]:
    """Return the explainable share of each vertex's variance over images, ncsnr² / (ncsnr² + 1 / trials) [1]_.

    Parameters
    ----------
    ncsnr
        Noise-ceiling signal-to-noise ratios.
    trials
        Number of repetitions that the measured responses are averages of; if it differs between images, the harmonic
        mean of the numbers.

    References
    ----------
    .. [1] E. J. Allen et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial
       intelligence. Nature Neuroscience 25, 116–126.

    Examples
    --------
    >>> noise_ceiling(np.array([0.5, 1.0]), trials=4)
    array([0.5, 0.8])
    """
    return ncsnr**2 / (ncsnr**2 + 1 / trials)


class Metadata:
    """Metadata of a subject: ROIs, noise ceilings, accuracies and image splits.

    Parameters
    ----------
    path
        BERG's ``metadata_subject-NN.npy``, or the ``metadata.npy`` of a converted subject.

    Attributes
    ----------
    raw
        The dict in the file, unchanged.
    hemisphere_size
        Number of vertices of one hemisphere.
    rois
        ``{"lh": {name: indices}, "rh": {name: indices}}``, in the file's order. Some ROIs are empty.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ModelLoadError
        The file cannot be read.
    ValidationError
        Entries of the file are missing, or contradict each other.

    See Also
    --------
    berg_jax.Subject.metadata : The metadata of a subject.
    roi_table : The ROIs as text.

    Examples
    --------
    >>> from berg_jax import Subject
    >>> metadata = Subject("demo", 1).metadata
    >>> metadata.ncsnr("lh").shape
    (10242,)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.raw: dict[str, Any] = read_pickled_npy(self.path)
        fmri = self._section("fmri")
        sizes = {hemisphere: len(self._array(fmri, f"{hemisphere}_ncsnr")) for hemisphere in HEMISPHERES}
        if len(set(sizes.values())) != 1:
            raise ValidationError(f"{self.path}: hemispheres of different sizes, {sizes}.")
        if sizes["lh"] == 0:
            raise ValidationError(f"{self.path} is of hemispheres without vertices. Is it the subject's metadata?")
        self.hemisphere_size = sizes["lh"]
        self.rois = {hemisphere: self._rois(fmri, f"{hemisphere}_fsaverage_rois") for hemisphere in HEMISPHERES}

    @property
    def roi_names(self) -> list[str]:
        """Names of the ROIs of both hemispheres, in the file's order."""
        return list(dict.fromkeys(name for rois in self.rois.values() for name in rois))

    def roi(self, name: str) -> tuple[Int[np.ndarray, " lh"], Int[np.ndarray, " rh"]]:
        """Return a ROI's vertices in the left and in the right hemisphere, in the file's order; possibly none."""
        empty = np.array([], np.int64)
        left, right = (self.rois[hemisphere].get(name, empty) for hemisphere in HEMISPHERES)
        return left, right

    def modeled(self, hemisphere: str) -> Int[np.ndarray, " vertices"]:
        """Return the vertices of a hemisphere that the model predicts: all, unless it was fitted to fewer.

        Raises
        ------
        ValidationError
            The file does not hold vertex indices.
        """
        check_hemisphere(hemisphere)
        key = f"{hemisphere}_fitted_vertices"
        indices = self._section("fmri").get(key)
        return np.arange(self.hemisphere_size) if indices is None else self._indices(indices, key)

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets for which there are accuracies."""
        return [name for name in DATASETS if self._accuracy_key("lh", "correlation", name) is not None]

    def ncsnr(self, hemisphere: str, dataset: str = "nsdcore") -> Float[np.ndarray, " vertices"]:
        """Return the noise-ceiling signal-to-noise ratio of each vertex of a hemisphere.

        Raises
        ------
        InvalidParameterError
            There is no such hemisphere, or no ratio for this data set.
        """
        check_hemisphere(hemisphere)
        suffix = "" if dataset == "nsdcore" else f"_{dataset}"
        section, key = self._section("fmri"), f"{hemisphere}_ncsnr{suffix}"
        if key not in section:
            raise InvalidParameterError(f"{self.path} has no ncsnr for the data set {dataset!r}.")
        return self._per_vertex(section, key)

    def accuracy(self, name: str, hemisphere: str, dataset: str = "nsdcore") -> Float[np.ndarray, " vertices"]:
        """Return the model's accuracy at each vertex of a hemisphere, in the file's own scale.

        Parameters
        ----------
        name
            ``"correlation"``, ``"r2"``, ``"noise_ceiling"`` or ``"explained_variance"``.
        hemisphere
            ``"lh"`` or ``"rh"``.
        dataset
            ``"nsdcore"`` or ``"nsdsynthetic"``.

        Raises
        ------
        InvalidParameterError
            There is no accuracy of that name for this hemisphere and data set.
        """
        check_hemisphere(hemisphere)
        key = self._accuracy_key(hemisphere, name, dataset)
        if key is None:
            raise InvalidParameterError(
                f"{self.path} has no {name!r} for the data set {dataset!r}. Names: {list(ACCURACIES)}; "
                f"data sets here: {self.datasets}."
            )
        return self._per_vertex(self._section("encoding_models"), key)

    def image_numbers(self, split: str) -> Int[np.ndarray, " images"]:
        """Return the NSD image numbers, counted from 0, of the ``"train"``, ``"val"`` or ``"test"`` split.

        Raises
        ------
        InvalidParameterError
            There is no such split.
        ValidationError
            The file does not hold integers for this split.
        """
        section, key = self._section("encoding_models"), f"{split}_img_num"
        if split not in SPLITS or key not in section:
            raise InvalidParameterError(f"split must be one of {list(SPLITS)}, got {split!r}.")
        numbers = _as_array(section[key])
        if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and numbers.size):
            raise ValidationError(
                f"{self.path}: {key} is {numbers.dtype} of shape {numbers.shape}, expected integers."
            )
        return numbers.astype(np.int64)

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self.raw.get(name) if isinstance(self.raw, dict) else None
        if not isinstance(section, dict):
            raise ValidationError(f"{self.path} lacks the section {name!r}. Is it the subject's metadata?")
        return section

    def _array(self, section: Mapping[str, Any], key: str) -> np.ndarray:
        if key not in section:
            raise ValidationError(f"{self.path} lacks {key!r}. Is it the subject's metadata?")
        array = _as_array(section[key])
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise ValidationError(f"{self.path}: {key} is {array.dtype} of shape {array.shape}, expected numbers.")
        return array

    def _per_vertex(self, section: Mapping[str, Any], key: str) -> np.ndarray:
        array = self._array(section, key)
        if len(array) != self.hemisphere_size:
            raise ValidationError(
                f"{self.path}: {key} has {len(array)} values for hemispheres of {self.hemisphere_size} vertices."
            )
        return array

    def _accuracy_key(self, hemisphere: str, name: str, dataset: str) -> str | None:
        section = self._section("encoding_models")
        keys = [f"{hemisphere}_{name}_{dataset}"] + [f"{hemisphere}_{name}"] * (dataset == "nsdcore")
        return next((key for key in keys if name in ACCURACIES and key in section), None)

    def _rois(self, fmri: Mapping[str, Any], key: str) -> dict[str, Int[np.ndarray, " roi"]]:
        rois = fmri.get(key)
        if not isinstance(rois, dict):
            raise ValidationError(f"{self.path} lacks {key!r}. Is it the subject's metadata?")
        checked = {}
        for name, values in rois.items():
            if not str(name).isprintable():
                raise ValidationError(f"{self.path}: {key} has the name {name!r:.80}, which cannot be printed.")
            checked[str(name)] = self._indices(values, f"{key}/{name}")
        return checked

    def _indices(self, values: Any, name: str) -> Int[np.ndarray, " n"]:
        indices = _as_array(values)
        indices = indices.astype(np.int64) if indices.size == 0 else indices
        outside = indices.dtype.kind not in "iu" or indices.ndim != 1
        if outside or (indices.size and not 0 <= indices.min() <= indices.max() < self.hemisphere_size):
            raise ValidationError(
                f"{self.path}: {name} must hold vertex indices from 0 to {self.hemisphere_size - 1}."
            )
        return indices.astype(np.int64)


def _as_array(values: Any) -> np.ndarray:
    """Return values as an array, or as an array of objects, which fails every check, unless they are flat numbers.

    Nested lists are not examined: they may share their parts so often that there would be no end.
    """
    if isinstance(values, np.ndarray):
        return values
    flat = isinstance(values, (list, tuple)) and all(isinstance(v, (int, float, np.number)) for v in values)
    try:
        return np.asarray(values) if flat else np.array(None, object)
    except OverflowError:  # an integer of more than 64 bits
        return np.array(None, object)


def find_metadata(*candidates: Path) -> Metadata:
    """Read the metadata at the first of these paths that exists.

    Raises
    ------
    ModelNotFoundError
        None of the paths exists.
    """
    for path in candidates:
        if path.is_file():
            return Metadata(path)
    raise ModelNotFoundError(
        f"There are no metadata: looked for {', '.join(map(str, candidates))}. Give the berg_dir that holds them, or "
        "get them with berg-jax fetch --metadata-only."
    )


def roi_table(metadata: Metadata) -> str:
    """Return a table of a subject's ROIs as text: vertices per hemisphere, median ncsnr and explained variance."""
    n = metadata.hemisphere_size
    variance = {h: metadata.accuracy("explained_variance", h) for h in HEMISPHERES}
    ncsnr = {h: metadata.ncsnr(h) for h in HEMISPHERES}
    with np.errstate(invalid="ignore"):  # from signaling NaNs, if the hemispheres have different types
        variances, ratios = (np.concatenate([values[h] for h in HEMISPHERES]) for values in (variance, ncsnr))
    known = variances[~np.isnan(variances)]  # none where a person was fitted without repeated images
    low, high = (known.min(), known.max()) if len(known) else (np.nan, np.nan)
    lines = [
        f"{metadata.path}: {n} vertices a hemisphere; accuracies on {', '.join(metadata.datasets)}",
        f"explained variance ranges from {low:.3g} to {high:.3g} (the file's own scale)",
        f"{'ROI':<16}{'lh':>8}{'rh':>8}{'ncsnr':>9}{'expl. var.':>12}",
    ]
    for name in metadata.roi_names:
        left, right = metadata.roi(name)
        inside = np.concatenate([left, right + n])
        medians = [_median(values[inside]) for values in (ratios, variances)]
        lines.append(f"{name:<16}{len(left):>8}{len(right):>8}{medians[0]:>9}{medians[1]:>12}")
    return "\n".join(lines)


def _median(values: np.ndarray) -> str:
    values = values[~np.isnan(values)]
    return f"{np.median(values):.3f}" if len(values) else "–"
