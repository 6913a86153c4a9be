from .base import Parametrization, measure_colors
from .fourier import Spectrum, fourier, measure_spectrum, phases
from .generators import example_generator, principal_components
from .pixels import pixels

__all__ = [
    "Parametrization",
    "Spectrum",
    "example_generator",
    "fourier",
    "measure_colors",
    "measure_spectrum",
    "phases",
    "pixels",
    "principal_components",
]
