"""Encoding models of a BERG directory, with the published package's functions and keywords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BERGError, InvalidParameterError
from ..published.card import MODEL_ID, read_card
from .model import BERGModel, warn_of_unknown
from .package import published_berg, require_published_berg, translated_errors


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

    def list_models(
        self, expand_brainscore_vision: bool = False, expand_brainscore_language: bool = False
    ) -> list[str]:
        """Return the identifiers of the models, sorted; with the published package's, where it is installed.

        Parameters
        ----------
        expand_brainscore_vision, expand_brainscore_language
            Whether the published package lists the single models behind its gateways to Brain-Score.
        """
        published = published_berg(self.berg_dir)
        if published is None:
            return [MODEL_ID]
        expanded = {
            "expand_brainscore_vision": expand_brainscore_vision,
            "expand_brainscore_language": expand_brainscore_language,
        }
        with translated_errors():
            return sorted({MODEL_ID, *published.list_models(**expanded)})

    def get_model_catalog(self, print_format: bool = False) -> dict[str, list[str]]:
        """Return the training data sets by recording modality; with the published package's, where it is installed.

        Parameters
        ----------
        print_format
            Whether the catalog is printed, too.
        """
        card = read_card()
        catalog = {card["modality"]: [card["training_dataset"]]}
        published = published_berg(self.berg_dir)
        if published is not None:
            with translated_errors():
                for modality, datasets in published.get_model_catalog().items():
                    catalog[modality] = sorted({*catalog.get(modality, []), *datasets})
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
        if model_id != MODEL_ID:
            return self._published("describe", model_id)
        return BERGModel.describe_from_id(model_id)

    def get_model_variants(self, model_id: str) -> list[str]:
        """Return the pretrained variants of a model; ours has none.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        """
        return [] if model_id == MODEL_ID else self._published("get_model_variants", model_id)

    def get_encoding_model(
        self, model_id: str, device: str = "auto", selection: dict[str, Any] | None = None, **kwargs: Any
    ) -> BERGModel | Any:
        """Load a subject's encoding model.

        Parameters
        ----------
        model_id
            ``"fmri-nsd_fsaverage-huze"``. Other ids are handed to the published package, where it is installed.
        device
            ``"auto"``, or ``"cpu"``, ``"cuda"``, ``"gpu"`` or ``"tpu"``, with or without a number (``"cuda:0"``).
        selection
            None for all vertices, or a dict with ``roi`` (a name, or a list of names for their union), or with
            ``lh_vertices`` and ``rh_vertices`` (masks of 0 and 1). If there is a ``roi``, the masks are ignored. A
            mask for one hemisphere alone selects the whole of the other one.
        **kwargs
            ``subject`` (1 to 8), and optionally ``precision`` and ``num_heads`` of :func:`berg_jax.load`, and
            ``devices``, the number of local devices that divide the images (default 1; None for all). Other keywords
            are ignored, with a warning that names them.

        Returns
        -------
        The loaded model, a :class:`~berg_jax.berg.BERGModel`, or the published package's.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        InvalidParameterError
            An argument is invalid. Arguments are checked before any file is read.
        ModelLoadError
            The files are missing, damaged, or do not fit the selection.
        ResourceError
            There is no such device.
        """
        if model_id != MODEL_ID:
            return self._published("get_encoding_model", model_id, device=device, selection=selection, **kwargs)
        model = BERGModel(berg_dir=self.berg_dir, device=device, selection=selection, **kwargs)
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
            ``show_progress``, whether a progress bar is shown, and ``unchecked``, whether values outside 0–255 are
            encoded as they are.

        Returns
        -------
        ``(lh, rh)``: (batch, vertices) float32 each, in z units; or ``((lh, rh), metadata)``.

        Raises
        ------
        StimulusError
            The images are not in the form that the model takes.
        """
        if not isinstance(model, BERGModel):
            published = require_published_berg(self.berg_dir, getattr(model, "MODEL_ID", type(model).__name__))
            with translated_errors():
                return published.encode(model, stimulus, return_metadata=return_metadata, **kwargs)
        responses = model.generate_response(stimulus, **kwargs)
        return (responses, model.get_metadata()) if return_metadata else responses

    def get_model_metadata(self, model_id: str, **kwargs: Any) -> dict[str, Any]:
        """Return the metadata of a ``subject`` without loading its model.

        Unknown keywords, such as ``roi``, are ignored, with a warning that names them.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        InvalidParameterError
            ``subject`` is missing or is not one of the model's subjects, or there are no metadata that can be read.
        """
        if model_id != MODEL_ID:
            return self._published("get_model_metadata", model_id, **kwargs)
        subject = kwargs.pop("subject", None)
        warn_of_unknown(kwargs, "get_model_metadata")
        try:
            return BERGModel.get_metadata(berg_dir=self.berg_dir, subject=subject)
        except (BERGError, FileNotFoundError) as error:  # one kind for all, as in the published package
            raise InvalidParameterError(f"Error retrieving metadata: {error}") from error

    def _published(self, method: str, model_id: str, **kwargs: Any) -> Any:
        """Call the published package's method with another model's id."""
        published = require_published_berg(self.berg_dir, model_id)
        with translated_errors():
            return getattr(published, method)(model_id, **kwargs)
