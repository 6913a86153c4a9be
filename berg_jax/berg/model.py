"""One subject's encoding model with the methods and attributes of the published package's model."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Array, Float, Int

from ..errors import BERGError, InvalidParameterError, ModelLoadError, ModelNotFoundError
from ..model.batches import responses_by_batch
from ..published.berg_dir import SubjectFiles, available_subjects
from ..published.card import MODEL_ID, card_text, read_card
from ..published.metadata import Metadata, find_metadata
from ..rois import UNIONS, resolve
from ..vertices import HEMISPHERES, Vertices
from .validators import (
    get_selected_indices,
    validate_binary_array,
    validate_roi,
    validate_selection_keys,
    validate_subject,
)

if TYPE_CHECKING:
    from ..model.encoding_model import EncodingModel
    from ..subject import Subject

_CARD = read_card()
_PARAMETERS = _CARD["parameters"]
_SELECTION = _PARAMETERS["selection"]["properties"]
_log = logging.getLogger(__name__)


class _ClassOrModelMethod(classmethod):
    """A class method, as in the published package, that is given the model if it is called on one."""

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        method = super().__get__(model, owner)
        return method if model is None else partial(method, model_instance=model)


class BERGModel:
    """One subject's model with BERG's interface, around an :class:`~berg_jax.EncodingModel`.

    It can be used in a ``with`` block. Calling it returns the encoder's responses (batch, vertices), left hemisphere
    first, which can be differentiated.

    Parameters
    ----------
    subject
        ID of the subject, 1 to 8.
    selection
        None for all vertices, or a dict, as for :meth:`berg_jax.BERG.get_encoding_model`.
    device
        ``"auto"``, or ``"cpu"``, ``"cuda"``, ``"gpu"`` or ``"tpu"``, with or without a number (``"cuda:0"``).
    berg_dir
        The folder that contains ``encoding_models/…``, or ``"demo"``.
    precision, num_heads
        As for :func:`berg_jax.load`.
    devices
        Number of local devices, from ``device`` on, that divide the images; None for all.
    **kwargs
        Other keywords are ignored, with a warning that names them.

    Attributes
    ----------
    encoder
        The :class:`~berg_jax.EncodingModel`, or None unless it is loaded.
    device
        Name of the device; once the model is loaded, the kind that ``"auto"`` has found.
    roi
        Name of the selected ROI, or the union of several as an expression; None without one.
    selected_lh_vertices, selected_rh_vertices
        Indices of the selected vertices within each hemisphere, in the order of the responses; ``range`` objects
        where the whole hemisphere is selected, and None before the model is loaded where the files decide them.

    Examples
    --------
    >>> from berg_jax import BERG
    >>> model = BERG("demo").get_encoding_model("fmri-nsd_fsaverage-huze", subject=1, selection={"roi": "V1v"})
    >>> model.roi, model.subject, len(model.selected_lh_vertices) > 0
    ('V1v', 1, True)
    """

    MODEL_ID = MODEL_ID
    VALID_SUBJECTS: ClassVar[list[int]] = _PARAMETERS["subject"]["valid_values"]
    SELECTION_KEYS: ClassVar[list[str]] = list(_SELECTION)
    VALID_ROIS: ClassVar[list[str]] = _SELECTION["roi"]["valid_values"]
    VERTICES_LENGTH = 163_842  # a hemisphere of fsaverage; a demo subject's is smaller

    def __init__(
        self,
        subject: int,
        selection: dict[str, Any] | None = None,
        device: str = "auto",
        berg_dir: str | Path | None = None,
        precision: str = "float32",
        num_heads: int | None = None,
        devices: int | None = 1,
        **kwargs: Any,
    ) -> None:
        self.berg_dir, self.subject = berg_dir, _check_subject_id(subject, berg_dir)
        kinds = _PARAMETERS["device"]["valid_values"]
        named = re.fullmatch(r"(\w+?)(:\d+)?", device) if isinstance(device, str) else None
        if named is None or named[1] not in kinds or (named[1] == "auto" and named[2]):
            raise InvalidParameterError(
                f"Device must be one of {kinds}, with a number if there are several ('cuda:0'), got {device!r}."
            )
        precisions = _PARAMETERS["precision"]["valid_values"]
        if precision not in precisions:
            raise InvalidParameterError(f"Precision must be one of {precisions}, got {precision!r}.")
        if devices is not None and (isinstance(devices, bool) or not isinstance(devices, int) or devices < 1):
            raise InvalidParameterError(f"devices must be a number of at least 1, or None for all, got {devices!r}.")
        self.device, self.precision, self.num_heads, self.devices = device, precision, num_heads, devices
        self.selection = _check_selection(selection)
        warn_of_unknown(kwargs, "BERGModel")
        self.roi: str | None = self.selection.get("roi")
        masks = {h: self.selection.get(f"{h}_vertices") for h in HEMISPHERES}
        indices = {h: None if mask is None else get_selected_indices(mask) for h, mask in masks.items()}
        self.selected_lh_vertices: range | Int[np.ndarray, " lh"] | None = indices["lh"]
        self.selected_rh_vertices: range | Int[np.ndarray, " rh"] | None = indices["rh"]
        self.encoder: EncodingModel | None = None
        self._subject: Subject | None = None
        self._step = 0  # images that all devices compute at a time, once the model is loaded
        self._lh_count = 0  # columns of the left hemisphere, which come first

    @property
    def model(self) -> EncodingModel | None:
        """The encoder, under the published package's name."""
        return self.encoder

    def load_model(self) -> None:
        """Load the weights of the parts that the selection needs onto the device.

        Raises
        ------
        ModelLoadError, ResourceError
            The same conditions as for :meth:`berg_jax.BERG.get_encoding_model`.
        """
        import jax

        from ..machine import find_devices
        from ..model.defaults import default_batch_size
        from ..model.replicas import replicate
        from ..model.tuned import tuned_variant
        from ..subject import Subject

        if self.berg_dir is None:
            raise ModelLoadError("Failed to load model: there is no berg_dir. Give the folder that holds the models.")
        devices = find_devices(self.device, self.devices)
        try:
            self._subject = Subject(self.berg_dir, self.subject, num_heads=self.num_heads)
            vertices = self._vertices(self._subject)
            variant = tuned_variant(self.precision)
            encoder = self._subject.model(vertices, precision=self.precision, variant=variant)
        except BERGError as error:
            raise ModelLoadError(f"Failed to load model: {error}") from error
        self._lh_count = len(vertices.lh)
        self.selected_lh_vertices, self.selected_rh_vertices = (
            range(vertices.hemisphere_size) if self._is_whole(hemisphere) else getattr(vertices, hemisphere)
            for hemisphere in HEMISPHERES
        )
        self.encoder = jax.device_put(encoder, devices[0]) if len(devices) == 1 else replicate(encoder, devices)
        platform = devices[0].platform
        if self.device == "auto":
            self.device = "cuda" if platform == "gpu" else platform
        batch_size = default_batch_size(devices[0], self.precision)
        self._step = batch_size * len(devices)
        _log.info("%d images at a time, the default for %s.", batch_size, platform.upper())

    def __call__(self, images: Any) -> Float[Array, "batch vertices"]:  # noqa: D102
        return self._loaded()(images)

    def generate_response(
        self, stimulus: np.ndarray, show_progress: bool = True, *, unchecked: bool = False
    ) -> tuple[Float[np.ndarray, "batch lh"], Float[np.ndarray, "batch rh"]]:
        """Return the responses (batch, vertices) of the left and of the right hemisphere, float32, in z units.

        Parameters
        ----------
        stimulus
            Images (batch, 3, height, width), square, RGB in 0–255.
        show_progress
            Whether a progress bar is shown.
        unchecked
            Whether values outside 0–255, and floats that look like 0–1, are encoded as they are, as the published
            package does. The network was not trained on such images.

        Raises
        ------
        StimulusError
            The images are not (batch, 3, height, width), square, or not in 0–255 without ``unchecked``.
        """
        from tqdm import tqdm

        from ..model.images import check_images, check_shape

        encoder = self._loaded()
        (check_shape if unchecked else check_images)(stimulus)
        count = len(stimulus)
        responses = np.empty((count, len(encoder.vertices)), np.float32)
        with tqdm(total=count, desc="Encoding", unit="image", disable=None if show_progress else True) as progress:
            # The values are checked already, and a check would wait for the device.
            for rows, new in responses_by_batch(partial(encoder, check=False), stimulus, min(count, self._step)):
                responses[rows] = new
                progress.update(len(new))
        return responses[:, : self._lh_count], responses[:, self._lh_count :]

    @_ClassOrModelMethod
    def get_metadata(
        cls,
        berg_dir: str | Path | None = None,
        subject: int | None = None,
        model_instance: BERGModel | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return a subject's metadata as they are in the file.

        Called on a model, it needs no argument.

        Parameters
        ----------
        berg_dir, subject
            The folder that holds the metadata, and the subject's ID.
        model_instance
            A model, whose folder and subject are meant.
        **kwargs
            Other keywords are ignored, with a warning that names them.

        Raises
        ------
        InvalidParameterError
            The folder or the subject is missing or invalid.
        FileNotFoundError
            There is no such file.
        """
        warn_of_unknown(kwargs, "get_metadata")
        if model_instance is not None:
            if model_instance._subject is not None:
                return model_instance._subject.metadata.raw
            berg_dir, subject = model_instance.berg_dir, model_instance.subject
        given = {"berg_dir": berg_dir, "subject": subject}
        if missing := [name for name, value in given.items() if value is None]:
            raise InvalidParameterError(
                f"Required parameters missing: {', '.join(missing)}. Give berg_dir='path', subject=1, for example."
            )
        files = SubjectFiles(Path(berg_dir).expanduser(), _check_subject_id(subject, berg_dir))
        try:
            return find_metadata(*files.metadata_places).raw
        except ModelNotFoundError as error:
            raise FileNotFoundError(f"Metadata file not found at: {files.metadata}. {error}") from error

    @classmethod
    def get_model_id(cls) -> str:
        """Return the identifier of the model."""
        return cls.MODEL_ID

    def get_supported_parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters that the model card describes, by name."""
        return read_card()["parameters"]

    @staticmethod
    def describe_from_id(model_id: str) -> dict[str, Any]:
        """Print and return the model card.

        Raises
        ------
        ModelNotFoundError
            The model is another one.
        """
        if model_id != MODEL_ID:
            raise ModelNotFoundError(f"Model '{model_id}' not found in registry. Models here: {[MODEL_ID]}.")
        print(card_text())
        return read_card()

    def describe(self) -> dict[str, Any]:
        """Print and return the model card."""
        return self.describe_from_id(self.MODEL_ID)

    def cleanup(self) -> None:
        """Release the weights."""
        self.encoder = None

    def __enter__(self) -> BERGModel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cleanup()

    def _loaded(self) -> EncodingModel:
        if self.encoder is None:
            raise ModelLoadError("Failed to load model: it is not loaded (or was cleaned up). Call load_model().")
        return self.encoder

    def _is_whole(self, hemisphere: str) -> bool:
        """Whether all vertices of a hemisphere are selected because nothing was said of it."""
        return "roi" not in self.selection and f"{hemisphere}_vertices" not in self.selection

    def _vertices(self, subject: Subject) -> Vertices:
        size = subject.hemisphere_size
        if self.roi is not None:
            return roi_vertices(self.roi, subject.metadata)
        indices = {}
        for hemisphere in HEMISPHERES:
            mask = self.selection.get(f"{hemisphere}_vertices", np.ones(size))
            indices[hemisphere] = np.flatnonzero(validate_binary_array(mask, size, f"{hemisphere}_vertices"))
        return Vertices(indices["lh"], indices["rh"], size)


def roi_vertices(name: str, metadata: Metadata) -> Vertices:
    """Return a ROI's vertices in the metadata's own order, or ascending if the name stands for a union."""
    names = (name,) if name in metadata.roi_names else UNIONS.get(name, ())
    resolved = resolve(name, metadata)  # raises an error if the ROI is empty or unknown
    if len(names) != 1:
        return resolved
    return Vertices(*metadata.roi(names[0]), metadata.hemisphere_size)


def warn_of_unknown(keywords: dict[str, Any], called: str) -> None:
    """Log a warning that names keywords which have no effect."""
    if keywords:
        _log.warning("%s ignores unknown keywords: %s.", called, ", ".join(sorted(keywords)))


def _check_subject_id(subject_id: Any, berg_dir: str | Path | None) -> int:
    is_number = hasattr(subject_id, "__index__")
    try:
        validate_subject(subject_id if is_number else repr(subject_id), BERGModel.VALID_SUBJECTS)
    except InvalidParameterError as error:
        if berg_dir is None or not is_number or subject_id not in available_subjects(Path(berg_dir).expanduser()):
            raise
        # The published interface has these subjects only, so that a fitted person has no place in it.
        raise InvalidParameterError(
            f"Subject must be one of {BERGModel.VALID_SUBJECTS}, got {subject_id}, which is not one of the published "
            f"model's. Load it with berg_jax.load({str(berg_dir)!r}, {int(subject_id)})."
        ) from error
    return int(subject_id)


def _check_selection(selection: Any) -> dict[str, Any]:
    """Return the selection without entries that are None, and with nothing but ``roi`` if there is one."""
    if selection is None:
        return {}
    if not isinstance(selection, dict):
        raise InvalidParameterError(f"Selection must be a dict or None, got {type(selection)}.")
    validate_selection_keys(selection, BERGModel.SELECTION_KEYS)
    given = {key: value for key, value in selection.items() if value is not None}
    if "roi" not in given:
        # Copies; their lengths are compared with the subject's hemispheres once these are known.
        return {key: validate_binary_array(mask, None, key).copy() for key, mask in given.items()}
    names = list(dict.fromkeys(validate_roi(given["roi"], BERGModel.VALID_ROIS)))
    if len(names) > 1:
        _log.warning(
            "selection['roi'] is a list of %d ROIs: their union is selected, of which the published package takes "
            "only the first, %s.",
            len(names),
            names[0],
        )
    return {"roi": " + ".join(names)}
