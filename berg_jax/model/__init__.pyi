from . import bridge
from .checkpoint import Description, load_model, read_description, verify
from .encoding_model import EncodingModel
from .gradients import value_and_pixel_gradient
from .stacking import StackedModel, stack

__all__ = [
    "Description",
    "EncodingModel",
    "StackedModel",
    "bridge",
    "load_model",
    "read_description",
    "stack",
    "value_and_pixel_gradient",
    "verify",
]
