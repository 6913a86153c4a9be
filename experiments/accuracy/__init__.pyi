from .comparison import compare_stores
from .experiment import measure_accuracy, vertex_accuracy
from .measured import trial_reader
from .nsd_synthetic import read_nsd_synthetic
from .paired import compare_models
from .prepared import read_prepared
from .sessions import read_sessions
from .trials import Trials, read_array, read_nsd

__all__ = [
    "Trials",
    "compare_models",
    "compare_stores",
    "measure_accuracy",
    "read_array",
    "read_nsd",
    "read_nsd_synthetic",
    "read_prepared",
    "read_sessions",
    "trial_reader",
    "vertex_accuracy",
]
