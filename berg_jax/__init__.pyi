from . import convert, demo, experiments, stream, surface
from .berg import BERG
from .errors import (
    BERGError,
    IntegrityError,
    Interrupted,
    InvalidParameterError,
    ModelLoadError,
    ModelNotFoundError,
    ResourceError,
    StimulusError,
    Unfinished,
    UnsafeFileError,
    ValidationError,
)
from .experiments import fitting, synthesis
from .model import bridge
from .model.encoding_model import EncodingModel
from .model.gradients import value_and_pixel_gradient
from .model.replicas import replicate
from .model.stacking import stack
from .stream.encode import encode
from .stream.execution import Execution
from .stream.images import Images, read_images
from .stream.selection import Selection
from .stream.store.responses import open_responses
from .subject import Subject, load
from .vertices import Vertices

__version__: str

__all__ = [
    "BERG",
    "BERGError",
    "EncodingModel",
    "Execution",
    "Images",
    "IntegrityError",
    "Interrupted",
    "InvalidParameterError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ResourceError",
    "Selection",
    "StimulusError",
    "Subject",
    "Unfinished",
    "UnsafeFileError",
    "ValidationError",
    "Vertices",
    "bridge",
    "convert",
    "demo",
    "encode",
    "experiments",
    "fitting",
    "load",
    "open_responses",
    "read_images",
    "replicate",
    "stack",
    "stream",
    "surface",
    "synthesis",
    "value_and_pixel_gradient",
]
