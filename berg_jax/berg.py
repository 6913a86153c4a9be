"""BERG's interface on JAX: a script for the PyTorch package runs after its import is changed.

from berg_jax import BERG

berg = BERG(berg_dir="path/to/berg_dir")
model = berg.get_encoding_model("fmri-nsd_fsaverage-huze", subject=1)
lh, rh = berg.encode(model, images)
"""

from __future__ import annotations

import copy
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Float

from .errors import BERGError, InvalidParameterError, ModelLoadError, ModelNotFoundError
from .model.batches import responses_by_batch
from .published.berg_dir import SubjectFiles
from .published.card import MODEL_ID, card_text, read_card
from .published.metadata import Metadata, find_metadata
from .rois import UNIONS, resolve
from .vertices import HEMISPHERES, Vertices

if TYPE_CHECKING:
    from .model.encoding_model import EncodingModel
    from .subject import Subject

_log = logging.getLogger(__name__)


class BERG:
    """Encoding models of a BERG directory.

    Parameters
    ----------
    berg_dir
        The folder that contains ``encoding_models/…``, or ``"demo"`` for the synthetic demo subjects.

    See Also
    --------
    berg_jax.load : The same models as differentiable functions of JAX.

    Examples
    --------
    >>> from berg_jax.demo import images
    >>> berg = BERG("demo")
    >>> with berg.get_encoding_model("fmri-nsd_fsaverage-huze", subject=1, selection={"roi": "FFA-1"}) as model:
    ...     lh, rh = berg.encode(model, images("faces", 2), show_progress=False)
    >>> len(lh), len(rh)
    (2, 2)
    """

    def __init__(self, berg_dir: str | Path) -> None:
        self.berg_dir = Path(berg_dir).expanduser()

    def list_models(self) -> list[str]:
        """Return the identifiers of the models."""
        return [MODEL_ID]

    def get_model_catalog(self, print_format: bool = False) -> dict[str, list[str]]:
        """Return the training data sets by recording modality.

        Parameters
        ----------
        print_format
            Whether the catalog is printed, too.
        """
        card = read_card()
        catalog = {card["modality"]: [card["training_dataset"]]}
        if print_format:
            for modality, datasets in catalog.items():
                print(f"{modality}:", *(f"  {dataset}" for dataset in datasets), sep="\n")
        return catalog

    def describe(self, model_id: str) -> dict[str, Any]:
        """Print and return the model card.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        """
        _check_model(model_id)
        print(card_text())
        return read_card()

    def get_model_variants(self, model_id: str) -> list[str]:
        """Return the pretrained variants of a model, of which there are none.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        """
        _check_model(model_id)
        return []

    def get_encoding_model(
        self, model_id: str, device: str = "auto", selection: dict[str, Any] | None = None, **kwargs: Any
    ) -> BERGModel:
        """Load a subject's encoding model.

        Parameters
        ----------
        model_id
            ``"fmri-nsd_fsaverage-huze"``.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"gpu"``, ``"tpu"``.
        selection
            None for all vertices, or a dict with ``roi`` (a name), or with ``lh_vertices`` and ``rh_vertices`` (masks
            of 0 and 1). If there is a ``roi``, the masks are ignored. A mask for one hemisphere alone selects the
            whole of the other one.
        **kwargs
            ``subject`` (1 to 8), and optionally ``precision`` and ``num_heads`` of :func:`berg_jax.load`, and
            ``devices``, the number of local devices of this kind that divide the images (default 1; None for all).

        Returns
        -------
        The loaded model.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        InvalidParameterError
            An argument is invalid. Arguments are checked before any file is read.
        ModelLoadError
            The files are missing, damaged, or do not fit the selection.
        ResourceError
            There is no such device, or there are not so many.
        """
        _check_model(model_id)
        model = BERGModel(self.berg_dir, device=device, selection=selection, **kwargs)
        model.load_model()
        return model

    def encode(
        self, model: BERGModel, stimulus: np.ndarray, return_metadata: bool = False, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Return a model's responses to images.

        Parameters
        ----------
        model
            Model from :meth:`get_encoding_model`.
        stimulus
            Images (batch, 3, height, width), square, RGB in 0–255.
        return_metadata
            Whether the subject's metadata are returned, too.
        **kwargs
            ``show_progress``, whether a progress bar is shown.

        Returns
        -------
        ``(lh, rh)``: (batch, vertices) float32 each, in z units; or ``((lh, rh), metadata)``.

        Raises
        ------
        StimulusError
            The images are not in the form that the model takes.
        """
        responses = model.generate_response(stimulus, **kwargs)
        return (responses, model.get_metadata()) if return_metadata else responses

    def get_model_metadata(self, model_id: str, **kwargs: Any) -> dict[str, Any]:
        """Return the metadata of a ``subject`` without loading its model.

        Raises
        ------
        ModelNotFoundError
            There is no such model, or there are no metadata.
        InvalidParameterError
            ``subject`` is missing or is not one of the model's subjects.
        """
        _check_model(model_id)
        unknown = set(kwargs) - {"subject"}
        if unknown or "subject" not in kwargs:
            raise InvalidParameterError(
                f"Required parameters missing: subject. Give subject=1, got {sorted(kwargs)}."
            )
        subject_id = _check_subject_id(kwargs["subject"])
        return find_metadata(*SubjectFiles(self.berg_dir, subject_id).metadata_places).raw


class BERGModel:
    """One subject's model with BERG's interface, around an :class:`~berg_jax.EncodingModel`.

    It can be used in a ``with`` block. Calling it returns the encoder's responses (batch, vertices), left hemisphere
    first, which can be differentiated.

    Attributes
    ----------
    encoder
        The :class:`~berg_jax.EncodingModel`, or None unless it is loaded.
    """

    def __init__(
        self,
        berg_dir: str | Path,
        subject: int,
        device: str = "auto",
        selection: dict[str, Any] | None = None,
        precision: str = "float32",
        num_heads: int | None = None,
        devices: int | None = 1,
    ) -> None:
        card = read_card()
        self.berg_dir, self.subject = berg_dir, _check_subject_id(subject)
        kinds = card["parameters"]["device"]["valid_values"]
        if device not in kinds:
            raise InvalidParameterError(f"Device must be one of {kinds}, got {device!r}.")
        if devices is not None and (isinstance(devices, bool) or not isinstance(devices, int) or devices < 1):
            raise InvalidParameterError(f"devices must be a number of at least 1, or None for all, got {devices!r}.")
        precisions = card["parameters"]["precision"]["valid_values"]
        if precision not in precisions:
            raise InvalidParameterError(f"Precision must be one of {precisions}, got {precision!r}.")
        self.device, self.precision, self.num_heads, self.devices = device, precision, num_heads, devices
        self.selection = _check_selection(selection, card["parameters"]["selection"]["properties"])
        self.encoder: EncodingModel | None = None
        self._subject: Subject | None = None
        self._step = 0  # images that all devices compute at a time, once the model is loaded
        self._lh_count = 0  # columns of the left hemisphere, which come first

    def load_model(self) -> None:
        """Load the weights of the parts that the selection needs onto the device.

        Raises
        ------
        ModelLoadError, ResourceError
            The same conditions as for :meth:`BERG.get_encoding_model`.
        """
        import jax

        from .machine import find_devices
        from .model.defaults import default_batch_size
        from .model.replicas import replicate
        from .model.tuned import tuned_variant
        from .subject import Subject

        devices = find_devices(self.device, self.devices)
        try:
            self._subject = Subject(self.berg_dir, self.subject, num_heads=self.num_heads)
            vertices = self._vertices(self._subject)
            variant = tuned_variant(self.precision)
            encoder = self._subject.model(vertices, precision=self.precision, variant=variant)
        except BERGError as error:
            raise ModelLoadError(f"Failed to load model: {error}") from error
        self._lh_count = len(vertices.lh)
        self.encoder = jax.device_put(encoder, devices[0]) if len(devices) == 1 else replicate(encoder, devices)
        batch_size = default_batch_size(devices[0], self.precision)
        self._step = batch_size * len(devices)
        _log.info("%d images at a time, the default for %s.", batch_size, devices[0].platform.upper())

    def __call__(self, images: Any) -> Float[Array, "batch vertices"]:  # noqa: D102
        return self._loaded()(images)

    def generate_response(
        self, stimulus: np.ndarray, show_progress: bool = True
    ) -> tuple[Float[np.ndarray, "batch lh"], Float[np.ndarray, "batch rh"]]:
        """Return the responses (batch, vertices) of the left and of the right hemisphere, float32, in z units.

        Parameters
        ----------
        stimulus
            Images (batch, 3, height, width), square, RGB in 0–255.
        show_progress
            Whether a progress bar is shown.

        Raises
        ------
        StimulusError
            The images are not (batch, 3, height, width), square, in 0–255.
        """
        from tqdm import tqdm

        from .model.images import check_images

        encoder = self._loaded()
        check_images(stimulus)
        count = len(stimulus)
        responses = np.empty((count, len(encoder.vertices)), np.float32)
        with tqdm(total=count, desc="Encoding", unit="image", disable=None if show_progress else True) as progress:
            for rows, new in responses_by_batch(partial(encoder, check=False), stimulus, min(count, self._step)):
                responses[rows] = new
                progress.update(len(new))
        return responses[:, : self._lh_count], responses[:, self._lh_count :]

    def get_metadata(self) -> dict[str, Any]:
        """Return the subject's metadata as they are in the file."""
        self._loaded()
        return self._subject.metadata.raw

    def get_model_id(self) -> str:
        """Return the identifier of the model."""
        return MODEL_ID

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

    def _vertices(self, subject: Subject) -> Vertices:
        size = subject.hemisphere_size
        if "roi" in self.selection:
            return roi_vertices(self.selection["roi"], subject.metadata)
        masks = {}
        for hemisphere in HEMISPHERES:
            mask = self.selection.get(f"{hemisphere}_vertices", np.ones(size))
            if len(mask) != size:
                raise InvalidParameterError(
                    f"{hemisphere}_vertices must have exactly {size} elements, got {len(mask)}."
                )
            masks[hemisphere] = np.flatnonzero(mask)
        return Vertices(masks["lh"], masks["rh"], size)


def roi_vertices(name: str, metadata: Metadata) -> Vertices:
    """Return a ROI's vertices in the metadata's own order, or ascending if the name stands for a union."""
    names = (name,) if name in metadata.roi_names else UNIONS.get(name, ())
    resolved = resolve(name, metadata)  # raises an error if the ROI is empty or unknown
    if len(names) != 1:
        return resolved
    return Vertices(*metadata.roi(names[0]), metadata.hemisphere_size)


def _check_model(model_id: str) -> None:
    if model_id != MODEL_ID:
        raise ModelNotFoundError(f"Model '{model_id}' not found in registry. Models here: {[MODEL_ID]}.")


def _check_subject_id(subject_id: Any) -> int:
    valid = read_card()["parameters"]["subject"]["valid_values"]
    if isinstance(subject_id, bool) or not hasattr(subject_id, "__index__") or int(subject_id) not in valid:
        raise InvalidParameterError(f"Subject must be one of {valid}, got {subject_id}. Give subject=1, for example.")
    return int(subject_id)


def _check_selection(selection: Any, properties: dict[str, Any]) -> dict[str, Any]:
    """Return the selection without entries that are None, and with nothing but ``roi`` if there is one."""
    if selection is None:
        return {}
    if not isinstance(selection, dict):
        raise InvalidParameterError(f"Selection must be a dict or None, got {type(selection)}.")
    for key in selection:
        if key not in properties:
            raise InvalidParameterError(f"Invalid selection key: '{key}'. Valid keys are: {sorted(properties)}")
    checked = {key: copy.copy(value) for key, value in selection.items() if value is not None}
    if "roi" in checked:
        valid = properties["roi"]["valid_values"]
        if not isinstance(checked["roi"], str) or checked["roi"] not in valid:
            raise InvalidParameterError(f"Invalid ROI: '{checked['roi']}'. Valid ROIs are: {valid}")
        return {"roi": checked["roi"]}
    for key, mask in checked.items():
        if not isinstance(mask, (list, np.ndarray)):
            raise InvalidParameterError(f"{key} must be a list or numpy array, got {type(mask)}.")
        array = np.asarray(mask)
        if array.ndim != 1 or not np.isin(array, (0, 1)).all():
            raise InvalidParameterError(
                f"{key} must be binary (contain only 0s and 1s): one for each vertex of the hemisphere."
            )
        if not array.any():
            raise InvalidParameterError(
                f"At least one element in {key} must be selected (contain at least one 1). Leave {key} out to select "
                "the whole hemisphere."
            )
        checked[key] = array
    return checked
