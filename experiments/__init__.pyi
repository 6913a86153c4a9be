from . import fitting, synthesis
from .accuracy.experiment import measure_accuracy
from .certificate.experiment import certify, check_against
from .control.experiment import control_regions
from .demo import demonstrate
from .localizer.experiment import localize
from .reporting.outcome import ExperimentResult
from .representations.experiment import compare_representations
from .retinotopy.experiment import map_retinotopy
from .sweeps.submit import sweep
from .synthesis.experiment import synthesize

__all__ = [
    "ExperimentResult",
    "certify",
    "check_against",
    "compare_representations",
    "control_regions",
    "demonstrate",
    "fitting",
    "localize",
    "map_retinotopy",
    "measure_accuracy",
    "sweep",
    "synthesis",
    "synthesize",
]
