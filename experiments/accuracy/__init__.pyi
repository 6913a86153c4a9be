from .experiment import measure_accuracy, vertex_accuracy
from .trials import Trials, read_array, read_nsd

__all__ = [
    "Trials",
    "measure_accuracy",
    "read_array",
    "read_nsd",
    "vertex_accuracy",
]
