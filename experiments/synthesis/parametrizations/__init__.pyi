from .fourier import Parametrization, fourier, measure_spectrum, phases, pixels
from .generators import example_generator, principal_components

__all__ = [
    "Parametrization",
    "example_generator",
    "fourier",
    "measure_spectrum",
    "phases",
    "pixels",
    "principal_components",
]
